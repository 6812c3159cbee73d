"""Labelled token sequences of unequal length in three flat arrays, in memory or memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sim.errors import InputError
from astro_sim.provenance import replacing, timestamp, versions

ARRAYS = ("tokens", "offsets", "labels")
POOL = 32  # batches among which examples are sorted by length
FILES = (*(f"{name}.npy" for name in ARRAYS), "about.json")


@dataclass(frozen=True)
class Sequences:
    """Sequences of token ids laid end to end.

    Id 0 is padding and never occurs inside a sequence. A document pair is two neighbouring sequences
    (`parts` = 2) under one label.

    Parameters
    ----------
    tokens : array of unsigned integers, shape (total,)
        All sequences, one behind the other.
    offsets : array of int64, shape (n * parts + 1,)
        Sequence ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``.
    labels : array of int64, shape (n,)
        Class of each example, from 0.
    vocab_size : int
        Number of token ids, padding included.
    num_labels : int
        Number of classes.
    parts : int
        Sequences per example: 1, or 2 for a pair.
    about : dict
        Where the examples come from, kept with them on disk.
    """

    tokens: NDArray[Any]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    vocab_size: int
    num_labels: int
    parts: int = 1
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_list(
        cls,
        rows: Sequence[NDArray[Any]],
        labels: Sequence[int],
        vocab_size: int,
        num_labels: int,
        parts: int = 1,
    ) -> Sequences:
        """Lay a list of id arrays end to end.

        Parameters
        ----------
        rows : sequence of arrays of int
            ``n * parts`` of them, the parts of an example one behind the other.
        labels : sequence of int
            ``n`` of them.
        vocab_size, num_labels, parts : int
            As in the class.
        """
        dtype = np.uint8 if vocab_size <= 256 else np.uint16
        tokens = np.concatenate([np.asarray(row, dtype) for row in rows]) if rows else np.empty(0, dtype)
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
        return cls(tokens, offsets, np.asarray(labels, np.int64), vocab_size, num_labels, parts)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Token ids of the example, shape (length,); of a pair, its two documents joined."""
        return self.tokens[self.offsets[index * self.parts] : self.offsets[(index + 1) * self.parts]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each example (of the longer document of a pair), shape (n,)."""
        return np.diff(self.offsets).reshape(-1, self.parts).max(axis=1)

    def select(self, indices: NDArray[np.int64]) -> Sequences:
        """The examples at `indices`, copied into arrays of their own."""
        spans = (np.asarray(indices)[:, None] * self.parts + np.arange(self.parts)).ravel()
        rows = [self.tokens[self.offsets[i] : self.offsets[i + 1]] for i in spans]
        picked = self.from_list(rows, self.labels[indices].tolist(), self.vocab_size, self.num_labels, self.parts)
        picked.about.update(self.about)
        return picked

    def cut(self, longest: int) -> Sequences:
        """The same examples, each sequence cut after `longest` tokens, in arrays of their own."""
        rows = [self.tokens[start : min(stop, start + longest)] for start, stop in pairwise(self.offsets)]
        shorter = self.from_list(rows, self.labels.tolist(), self.vocab_size, self.num_labels, self.parts)
        shorter.about.update(self.about)
        return shorter

    def split(self, fraction: float, seed: int) -> tuple[Sequences, Sequences]:
        """Two disjoint random parts, the second with `fraction` of the examples."""
        order = np.random.default_rng(seed).permutation(len(self))
        cut = len(self) - round(fraction * len(self))
        return self.select(np.sort(order[:cut])), self.select(np.sort(order[cut:]))

    def padded(
        self, indices: NDArray[np.int64], max_length: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """One batch, padded with 0 to its longest member.

        Parameters
        ----------
        indices : array of int, shape (batch,)
            Examples to take.
        max_length : int, optional
            Sequences are cut after this many tokens.

        Returns
        -------
        ids : array of int64, shape (batch * parts, longest)
            A pair's documents are neighbouring rows.
        lengths : array of int64, shape (batch * parts,)
        """
        spans = (np.asarray(indices)[:, None] * self.parts + np.arange(self.parts)).ravel()
        starts, lengths = self.offsets[spans], self.offsets[spans + 1] - self.offsets[spans]
        if max_length is not None:
            lengths = np.minimum(lengths, max_length)
        ids = np.zeros((len(spans), int(lengths.max())), np.int64)
        for row, start, length in zip(ids, starts, lengths, strict=True):
            row[:length] = self.tokens[start : start + length]
        return ids, lengths

    def save(self, folder: str | Path) -> Path:
        """Write a folder of `.npy` arrays and `about.json` that `open` memory-maps; whole or not at all."""
        with replacing(folder) as room:
            room.mkdir()
            for name in ARRAYS:
                np.save(room / f"{name}.npy", getattr(self, name), allow_pickle=False)
            about = {
                "vocab_size": self.vocab_size,
                "num_labels": self.num_labels,
                "parts": self.parts,
                "about": {**self.about, "versions": versions(), "created": timestamp()},
            }
            (room / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        return Path(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Sequences:
        """Memory-map what `save` wrote.

        Raises
        ------
        InputError
            If the folder is missing, its arrays do not fit together, a label is none of the classes or an id none of
            the vocabulary.
        """
        folder = Path(folder)
        wanted = "a folder of tokens.npy, offsets.npy, labels.npy and about.json"
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
            data = cls(**arrays, **about)
        except (OSError, EOFError, ValueError, TypeError, RecursionError) as error:
            raise InputError("data folder", str(folder), f"{wanted} ({error})") from None
        if not isinstance(data.about, dict):
            raise InputError(f"{folder / 'about.json'}: about", data.about, "a table")
        for name in ("vocab_size", "num_labels", "parts"):
            if type(value := getattr(data, name)) is not int or value < 1:
                raise InputError(f"{folder / 'about.json'}: {name}", value, "a whole number from 1")
        for name, array in arrays.items():
            if array.ndim != 1 or array.dtype.kind not in "iu" or not array.dtype.isnative or not len(array):
                raise InputError("data folder", str(folder / f"{name}.npy"), "a row of whole numbers")
            if name != "tokens" and array.dtype != np.int64:
                raise InputError(
                    "data folder", str(folder / f"{name}.npy"), f"whole numbers of 64 bits ({array.dtype})"
                )
        fits = len(data.offsets) == len(data) * data.parts + 1 and data.offsets[-1] == len(data.tokens)
        if not fits or data.offsets[0] != 0 or (np.diff(data.offsets) < 1).any():
            raise InputError("data folder", str(folder), f"{wanted} that fit together")
        if data.labels.min() < 0 or data.labels.max() >= data.num_labels:
            allowed = f"whole numbers from 0 to {data.num_labels - 1}"
            raise InputError("data folder", str(folder / "labels.npy"), allowed)
        if data.tokens.min() < 1 or data.tokens.max() >= data.vocab_size:
            allowed = f"ids from 1 to {data.vocab_size - 1}"
            raise InputError("data folder", str(folder / "tokens.npy"), allowed)
        return data


def length_bucketed_batches(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> Iterator[NDArray[np.int64]]:
    """Batches of examples of similar length, in random order; a function of (seed, epoch) alone.

    The shuffled examples are sorted by length inside pools of :data:`POOL` batches, so that little padding is
    left while the make-up of a batch still changes from epoch to epoch. The last, incomplete batch is
    dropped.

    Parameters
    ----------
    lengths : array of int, shape (n,)
        Tokens of each example.

    Yields
    ------
    array of int, shape (batch_size,)
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    order = order[: len(order) // batch_size * batch_size]
    for start in range(0, len(order), batch_size * POOL):
        block = order[start : start + batch_size * POOL]
        block = block[np.argsort(lengths[block], kind="stable")].reshape(-1, batch_size)
        yield from rng.permutation(block)
