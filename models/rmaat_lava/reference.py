"""The owner of the integer semantics: whole segments as matrices, batched over sequences, in NumPy.

Lava's processes do the same token by token. Sums that a chip forms one token after another saturate at each token; a
matrix product gives the same integers wherever no partial sum can leave the 24 bits. That is checked beforehand, and
the sequences in which one could are summed token by token.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from rmaat_lava.arithmetic import (
    LIMIT,
    MULTIPLIER_BITS,
    Integers,
    Linear,
    multiply_shift,
    round_shift,
    saturate,
)
from rmaat_lava.program import Program, Read, Write


class Segment(NamedTuple):
    """The t-th segment (from 1) of those sequences of a batch that have one."""

    t: int
    rows: np.ndarray  # which sequences, (rows,)
    valid: np.ndarray  # True at places that exist: memory, then tokens, (rows, places)


Probe = Callable[[str, Segment, Integers], None]
"""Called with a name and the values of a segment, (rows, ...)."""

PLACES_AT_ONCE = 1024
"""Places of one segment that run as one batch: their arrays stay in the processor's cache."""


def classify(
    program: Program, inputs: Integers, lengths: Integers, counts: Counter, probe: Probe | None = None
) -> Integers:
    """Logits of sequences.

    Parameters
    ----------
    program : Program
    inputs : int64 array
        Token ids (sequences, length), or messages of features (sequences, length, features).
    lengths : int64 array of shape (sequences,)
        Tokens that exist.
    counts : Counter
        Saturated values are added under the name of their place.
    probe : callable, optional
        Sees intermediate values; all sequences are then one batch.

    Returns
    -------
    int64 array of shape (sequences, labels)
    """
    logits = np.zeros((len(inputs), program.labels), np.int64)
    order = np.argsort(lengths, kind="stable") if probe is None else np.arange(len(inputs))
    size = max(PLACES_AT_ONCE // program.places, 1) if probe is None else len(inputs)
    batches = [order[start : start + size] for start in range(0, len(order), size)]

    def one(rows: np.ndarray) -> Counter:
        cut: Counter = Counter()
        longest = lengths[rows].max()
        logits[rows] = _Batch(program, lengths[rows], cut, probe).run(inputs[rows, :longest])
        return cut

    # NumPy releases the interpreter; BLAS with threads of its own would fight with these over the cores
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        for cut in pool.map(one, batches):
            counts.update(cut)
    return logits


class _Batch:
    """Sequences that run side by side; `rows` are those that have a segment t."""

    def __init__(self, program: Program, lengths: Integers, counts: Counter, probe: Probe | None) -> None:
        self.program, self.lengths, self.counts, self.probe = program, lengths, counts, probe
        self.segments = -(-lengths // program.segment_length)

    def run(self, inputs: Integers) -> Integers:
        program, size, first = self.program, self.program.segment_length, self.program.memory_tokens
        memory = np.tile(program.retention.initial.astype(float), (len(inputs), 1, 1))
        pool = np.zeros((len(inputs), len(program.readout.classifier.weight)))
        for t in range(1, int(self.segments.max()) + 1):
            rows = np.flatnonzero(self.segments >= t)
            piece = inputs[rows, (t - 1) * size : t * size]
            exists = np.arange(piece.shape[1]) < (self.lengths[rows] - (t - 1) * size)[:, None]
            valid = np.concatenate([np.ones((len(rows), first), bool), exists], axis=1)
            here = Segment(t, rows, valid)
            x = np.zeros((*valid.shape, program.dim))
            x[:, :first] = self.enter_memory(memory[rows], self.segments[rows], t)
            x[:, first:][exists] = self.embed(piece, exists)
            for index, layer in enumerate(program.layers):
                weights, g = self.write(layer.write, x, here, f"layers.{index}.write")
                x[valid] = self.read(layer.read, x, weights, g, here, f"layers.{index}.read")
                self.see(f"layers.{index}.features", here, x)
            memory[rows] = x[:, :first]
            pool[rows] = saturate(pool[rows] + self.pool(x, here), "readout.pool", self.counts)
            self.see("pool", here, pool[rows])
        return self.decide(pool)

    def see(self, name: str, here: Segment, values: Integers) -> None:
        if self.probe is not None:
            self.probe(name, here, values.astype(np.int64))

    def dense(self, linear: Linear, x: Integers, place: str) -> Integers:
        return linear.rescale(x @ linear.matrix, place, self.counts)

    def enter_memory(self, memory: Integers, segments: Integers, t: int) -> Integers:
        """Memory at its places of segment t: scaled (but for the first), then marked; (rows, M, dim)."""
        retention = self.program.retention
        if t > 1:
            memory = round_shift(memory * retention.factor[segments, t - 1][:, None, None], retention.shift)
        return saturate(memory + retention.identity, "retention", self.counts)

    def embed(self, piece: Integers, exists: np.ndarray) -> Integers:
        """The tokens that exist, (count, dim)."""
        linear, position = self.program.embedding.linear, self.program.embedding.position
        tokens = piece[exists]
        total = linear.matrix[tokens] if piece.ndim == 2 else tokens @ linear.matrix
        x = linear.rescale(total, "embedding.linear", self.counts)
        return saturate(x + position[np.nonzero(exists)[1]], "embedding", self.counts)

    def write(self, w: Write, x: Integers, here: Segment, place: str) -> tuple[Integers, Integers]:
        """H as it is read, (rows, heads, head_dim, head_dim), and g, (rows, heads, head_dim)."""
        valid = here.valid
        message = round_shift(x[valid], w.message_shift)
        k = self.dense(w.key, message, f"{place}.key")
        k = self.by_head(saturate(w.phi(k), f"{place}.phi", self.counts), valid)
        v = self.by_head(self.dense(w.value, message, f"{place}.value"), valid)
        written = k + w.astrocytic[:, : valid.shape[1]] * valid[:, None, :, None]
        weights, activity = written.swapaxes(-1, -2) @ v, k.sum(2)
        for row in self.may_saturate(written, v):
            stream = self.stream(valid[row])
            weights[row] = self.running_sum(
                (written[row, :, i, :, None] * v[row, :, i, None, :] for i in stream), f"{place}.weights"
            )
            activity[row] = self.running_sum((k[row, :, i] for i in stream), f"{place}.activity")
        for name, values in (("k", k), ("written", written), ("v", v)):
            self.see(f"{place}.{name}", here, values)
        weights = round_shift(weights, w.shift)
        return weights, w.response[0](activity) if w.response else activity

    @staticmethod
    def may_saturate(written: Integers, v: Integers) -> np.ndarray:
        """Rows in which some partial sum of H or G could leave the state, by two bounds, the cheap one first."""
        largest = np.abs(v).max((1, 2, 3))
        rows = np.flatnonzero(written.sum(2).max((1, 2)) * np.maximum(largest, 1) > LIMIT)
        row = written[rows]
        sums = (row.swapaxes(-1, -2) @ np.abs(v[rows])).max((1, 2, 3), initial=0)
        bound = np.maximum(sums, row.sum(2).max((1, 2), initial=0))
        return rows[bound > LIMIT]

    def stream(self, valid: np.ndarray) -> np.ndarray:
        """Places of one segment in the order in which they are written: tokens, then memory."""
        places = np.flatnonzero(valid)
        return np.concatenate([places[self.program.memory_tokens :], places[: self.program.memory_tokens]])

    def running_sum(self, terms: Iterable[Integers], place: str) -> Integers:
        """A sum that saturates at each term."""
        total = np.zeros(1)
        for term in terms:
            total = saturate(total + term, place, self.counts)
        return total

    def read(self, r: Read, x: Integers, weights: Integers, g: Integers, here: Segment, place: str) -> Integers:
        """Outputs of the layer at the places that exist, (count, dim)."""
        heads, valid = len(r.multiplier), here.valid
        q = self.dense(r.query, round_shift(x[valid], r.message_shift), f"{place}.query")
        q = self.by_head(saturate(r.phi(q), f"{place}.phi", self.counts), valid)
        ratio = _at(saturate(q @ weights, f"{place}.numerator", self.counts), valid)
        if r.reciprocal:
            c = _at(saturate(q @ g[..., None], f"{place}.c", self.counts), valid)
            mantissa, shift = r.reciprocal[0](c)
            ratio = multiply_shift(ratio, mantissa, shift - r.ratio_shift[:, None])
            ratio = saturate(ratio, f"{place}.ratio", self.counts)
        attended = multiply_shift(ratio, r.multiplier[:, None], r.shift[:, None])
        attended = attended.reshape(len(attended), heads * q.shape[-1])
        if self.probe is not None:
            full = np.zeros_like(x)
            full[valid] = attended
            self.see(f"{place}.attended", here, full)
        y = r.norm(saturate(x[valid] + attended, f"{place}.residual", self.counts), f"{place}.norm", self.counts)
        hidden = self.dense(r.ffn_in, round_shift(y, r.ffn_shift), f"{place}.ffn_in")
        out = self.dense(r.ffn_out, np.maximum(hidden, 0), f"{place}.ffn_out")
        return r.ffn_norm(saturate(y + out, f"{place}.ffn", self.counts), f"{place}.ffn_norm", self.counts)

    def by_head(self, x: Integers, valid: np.ndarray) -> Integers:
        """(count, dim) to (rows, heads, places, head_dim), 0 at places that do not exist."""
        full = np.zeros((*valid.shape, x.shape[-1]))
        full[valid] = x
        return full.reshape(*valid.shape, self.program.heads, -1).swapaxes(1, 2)

    def pool(self, features: Integers, here: Segment) -> Integers:
        """What segment t adds to the pool, (rows, dim or 2 dim): RF(t, T) times the means of tokens and memory."""
        r, first, valid = self.program.readout, self.program.memory_tokens, here.valid
        terms = round_shift(features, r.sum_shift) * valid[..., None]
        tokens = self.mean(terms[:, first:], valid[:, first:], "readout.tokens")
        memory = self.mean(terms[:, :first], valid[:, :first], "readout.memory") if first else tokens[:, :0]
        share = r.share[self.segments[here.rows], here.t][:, None]
        return round_shift(np.concatenate([tokens, memory], axis=1) * share, MULTIPLIER_BITS)

    def mean(self, terms: Integers, valid: np.ndarray, place: str) -> Integers:
        """Mean over the places that exist, (rows, dim)."""
        count = valid.sum(1)
        total = terms.sum(1)
        for row in np.flatnonzero(np.abs(terms).max((1, 2)) * count > LIMIT):
            total[row] = self.running_sum(terms[row, valid[row]], place)
        mantissa, shift = self.program.readout.reciprocal(count[:, None])
        return saturate(round_shift(total * mantissa, shift + self.program.readout.mean_shift), place, self.counts)

    def decide(self, pool: Integers) -> Integers:
        """Logits, (sequences, labels)."""
        r = self.program.readout
        return self.dense(r.classifier, round_shift(pool, r.message_shift), "readout.logits")


def _at(x: Integers, valid: np.ndarray) -> Integers:
    """(rows, heads, places, ...) to (count, heads, ...)."""
    return x.swapaxes(1, 2)[valid]
