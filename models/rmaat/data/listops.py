"""ListOps: nested list operations over digits, in the grammar of Long Range Arena.

A tree is a digit, or one of the operators MIN, MAX, MED, SM over 2 to `max_args` subtrees. MED is the
integer part of the median and SM the sum modulo 10. A node is an operator with probability 0.25 as long
as its depth is below `max_depth`; digits, operators and numbers of arguments are uniform. A tree is kept
when ``min_length < length < max_length``, where the length counts operators, closing brackets and digits.

Sources: Nangia & Bowman 2018 (arXiv 1804.06028); Tay et al. 2020 (arXiv 2011.04006), the parameters of
their released task.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sim.errors import InputError
from rmaat.data.sequences import Sequences

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
SYMBOLS = ("<pad>", *"0123456789", *OPERATORS, "]")
ID = {symbol: i for i, symbol in enumerate(SYMBOLS)}
DIGIT, OPERATOR, END = ID["0"], ID["[MIN"], ID["]"]
DIGITS = {digit: int(digit) for digit in "0123456789"}
VOCAB_SIZE, NUM_LABELS = len(SYMBOLS), 10
TREES_PER_PASS = 4096


@dataclass(frozen=True)
class Grammar:
    """Parameters of the tree distribution; the defaults are Long Range Arena's.

    Parameters
    ----------
    max_depth : int, at least 2
        Depth at which every node is a digit; the root has depth 1.
    max_args : int, at least 2
        Most arguments of an operator; the number is uniform in 2..max_args.
    min_length, max_length : int
        Bounds of the length, both exclusive; ``1 <= min_length < max_length - 1``.
    """

    max_depth: int = 10
    max_args: int = 10
    min_length: int = 500
    max_length: int = 2000

    def __post_init__(self) -> None:
        if self.max_depth < 2:
            raise InputError("max_depth", self.max_depth, "at least 2")
        if self.max_args < 2:
            raise InputError("max_args", self.max_args, "at least 2")
        if not 1 <= self.min_length < self.max_length - 1:
            raise InputError("min_length", self.min_length, f"from 1 to max_length - 2 = {self.max_length - 2}")


OPERATOR_PROBABILITY = 0.25


def generate(n: int, seed: int, grammar: Grammar | None = None) -> Sequences:
    """Draw `n` labelled expressions; the first m of them do not depend on n.

    Many trees grow at once, one level a step. A root that is a digit has length 1 and would always be
    rejected, so every root is drawn as an operator; trees past `max_length` stop growing. Neither changes
    the distribution of the accepted trees.

    Raises
    ------
    InputError
        If hardly any tree is within the bounds of `grammar`.
    """
    grammar = grammar or Grammar()
    rng = np.random.default_rng([seed, 0x11570])
    passes: list[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]] = []
    found = tried = 0
    while found < n:
        passes.append(_label(_grow(TREES_PER_PASS, grammar, rng), rng))
        found, tried = found + len(passes[-1][2]), tried + TREES_PER_PASS
        if tried == 100 * TREES_PER_PASS and found * 10_000 < tried:
            raise InputError("grammar", grammar, "bounds that at least one tree in 10,000 meets")
    lengths = np.concatenate([p[1] for p in passes] or [np.empty(0, np.int64)])[:n]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.concatenate([p[0] for p in passes] or [np.empty(0, np.uint8)])[: offsets[-1]]
    labels = np.concatenate([p[2] for p in passes] or [np.empty(0, np.int64)])[:n]
    about = {"source": "generated", "seed": seed, **asdict(grammar)}
    return Sequences(tokens, offsets, labels, VOCAB_SIZE, NUM_LABELS, about=about)


def _grow(n: int, grammar: Grammar, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Shapes of the accepted trees: for each level the number of children of its nodes, tree by tree."""
    tree = np.arange(n)
    length = np.zeros(n)
    levels = []
    for depth in range(1, grammar.max_depth + 1):
        operator = rng.random(len(tree), dtype=np.float32) < OPERATOR_PROBABILITY
        operator |= depth == 1
        operator &= depth < grammar.max_depth
        arity = np.zeros(len(tree), np.int64)
        arity[operator] = rng.integers(2, grammar.max_args + 1, operator.sum())
        levels.append((tree, arity))
        length += np.bincount(tree, 1.0 + operator, n)
        tree = np.repeat(tree, np.where(length[tree] < grammar.max_length, arity, 0))
    accepted = (grammar.min_length < length) & (length < grammar.max_length)
    return [arity[accepted[tree]] for tree, arity in levels]


def _label(
    levels: list[NDArray[np.int64]], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Fill shapes with symbols: the tokens of all trees, the trees' lengths and their values."""
    size = value = np.empty(0, np.int64)
    nodes = []
    for arity in reversed(levels):
        operator = arity > 0
        symbol = DIGIT + rng.integers(0, 10, len(arity))
        symbol[operator] = OPERATOR + rng.integers(0, len(OPERATORS), operator.sum())
        starts = np.cumsum(arity[operator]) - arity[operator]
        child_size, child_value = size, value
        size, value = np.ones(len(arity), np.int64), symbol - DIGIT
        if len(starts):
            size[operator] = 2 + np.add.reduceat(child_size, starts)
            value[operator] = _reduce(symbol[operator] - OPERATOR, child_value, starts, arity[operator])
        nodes.append((arity, symbol, size))
    lengths = size
    tokens = np.empty(lengths.sum(), np.uint8)
    position = np.cumsum(lengths) - lengths
    for level, (arity, symbol, size) in enumerate(reversed(nodes)):
        operator = arity > 0
        tokens[position] = symbol
        tokens[(position + size - 1)[operator]] = END
        if not operator.any():
            break
        child_size = nodes[-level - 2][2]
        before = np.cumsum(child_size) - child_size
        first_child = np.cumsum(arity)[operator] - arity[operator]
        shift = position[operator] + 1 - before[first_child]
        position = before + np.repeat(shift, arity[operator])
    return tokens, lengths, value


def _reduce(
    operator: NDArray[np.int64],
    values: NDArray[np.int64],
    starts: NDArray[np.int64],
    arity: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Value of each operator over its run of `arity` values that begins at `starts`."""
    run = np.repeat(np.arange(len(starts)), arity)
    ordered = np.sort(run * 10 + values) % 10
    median = (ordered[starts + (arity - 1) // 2] + ordered[starts + arity // 2]) // 2
    total = np.add.reduceat(values, starts) % 10
    return np.choose(operator, [ordered[starts], ordered[starts + arity - 1], median, total])


def encode(symbols: Iterable[str]) -> NDArray[np.uint8]:
    """Token ids of symbols, shape (length,); KeyError on a symbol that is not in the vocabulary."""
    return np.array([ID[symbol] for symbol in symbols], np.uint8)


def decode(ids: Iterable[int]) -> str:
    """The expression as text, ``[MAX 4 3 [MIN 2 3 ] ]``."""
    return " ".join(SYMBOLS[int(i)] for i in ids)


def evaluate(expression: str | Iterable[int]) -> int:
    """Value of one expression, given as text (parentheses are ignored) or as token ids.

    Raises
    ------
    InputError
        If a symbol is unknown, a bracket is missing or left over, or an operator has no argument.
    """
    return _value(_symbols(expression) if isinstance(expression, str) else [SYMBOLS[int(i)] for i in expression])


def _value(symbols: list[str]) -> int:
    stack: list[list[Any]] = [[None]]
    for place, symbol in enumerate(symbols, start=1):
        if symbol in OPERATORS:
            stack.append([symbol])
        elif symbol == "]" and len(stack) > 1 and len(stack[-1]) > 1:
            name, *arguments = stack.pop()
            stack[-1].append(_apply(name, arguments))
        elif symbol in DIGITS:
            stack[-1].append(DIGITS[symbol])
        else:
            raise InputError(f"symbol {place} of the expression", symbol, "a digit, an operator or its closing bracket")
    if len(stack) != 1 or len(stack[0]) != 2:
        raise InputError("expression", " ".join(symbols[:12]), "exactly one complete expression")
    return int(stack[0][1])


def _apply(name: str, arguments: list[int]) -> int:
    if name == "[MIN":
        return min(arguments)
    if name == "[MAX":
        return max(arguments)
    if name == "[SM":
        return sum(arguments) % 10
    ordered, n = sorted(arguments), len(arguments)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) // 2


def _symbols(text: str) -> list[str]:
    return text.replace("(", " ").replace(")", " ").split()


def read_tsv(path: str | Path) -> Sequences:
    """Read an official ``basic_{train,val,test}.tsv``: header ``Source<TAB>Target``, one expression a row.

    Raises
    ------
    InputError
        If the file is missing, its header differs, or a row has another number of columns, an unknown
        symbol, an expression that is not whole or a target that is not its value; the message names file and row.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("ListOps file", str(path), "an existing TSV file")
    rows: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline().rstrip("\r\n").split("\t")
        if header != ["Source", "Target"]:
            raise InputError(f"{path}: row 1", "\t".join(header)[:80], "the header Source<TAB>Target")
        for number, line in enumerate(file, start=2):
            if not (row := line.rstrip("\r\n")):
                continue  # editors and other people's scripts leave an empty last line
            columns = row.split("\t")
            if len(columns) != 2:
                raise InputError(f"{path}: row {number}", f"{len(columns)} columns", "2 tab-separated columns")
            try:
                rows.append(encode(symbols := _symbols(columns[0])))
            except KeyError as error:
                raise InputError(
                    f"{path}: row {number}", error.args[0], "a digit, an operator or its closing bracket"
                ) from None
            try:
                value = _value(symbols)
            except InputError as error:
                raise InputError(f"{path}: row {number}: {error.field}", error.value, error.allowed) from None
            if columns[1] != str(value):
                raise InputError(f"{path}: row {number}", columns[1][:80], f"{value}, the value of the expression")
            labels.append(value)
    if not rows:
        raise InputError(str(path), "no rows", "at least one example")
    data = Sequences.from_list(rows, labels, VOCAB_SIZE, NUM_LABELS)
    data.about.update(source=path.name)
    return data
