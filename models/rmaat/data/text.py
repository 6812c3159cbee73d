"""Bytes of text: IMDB reviews in the official folders, document pairs, 20 Newsgroups, any text file.

The id of a byte is the byte + 1, and 0 is padding, as in Long Range Arena.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_sim.errors import InputError
from rmaat.data.sequences import Sequences

VOCAB_SIZE = 257
LONGEST_DOCUMENT = 10_000


def encode_bytes(text: bytes) -> NDArray[np.uint16]:
    """Ids 1..256 of bytes, shape (length,)."""
    return np.frombuffer(text, np.uint8).astype(np.uint16) + 1


def decode_bytes(ids: NDArray[np.int64]) -> str:
    """Text of ids; bytes that are no UTF-8 become replacement characters."""
    return bytes((np.asarray(ids) - 1).astype(np.uint8)).decode("utf-8", "replace")


def read_imdb(folder: Path) -> dict[str, Sequences]:
    """Train and test split of ``aclImdb/{train,test}/{neg,pos}/*.txt``; label 1 is positive.

    Raises
    ------
    InputError
        If a folder is missing or has no reviews, or a review is empty.
    """
    splits = {}
    for split in ("train", "test"):
        rows, labels = [], []
        for label, name in enumerate(("neg", "pos")):
            paths = sorted((folder / split / name).glob("*.txt"))
            if not paths:
                raise InputError("IMDB folder", str(folder / split / name), "a folder of reviews, *.txt")
            for path in paths:
                rows.append(encode_bytes(path.read_bytes()))
                labels.append(label)
                if not len(rows[-1]):
                    raise InputError(str(path), "an empty file", "a review")
        splits[split] = Sequences.from_list(rows, labels, VOCAB_SIZE, 2)
    return splits


def read_pairs(path: Path) -> Sequences:
    """Read a file ``new_aan_pairs.*.tsv``: label, id 1, id 2, text 1, text 2, no header, no quoting.

    The first 10,000 bytes of each document are kept. The label is a number, 0 or 1.

    Raises
    ------
    InputError
        If the file is missing or empty, or a row has another number of columns, another label or an
        empty document; the message names file and row.
    """
    if not path.is_file():
        raise InputError("pairs file", str(path), "an existing TSV file")
    rows, labels = [], []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not (row := line.removeprefix(BOM_UTF8).rstrip(b"\r\n")):
                continue  # an empty last line
            columns = row.split(b"\t")
            if len(columns) != 5:
                raise InputError(f"{path}: row {number}", f"{len(columns)} columns", "5 tab-separated columns")
            try:
                label = float(columns[0])
            except ValueError:
                label = -1.0
            if label not in (0, 1):
                raise InputError(f"{path}: row {number}", columns[0].decode("utf-8", "replace")[:40], "label 0 or 1")
            if not columns[3] or not columns[4]:
                raise InputError(f"{path}: row {number}", "an empty document", "two documents")
            labels.append(int(label))
            rows += [encode_bytes(text[:LONGEST_DOCUMENT]) for text in columns[3:]]
    if not labels:
        raise InputError(str(path), "no rows", "at least one pair")
    return Sequences.from_list(rows, labels, VOCAB_SIZE, 2, parts=2)


def read_aan(folder: Path) -> dict[str, Sequences]:
    """The three splits of Long Range Arena's document matching."""
    names = {"train": "train", "validation": "eval", "test": "test"}
    return {split: read_pairs(folder / f"new_aan_pairs.{name}.tsv") for split, name in names.items()}


def read_newsgroup_pairs(
    folder: Path, pairs: int = 80_000, seed: int = 0, held_out: int = 2_000
) -> dict[str, Sequences]:
    """Pairs of messages of 20 Newsgroups, one folder a group: label 1 where both are of the same group.

    A stand-in for AAN with the same shape: two documents, one binary question. The header of a message is
    dropped, since it names the group; a message that was posted more than once, in one group or several, is left
    out. So no text is in two splits. Half of the pairs are positive. Each split is drawn by itself: more training
    pairs leave the others as they were.

    Parameters
    ----------
    folder : path
        ``<group>/<message>``.
    pairs, held_out : int
        Training pairs, and pairs of validation and test each, drawn by `seed`.

    Raises
    ------
    InputError
        If the folder is missing, or has too few groups or messages.
    """
    if not folder.is_dir():
        raise InputError("newsgroup folder", str(folder), "an existing folder")
    rooms = [room for room in sorted(folder.iterdir()) if room.is_dir()]
    posted = [[body for path in sorted(room.iterdir()) if (body := _body(path))] for room in rooms]
    times = Counter(chain(*posted))
    groups = [[body for body in bodies if times[body] == 1] for bodies in posted]
    if len(groups) < 2 or min(map(len, groups)) < 20:
        raise InputError("newsgroup folder", str(folder), "at least two folders of at least 20 messages each")
    rng = np.random.default_rng(seed)
    for group in groups:
        rng.shuffle(group)
    splits = {}
    for number, (split, start, stop, n) in enumerate(
        [("train", 0.0, 0.8, pairs), ("validation", 0.8, 0.9, held_out), ("test", 0.9, 1.0, held_out)]
    ):
        rng = np.random.default_rng([seed, number])
        parts = [group[int(start * len(group)) : int(stop * len(group))] for group in groups]
        labels = np.arange(n) % 2
        rows = []
        for label in labels:
            first = rng.integers(len(parts))
            second = first if label else (first + rng.integers(1, len(parts))) % len(parts)
            if label:
                rows += [parts[first][i] for i in rng.choice(len(parts[first]), 2, replace=False)]
            else:
                rows += [parts[g][rng.integers(len(parts[g]))] for g in (first, second)]
        encoded = [encode_bytes(text) for text in rows]
        splits[split] = Sequences.from_list(encoded, labels.tolist(), VOCAB_SIZE, 2, parts=2)
    return splits


def _body(path: Path) -> bytes:
    """What is read of a message: the beginning of what follows its header."""
    return path.read_bytes().partition(b"\n\n")[2].strip()[:LONGEST_DOCUMENT]


def read_plain_text(path: Path, length: int = 1024) -> dict[str, Sequences]:
    """Windows of `length` bytes of a text file, or of WikiText's ``wiki.{train,valid,test}.tokens``.

    A single file is cut into 90 % training, 5 % validation and 5 % test text. The windows have no label
    (all 0): what is predicted is the next byte.

    Raises
    ------
    InputError
        If there is no such file, or a split of it is shorter than a window.
    """
    if path.is_dir():
        names = {"train": "train", "validation": "valid", "test": "test"}
        files = {split: path / f"wiki.{name}.tokens" for split, name in names.items()}
        for file in files.values():
            if not file.is_file():
                raise InputError("WikiText folder", str(file), "an existing file")
        texts = {split: file.read_bytes() for split, file in files.items()}
    elif path.is_file():
        text = path.read_bytes()
        cut, last = int(0.9 * len(text)), int(0.95 * len(text))
        texts = {"train": text[:cut], "validation": text[cut:last], "test": text[last:]}
    else:
        raise InputError("text", str(path), "a text file or a folder of wiki.{train,valid,test}.tokens")
    splits = {}
    for split, text in texts.items():
        ids = encode_bytes(text)
        n = len(ids) // length
        if n == 0:
            raise InputError(f"{path}: {split}", f"{len(ids)} bytes", f"at least one window of {length} bytes")
        offsets = np.arange(n + 1, dtype=np.int64) * length
        splits[split] = Sequences(ids[: n * length], offsets, np.zeros(n, np.int64), VOCAB_SIZE, VOCAB_SIZE)
    return splits
