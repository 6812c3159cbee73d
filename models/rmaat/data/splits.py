"""The examples that a run trains and tests on: read from a cache or an official layout, or drawn; stages with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astro_sim.errors import InputError
from rmaat.data.sequences import Sequences
from rmaat.data.tasks import SPLITS, TASKS, Task, find_task, read_layout, refuse_absent

if TYPE_CHECKING:
    from rmaat.training.recipe import DataRecipe

PROBE = 64  # examples that tell whether a generator can draw more of them


@dataclass(frozen=True)
class StageExamples:
    """`n` training examples of one stage of a curriculum, drawn when the stage begins: some take minutes.

    `longest` is the most tokens that one may have, where the stage says so.
    """

    n: int
    draw: Callable[[], Sequences]
    longest: int = 0

    def __len__(self) -> int:
        return self.n


@dataclass(frozen=True)
class Splits:
    """Training, validation and test examples of one task, training examples of each curriculum stage, their origin.

    `folder` is what the examples were read from; None of drawn ones.
    """

    train: Sequences
    validation: Sequences
    test: Sequences
    stages: tuple[StageExamples, ...] = ()
    origin: str = ""
    folder: Path | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence; of stages that are drawn later, the most that they may have."""
        read = max(int(getattr(self, split).lengths.max()) for split in SPLITS)
        return max([read, *(stage.longest for stage in self.stages)])

    def about(self) -> dict[str, dict[str, int]]:
        """Examples and tokens of each split: what tells other data from the same."""
        parts = {split: getattr(self, split) for split in SPLITS}
        return {split: {"examples": len(d), "tokens": int(d.offsets[-1])} for split, d in parts.items()}


def default_folder(name: str) -> Path:
    """Where `prepare` puts a task's cache: ``$RMAAT_DATA/<task>``, or ``data/<task>`` here."""
    return Path(os.environ.get("RMAAT_DATA", "data")) / name


def source_folder(name: str, recipe: DataRecipe) -> Path:
    """Where a recipe's examples are read from, if there are any; InputError if a task that is read has none there."""
    task = find_task(name)
    if recipe.folder:
        refuse_absent(task, Path(recipe.folder))
        return Path(recipe.folder)
    if task.generate is None and not _is_cache(default_folder(name)):
        allowed = f"a cache made by `rmaat data prepare {name}`, or a folder of its official layout"
        raise InputError("data", str(default_folder(name)), allowed)
    return default_folder(name)


def _is_cache(folder: Path) -> bool:
    return (folder / SPLITS[0] / "about.json").is_file()


def load_splits(name: str, recipe: DataRecipe, seed: int, accumulate: int = 1) -> Splits:
    """The examples that a recipe trains and tests on: a cache, an official layout, or generated ones.

    A cache in `default_folder` comes before generated examples, whatever numbers of them the recipe names.

    Parameters
    ----------
    seed : int
        Of what is generated.
    accumulate : int
        Batches that a step of a curriculum's stages takes.

    Raises
    ------
    InputError
        If the task is unknown or its data are missing, damaged, of another task or of another source than the
        recipe's.
    """
    task = find_task(name)
    _settings(name, recipe)
    folder, stages = source_folder(name, recipe), partial(_stages, name, recipe, seed, accumulate)
    if _is_cache(folder):
        read = _cached(name, folder, recipe.source)
        return Splits(**read, stages=stages(read["train"]), origin=f"the cache {folder}", folder=folder)
    if recipe.folder:
        read = read_layout(name, folder, recipe.source)
        return Splits(**read, stages=stages(read["train"]), origin=str(folder), folder=folder)
    if recipe.source is not None:
        raise InputError("--source", recipe.source, "none for generated examples")
    made = stages()
    examples = drawn(task, {"train": recipe.train, "validation": recipe.validation, "test": recipe.test}, seed)
    return Splits(**examples, stages=made, origin=f"the generator, seed {seed}", folder=None)


def _cached(name: str, folder: Path, source: str | None) -> dict[str, Sequences]:
    """The splits of a cache, which fit each other, `name` and `source`."""
    cached = {split: Sequences.open(folder / split) for split in SPLITS}
    for data in cached.values():
        if (of := data.about.get("task", name)) != name:
            raise InputError("data", str(folder), f"a cache of {name}; it is one of {of}")
        if source not in (None, found := data.about.get("source")):
            raise InputError("--source", source, f"none, or that of the cache {folder}, {found!r}")
    for split, number in product(SPLITS, ("vocab_size", "num_labels", "parts")):
        if (value := getattr(cached[split], number)) != (wanted := getattr(cached["train"], number)):
            place = folder / split / "about.json"
            raise InputError(f"{place}: {number}", value, f"{wanted}, that of the training examples")
    return cached


def drawn(task: Task, sizes: dict[str, int], seed: int, **settings: int) -> dict[str, Sequences]:
    """So many examples of each split of a task that can be generated."""
    assert task.generate is not None
    return {split: task.generate(n, derived_seed(seed, split), **settings) for split, n in sizes.items()}


def _settings(name: str, recipe: DataRecipe) -> list[dict[str, int]]:
    """What the examples of each stage are drawn with; InputError unless it is what the task's generator asks for."""
    task, settings = TASKS[name], []
    for index, stage in enumerate(recipe.curriculum):
        given = stage.model_dump(exclude_none=True, exclude={"steps", "batch_size", "rate"})
        if task.generate is None or given.keys() != set(task.easier):
            allowed = " and ".join(task.easier) or "no stages"
            raise InputError(f"data.curriculum.{index}", given, f"{allowed}, for {name}")
        settings.append(given)
    return settings


def _stages(
    name: str, recipe: DataRecipe, seed: int, accumulate: int, train: Sequences | None = None
) -> tuple[StageExamples, ...]:
    """The stages of a curriculum before the examples `train`, if those are read: their pictures are as large."""
    task, stages = TASKS[name], []
    size = {} if train is None or "size" not in task.settings else {"size": isqrt(int(train.lengths.max()))}
    for index, (stage, settings) in enumerate(zip(recipe.curriculum, _settings(name, recipe), strict=True)):
        assert task.generate is not None
        n = min(recipe.train, stage.steps * accumulate * stage.batch_size)
        draw = partial(task.generate, seed=derived_seed(seed, f"stage {index}"), **settings, **size)
        try:
            draw(PROBE)  # what cannot be drawn is refused before training
        except InputError as error:
            raise InputError(f"data.curriculum.{index}: {error.field}", error.value, error.allowed) from None
        stages.append(StageExamples(n, partial(draw, n), longest=(stage.max_length or 1) - 1))
    return tuple(stages)


def derived_seed(seed: int, name: str) -> int:
    """A seed of its own for each named use of one run's seed."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0])
