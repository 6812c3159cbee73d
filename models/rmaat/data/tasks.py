"""The tasks by name: how the examples of each are found, and how many labels and token ids it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astro_sim.errors import InputError
from rmaat.data import listops
from rmaat.data.sequences import Sequences

if TYPE_CHECKING:
    from rmaat.training.recipe import DataRecipe


@dataclass(frozen=True)
class Splits:
    """Training, validation and test examples of one task, and training examples of each curriculum stage."""

    train: Sequences
    validation: Sequences
    test: Sequences
    stages: tuple[Sequences, ...] = ()


def _listops(recipe: DataRecipe, seed: int) -> Splits:
    stages = tuple(
        listops.generate(
            min(recipe.train, stage.steps * stage.batch_size),
            derived_seed(seed, f"stage {i}"),
            listops.Grammar(min_length=stage.min_length, max_length=stage.max_length),
        )
        for i, stage in enumerate(recipe.curriculum)
    )
    if recipe.folder:
        folder = Path(recipe.folder)
        files = (listops.read_tsv(folder / f"basic_{name}.tsv") for name in ("train", "val", "test"))
        return Splits(*files, stages)
    sizes = {"train": recipe.train, "validation": recipe.validation, "test": recipe.test}
    drawn = (listops.generate(n, derived_seed(seed, name)) for name, n in sizes.items())
    return Splits(*drawn, stages)


def derived_seed(seed: int, name: str) -> int:
    """A seed of its own for each named use of one run's seed."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0])


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
