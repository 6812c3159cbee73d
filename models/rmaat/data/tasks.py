"""The tasks by name: how the examples of each are found, and how many labels and token ids it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from astro_sim.errors import InputError
from rmaat.data import listops
from rmaat.data.sequences import Sequences

if TYPE_CHECKING:
    from rmaat.training.recipe import DataRecipe


@dataclass(frozen=True)
class Splits:
    """Training, validation and test examples of one task."""

    train: Sequences
    validation: Sequences
    test: Sequences


def _listops(recipe: DataRecipe, seed: int) -> Splits:
    if recipe.folder:
        folder = Path(recipe.folder)
        return Splits(*(listops.read_tsv(folder / f"basic_{name}.tsv") for name in ("train", "val", "test")))
    sizes = {"train": recipe.train, "validation": recipe.validation, "test": recipe.test}
    return Splits(**{name: listops.generate(n, seed * 3 + i) for i, (name, n) in enumerate(sizes.items())})


TASKS: dict[str, Callable[[DataRecipe, int], Splits]] = {"listops": _listops}


def load_splits(task: str, recipe: DataRecipe, seed: int) -> Splits:
    """Read or generate the three splits of `task`.

    Raises
    ------
    InputError
        If the task is unknown or its data are missing or damaged.
    """
    if task not in TASKS:
        raise InputError("--task", task, f"one of {', '.join(TASKS)}")
    return TASKS[task](recipe, seed)
