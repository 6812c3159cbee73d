"""What a run trains on, batch by batch: the stages of its curriculum, then the task's own examples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from rmaat.data.sequences import Sequences, length_bucketed_batches
from rmaat.data.splits import Splits, StageExamples, derived_seed
from rmaat.training.evaluation import to_tensors
from rmaat.training.recipe import Recipe

Batch = tuple[Tensor, Tensor, Tensor]  # ids, lengths, labels


class Batches:
    """One process's share of every batch; which examples come when, the recipe and its seed say.

    Parameters
    ----------
    recipe : Recipe
    splits : Splits
    fabric : Fabric
        A launched one.

    Attributes
    ----------
    drawing : float
        Seconds that the drawing of stages has taken so far.
    """

    def __init__(self, recipe: Recipe, splits: Splits, fabric: Fabric) -> None:
        self.recipe, self.splits, self.fabric = recipe, splits, fabric
        self.drawing = 0.0

    def after(self, done: int) -> Iterator[Batch]:
        """Every batch after the first `done` ones; a stage is drawn when it begins, and let go when it has ended."""
        stages, plan = self.recipe.data.curriculum, self.stage_of_batch()
        streams: dict[int, Iterator[Batch]] = {}
        for batch, index in enumerate(plan[done:], done):
            if index not in streams:
                used = int((plan[:batch] == index).sum())
                streams[index] = self._endless(self._drawn(self.splits.stages[index]), stages[index].batch_size, used)
            yield next(streams[index])
            if index not in plan[batch + 1 :]:
                del streams[index]
        size = self.recipe.optimisation.batch_size
        yield from self._endless(self.splits.train, size, max(0, done - len(plan)))

    def stage_of_batch(self) -> NDArray[np.int64]:
        """Index of the stage that each batch of the curriculum is taken from."""
        data, accumulate = self.recipe.data, self.recipe.optimisation.accumulate
        rng = np.random.default_rng(derived_seed(self.recipe.seed, "rehearsal"))
        own = np.repeat(np.arange(len(data.curriculum)), [stage.steps * accumulate for stage in data.curriculum])
        back = np.where(rng.random(len(own)) < data.rehearsal, rng.integers(1, 3, len(own)), 0)
        return np.maximum(own - back, 0)

    def _drawn(self, examples: StageExamples) -> Sequences:
        before = time.monotonic()
        data = examples.draw()
        self.drawing += time.monotonic() - before
        return data

    def _endless(self, data: Sequences, batch_size: int, done: int) -> Iterator[Batch]:
        epoch, skip = divmod(done, len(data) // batch_size)
        while True:
            batches = length_bucketed_batches(data.lengths, batch_size, self.recipe.seed, epoch)
            for indices in islice(batches, skip, None):
                mine = indices[self.fabric.global_rank :: self.fabric.world_size]
                yield to_tensors(data, mine, self.recipe.data.max_length, self.fabric.device)
            epoch, skip = epoch + 1, 0
