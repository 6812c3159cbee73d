"""ListOps against an independent evaluation, a naive generator and the published task's parameters."""

import random
import time
from codecs import BOM_UTF8

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare, ks_2samp

from astro_sim.errors import InputError
from rmaat.data.listops import (
    END,
    ID,
    OPERATOR,
    OPERATORS,
    Grammar,
    decode,
    encode,
    evaluate,
    generate,
    read_tsv,
)

REDUCE = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda v: int((sorted(v)[(len(v) - 1) // 2] + sorted(v)[len(v) // 2]) / 2),
    "[SM": lambda v: sum(v) % 10,
}


def naive_tree(rng, depth, max_depth=10, max_args=10):
    """The grammar as a recursion: a digit, or an operator over 2..max_args subtrees; as nested lists."""
    if depth >= max_depth or rng.random() > 0.25:
        return rng.randrange(10)
    children = [naive_tree(rng, depth + 1, max_depth, max_args) for _ in range(rng.randint(2, max_args))]
    return [rng.choice(OPERATORS), *children]


def size(tree):
    return 1 if isinstance(tree, int) else 2 + sum(size(child) for child in tree[1:])


def value(tree):
    return tree if isinstance(tree, int) else REDUCE[tree[0]]([value(child) for child in tree[1:]])


def text(tree):
    return str(tree) if isinstance(tree, int) else " ".join([tree[0], *map(text, tree[1:]), "]"])


def binary_text(tree):
    """The parenthesised form of the released files: ``( ( ( [MAX 4 ) 3 ) ] )``."""
    if isinstance(tree, int):
        return str(tree)
    form = tree[0]
    for child in tree[1:]:
        form = f"( {form} {binary_text(child)} )"
    return f"( {form} ] )"


trees = st.recursive(
    st.integers(0, 9),
    lambda children: st.builds(
        lambda op, args: [op, *args], st.sampled_from(OPERATORS), st.lists(children, min_size=1, max_size=10)
    ),
    max_leaves=60,
)


@given(trees)
def test_evaluator_agrees_with_a_recursive_one(tree):
    assert evaluate(text(tree)) == value(tree)
    assert evaluate(binary_text(tree)) == value(tree)
    assert evaluate(encode(text(tree).split())) == value(tree)


@pytest.mark.parametrize(
    "broken", ["", "[MAX 1 2", "1 2", "[MAX ]", "]", "[MAX 1 ] ]", "[FOO 1 ]", "12", "[SM 1 <pad> ]"]
)
def test_a_broken_expression_is_refused(broken):
    with pytest.raises(InputError):
        evaluate(broken)


@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(2, 10))
@settings(max_examples=20, deadline=None)
def test_generated_labels_and_lengths_are_right(seed, max_depth, max_args):
    data = generate(40, seed, Grammar(max_depth, max_args, min_length=3, max_length=60))
    assert ((data.lengths > 3) & (data.lengths < 60)).all()
    for i in range(len(data)):
        assert evaluate(decode(data[i])) == data.labels[i]


def test_one_seed_gives_one_sequence_of_examples():
    few, many, other = generate(10, 3), generate(3000, 3), generate(10, 4)
    assert np.array_equal(few.tokens, many.tokens[: few.offsets[-1]])
    assert np.array_equal(few.labels, many.labels[:10])
    assert not np.array_equal(few.tokens[:400], other.tokens[:400])


def test_distribution_equals_the_naive_generators():
    """Two-sample tests on 1,500 naive and 6,000 fast trees; p > 1e-3 each, and the seed is fixed."""
    rng = random.Random(5)
    naive = []
    while len(naive) < 1500:
        tree = naive_tree(rng, 1, max_depth=8)
        if 50 < size(tree) < 400:
            naive.append(tree)
    fast = generate(6000, 5, Grammar(max_depth=8, min_length=50, max_length=400))
    assert ks_2samp([size(tree) for tree in naive], fast.lengths).pvalue > 1e-3
    labels = np.bincount([value(tree) for tree in naive], minlength=10)
    assert chi2_contingency([labels, np.bincount(fast.labels, minlength=10)]).pvalue > 1e-3
    roots = [len(tree) - 1 for tree in naive]
    assert chi2_contingency([np.bincount(roots, minlength=11)[2:], _root_arities(fast)]).pvalue > 1e-3
    depths = [max(_depths(text(tree).split())) for tree in naive]
    fast_depths = [max(_depths(decode(fast[i]).split())) for i in range(1500)]
    assert ks_2samp(depths, fast_depths).pvalue > 1e-3


def _depths(symbols):
    depth, found = 0, []
    for symbol in symbols:
        depth += (symbol in OPERATORS) - (symbol == "]")
        found.append(depth)
    return found


def _root_arities(data):
    counts = np.zeros(11, int)
    for i in range(len(data)):
        opens = (data[i] >= OPERATOR) & (data[i] < END)
        closes = data[i] == END
        depth = np.cumsum(opens.astype(int) - closes)
        counts[((depth == 1) & ~opens & ~closes).sum() + ((depth == 2) & opens).sum()] += 1
    return counts[2:]


def test_long_range_arena_parameters():
    """Lengths, labels and operators of the released task's grammar (20,000 regenerated examples: mean
    1,039, majority 17.0 %, nesting 9); bounds are about four standard errors of 4,000 examples."""
    data = generate(4000, 0)
    assert data.lengths.min() > 500 and data.lengths.max() < 2000
    assert abs(data.lengths.mean() - 1039) < 25
    shares = np.bincount(data.labels, minlength=10) / len(data)
    assert abs(shares[0] - 0.170) < 0.024 and abs(shares[9] - 0.167) < 0.024
    assert (abs(shares[1:9] - 0.083) < 0.025).all()
    operators = np.bincount(data.tokens, minlength=16)[OPERATOR:END]
    assert chisquare(operators).pvalue > 1e-3
    assert {max(_depths(decode(data[i]).split())) for i in range(100)} == {9}


def test_speed():
    """At least 2,000 sequences a CPU-second on one core, rejection included."""
    generate(500, 1)
    start = time.thread_time()
    generate(4000, 2)
    assert 4000 / (time.thread_time() - start) > 2000


def test_official_file_is_read(tmp_path):
    rng = random.Random(1)
    forest = [naive_tree(rng, 1) for _ in range(20)]
    path = tmp_path / "basic_val.tsv"
    path.write_text("Source\tTarget\n" + "".join(f"{binary_text(t)}\t{value(t)}\n" for t in forest))
    data = read_tsv(path)
    assert [decode(data[i]) for i in range(20)] == [text(tree) for tree in forest]
    assert data.labels.tolist() == [value(tree) for tree in forest]
    path.write_bytes(BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")  # as Windows' editors save it
    assert np.array_equal(read_tsv(path).tokens, data.tokens)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "row 1"),
        ("Target\tSource\n", "row 1"),
        ("Source\tTarget\n", "no rows"),
        ("Source\tTarget\n( 1 )\t1\n1\n", "row 3"),
        ("Source\tTarget\n1\t1\t1\n", "row 2"),
        ("Source\tTarget\n[AVG 1 ]\t1\n", "row 2"),
        ("Source\tTarget\n1\t11\n", "row 2"),
        ("Source\tTarget\n1\t\n", "row 2"),
        ("Source\tTarget\n\t1\n", "row 2"),
        ("Source\tTarget\n1\t1\n[MAX 4 [MIN 2\t4\n", "row 3: expression"),
        ("Source\tTarget\n] 1\t1\n", "row 2: symbol 1"),
        ("Source\tTarget\n[MED 4 7 ]\t4\n", "row 2: got '4', expected 5, the value"),
    ],
)
def test_a_damaged_file_is_refused_with_its_row(tmp_path, content, said):
    path = tmp_path / "basic_test.tsv"
    path.write_text(content)
    with pytest.raises(InputError, match=r"basic_test\.tsv") as refused:
        read_tsv(path)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_missing_file_and_impossible_grammar_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.tsv"):
        read_tsv(tmp_path / "none.tsv")
    for bounds in ({"max_depth": 1}, {"max_args": 1}, {"min_length": 2000}, {"min_length": 0}):
        with pytest.raises(InputError):
            Grammar(**bounds)
    with pytest.raises(InputError, match="10,000"):
        generate(1, 0, Grammar(max_depth=2, max_args=3, min_length=100, max_length=200))
    assert ID["<pad>"] == 0
