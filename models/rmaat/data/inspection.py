"""What a data set looks like: numbers, and samples as text or as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from pathlib import Path

import numpy as np

from astro_sim.errors import InputError
from rmaat.data.sequences import Sequences
from rmaat.data.splits import load_splits
from rmaat.data.tasks import SPLITS, find_task

SHOWN_CHARACTERS = 400


def load_one(task: str, folder: Path | None, split: str, seed: int) -> Sequences:
    """One split of a task from a cache or official layout; of generated tasks 1,000 examples.

    Raises
    ------
    InputError
        If there is no such split, or the data are missing or damaged.
    """
    from rmaat.training.recipe import DataRecipe

    if split not in SPLITS:
        raise InputError("--split", split, f"one of {', '.join(SPLITS)}")
    recipe = DataRecipe(folder=None if folder is None else str(folder), train=1000, validation=1000, test=1000)
    return getattr(load_splits(task, recipe, seed), split)


def describe(data: Sequences) -> Iterator[str]:
    """Lines about numbers, lengths and labels."""
    lengths, shares = data.lengths, np.bincount(data.labels, minlength=data.num_labels) / len(data)
    yield f"{len(data):,} examples of {data.num_labels} classes over {data.vocab_size} token ids"
    yield f"length: mean {lengths.mean():,.0f}, median {np.median(lengths):,.0f}, {lengths.min():,}-{lengths.max():,}"
    if data.num_labels <= 20:
        yield "labels: " + "  ".join(f"{label}: {share:.1%}" for label, share in enumerate(shares))


def show(task: str, data: Sequences, count: int, seed: int, out: Path) -> Iterator[str]:
    """Some examples: as text, or as one PNG of pictures or waveforms in `out`.

    Raises
    ------
    InputError
        If a picture is not square.
    """
    picks = np.random.default_rng(seed).choice(len(data), min(count, len(data)), replace=False)
    about = find_task(task)
    if about.decode is not None:
        for i in picks:
            yield f"[{data.labels[i]}] {about.decode(data[i][:SHOWN_CHARACTERS])}"
        return
    yield f"picture: {_draw(data, picks, about.picture, out / f'{task}.png')}"


def _draw(data: Sequences, picks: np.ndarray, picture: bool, path: Path) -> Path:
    from matplotlib.figure import Figure

    from astro_sim.plotting import save_figure

    for i in picks if picture else ():
        if isqrt(n := len(data[i])) ** 2 != n:
            raise InputError(f"length of example {i}", n, "the pixels of a square picture")
    columns = min(8, len(picks))
    rows = -(-len(picks) // columns)
    figure = Figure(figsize=(1.5 * columns, 1.7 * rows), layout="constrained")
    for axis, i in zip(figure.subplots(rows, columns, squeeze=False).ravel(), picks, strict=False):
        if picture:
            axis.imshow(data[i].reshape(isqrt(len(data[i])), -1), cmap="gray")
        else:
            axis.plot(data[i], lw=0.3)
        axis.set_title(str(data.labels[i]), size=8)
        axis.axis("off")
    save_figure(figure, path, dpi=150)
    return path
