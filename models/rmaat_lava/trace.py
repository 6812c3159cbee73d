"""What every probe of the Lava network shows at every time step, worked out from the NumPy executor's matrices."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np

from rmaat_lava.arithmetic import Integers, saturate
from rmaat_lava.program import Program, centred
from rmaat_lava.reference import Segment, classify


def trace(program: Program, inputs: Integers, lengths: Integers) -> dict[str, Integers]:
    """States at every time step when the sequences are run one after the other.

    Parameters
    ----------
    program : Program
    inputs, lengths : int64 arrays
        As in `rmaat_lava.reference.classify`.

    Returns
    -------
    dict of str to int64 array
        By the names of `rmaat_lava.processes.classifier.Classifier.probes`, each (steps, ...).
    """
    seen: dict[tuple[str, int, int], Integers] = {}

    def keep(name: str, here: Segment, values: Integers) -> None:
        for row, value in zip(here.rows.tolist(), values, strict=True):
            seen[name, row, here.t] = value
            if name not in ("embedding", "stem"):  # which have no memory
                seen["valid", row, here.t] = here.valid[here.rows.tolist().index(row)]

    classify(program, inputs, lengths, Counter(), keep)
    segments = -(-lengths // program.segment_length)
    order = [(row, t) for row, total in enumerate(segments) for t in range(1, int(total) + 1)]
    return _Schedule(program, order, seen).states()


class _Schedule:
    """Places the values of each segment on the network's time axis."""

    def __init__(
        self, program: Program, order: list[tuple[int, int]], seen: dict[tuple[str, int, int], Integers]
    ) -> None:
        self.program, self.order, self.seen = program, order, seen
        self.layers, self.places = len(program.layers), program.places
        self.first, self.size = program.memory_tokens, program.token_places
        self.begin = self.places if program.stem else 0  # when the first layer gets its first token
        self.steps = self.begin + (self.layers * len(order) + 1) * self.places
        self.tokens_first = np.r_[self.first : self.places, : self.first]

    def states(self) -> dict[str, Integers]:
        memory: list[dict[int, Integers]] = [{} for _ in range(max(self.first, 1))]
        pool: dict[int, Integers] = {}
        kept: dict[int, Integers] = {}
        states: dict[str, Integers] = {}
        for i in range(self.layers):
            states[f"layers.{i}.weights"] = self.written(i, weights=True)
            states[f"layers.{i}.activity"] = self.written(i, weights=False)
            for name, key in (("attended", f"layers.{i}.read.attended"), ("features", f"layers.{i}.features")):
                states[f"layers.{i}.{name}"] = self.emitted(i, key)
        states["embedding.features"] = self.sent("embedding", 0)
        if self.program.stem:
            states["stem.features"] = self.sent("stem", self.begin)
        for number, (row, t) in enumerate(self.order):
            start = self.begin + self.layers * (number + 1) * self.places
            features = self.seen[f"layers.{self.layers - 1}.features", row, t]
            for slot in range(self.first):
                memory[slot][start + slot] = features[slot]
            end = start + self.places - 1
            pool[end] = self.seen["pool", row, t]
            first = row % self.program.documents < self.program.documents - 1  # of a pair
            if first and ("pool", row, t + 1) not in self.seen:
                places = sum(int(self.seen["valid", row, s].sum()) - self.first for s in range(1, t + 1))
                kept[end] = centred(self.program.readout, pool[end], places)
        states["retention.memory"] = np.stack([self.held(slot, self.program.dim) for slot in memory], axis=1)
        states["readout.pool"] = self.held(pool, self.program.trace_width)
        if self.program.documents == 2:
            states["readout.kept"] = self.held(kept, self.program.trace_width)
        return states

    def held(self, values: dict[int, Integers], width: int) -> Integers:
        """A state that keeps each value from its step to that of the next, and is 0 before the first."""
        state = np.zeros((self.steps, width), np.int64)
        for begin, end in pairwise([*sorted(values), self.steps]):
            state[begin:end] = values[begin]
        return state

    def sent(self, name: str, begin: int) -> Integers:
        """What the embedding or the stem sends, kept until the next place of a token leaves."""
        values = {}
        for number, (row, t) in enumerate(self.order):
            start = begin + self.layers * number * self.places
            for slot in range(np.count_nonzero(self.seen["valid", row, t]) - self.first):
                values[start + slot] = self.seen[name, row, t][slot]
        return self.held(values, self.program.dim)

    def written(self, layer: int, weights: bool) -> Integers:
        """H or G after each step: a running sum over the write phase, 0 outside."""
        name = f"layers.{layer}.write"
        heads, width = self.program.heads, self.program.head_dim
        state = np.zeros((self.steps, heads, width, width) if weights else (self.steps, heads, width), np.int64)
        for number, (row, t) in enumerate(self.order):
            start = self.begin + (self.layers * number + layer) * self.places
            total = np.zeros(state.shape[1:], np.int64)
            valid = self.seen["valid", row, t]
            k, v, both = (self.seen[f"{name}.{part}", row, t] for part in ("k", "v", "written"))
            for slot, place in enumerate(self.tokens_first):
                if place < len(valid) and valid[place]:
                    term = both[:, place, :, None] * v[:, place, None, :] if weights else k[:, place]
                    total = saturate(total + term, name, Counter())
                state[start + slot] = total
        return state

    def emitted(self, layer: int, name: str) -> Integers:
        """A vector of the read mode after each step: that of the place that left last."""
        values = {}
        last = layer == self.layers - 1
        for number, (row, t) in enumerate(self.order):
            start = self.begin + (self.layers * number + layer + 1) * self.places
            valid = self.seen["valid", row, t]
            for slot, place in enumerate(range(self.places) if last else self.tokens_first):
                if place < len(valid) and valid[place]:
                    values[start + slot] = self.seen[name, row, t][place]
        return self.held(values, self.program.dim)
