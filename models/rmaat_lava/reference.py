"""The owner of the integer semantics: whole segments as matrices, batched over sequences, in NumPy.

Lava's processes do the same token by token. Sums that a chip forms one token after another saturate at each token; a
matrix product gives the same integers wherever no partial sum can leave the 24 bits. That is checked beforehand, and
the sequences in which one could are summed token by token.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from rmaat_lava.arithmetic import LIMIT, MULTIPLIER_BITS, Integers
from rmaat_lava.program import Program, centred, token_places
from rmaat_lava.vectorised import Floats, power_of_two, round_scaled, saturate, vectorised


class Segment(NamedTuple):
    """The t-th segment (from 1) of those sequences of a batch that have one."""

    t: int
    rows: np.ndarray  # which sequences, (rows,)
    valid: np.ndarray  # True at places that exist: memory, then tokens, (rows, places)

    def spread(self, x: Floats) -> Floats:
        """(count, dim) at the places that exist to (rows, places, dim), 0 at the others."""
        if len(x) == self.valid.size:
            return x.reshape(*self.valid.shape, -1)
        full = x.take(self.valid.cumsum() - 1, axis=0, mode="clip").reshape(*self.valid.shape, -1)
        full[~self.valid] = 0
        return full

    def gather(self, full: Floats) -> Floats:
        """(rows, places, dim) to (count, dim), the places that exist."""
        flat = full.reshape(self.valid.size, -1)
        return flat if self.valid.all() else flat.take(np.flatnonzero(self.valid), axis=0)


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
        Rows that the tokens activate (sequences, length, active), or messages of features (sequences, length,
        features); see `rmaat_lava.inputs`. Where one row is active, its axis may be left out.
    lengths : int64 array of shape (sequences,)
        Tokens that exist. The documents of a pair are two neighbouring sequences.
    counts : Counter
        Saturated values are added under the name of their place.
    probe : callable, optional
        Sees intermediate values; all sequences are then one batch.

    Returns
    -------
    int64 array of shape (sequences, labels), or (pairs, labels)
    """
    pools = np.zeros((len(inputs), program.trace_width))
    quick, inputs = vectorised(program), inputs.reshape(*inputs.shape[:2], -1)
    order = np.argsort(lengths, kind="stable") if probe is None else np.arange(len(inputs))
    size = max(PLACES_AT_ONCE // program.places, 1) if probe is None else len(inputs)
    batches = [order[start : start + size] for start in range(0, len(order), size)]

    def one(rows: np.ndarray) -> Counter:
        cut: Counter = Counter()
        longest = lengths[rows].max()
        pools[rows] = _Batch(program, quick, lengths[rows], cut, probe).run(inputs[rows, :longest])
        return cut

    # NumPy releases the interpreter; BLAS with threads of its own would fight with these over the cores
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(_cores()) as pool:
        for cut in pool.map(one, batches):
            counts.update(cut)
    return _decide(quick.readout, pools, token_places(program, lengths), counts)


def _decide(readout: Any, pools: Floats, places: Integers, counts: Counter) -> Integers:
    """Logits (examples, labels) from the pools (sequences, width) over so many `places`; `readout` is quick."""
    features = round_scaled(centred(readout, pools, places), readout.gain * power_of_two(readout.gain_shift))
    saturate(features, "readout.features", counts)
    for matching in readout.matching:
        a, b = features[::2], features[1::2]
        product = round_scaled(a * b, power_of_two(matching.product_shift))
        compared = saturate(np.concatenate([a, b, product, a - b], axis=1), "readout.matching", counts)
        features = np.maximum(matching.hidden(compared, "readout.hidden", counts), 0)
    return readout.classifier(features, "readout.logits", counts).astype(np.int64)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Batch:
    """Sequences that run side by side; `rows` are those that have a segment t, x are (count, dim) places that exist."""

    def __init__(self, program: Program, quick: Any, lengths: Integers, counts: Counter, probe: Probe | None) -> None:
        self.program, self.quick, self.lengths, self.counts, self.probe = program, quick, lengths, counts, probe
        self.segments = -(-lengths // program.segment_length)

    def run(self, inputs: Integers) -> Floats:
        """What the read-out has pooled at the end of each sequence, (sequences, width)."""
        program, size, first = self.program, self.program.segment_length, self.program.memory_tokens
        memory = np.tile(program.retention.initial.astype(float), (len(inputs), 1, 1))
        pool = np.zeros((len(inputs), program.trace_width))
        for t in range(1, int(self.segments.max()) + 1):
            rows = np.flatnonzero(self.segments >= t)
            piece = inputs[rows, (t - 1) * size : t * size]
            exists = np.arange(piece.shape[1]) < (self.lengths[rows] - (t - 1) * size)[:, None]
            tokens = Segment(t, rows, _groups(exists, program.stride).max(2))
            here = Segment(t, rows, np.concatenate([np.ones((len(rows), first), bool), tokens.valid], axis=1))
            entered = self.enter_memory(memory[rows], self.segments[rows], t)
            embedded = tokens.spread(self.stem(self.embed(piece, exists, tokens), tokens))
            x = here.gather(np.concatenate([entered, embedded], axis=1))
            for index, layer in enumerate(self.quick.layers):
                weights, g = self.write(layer.write, x, here, f"layers.{index}.write")
                x = self.read(layer.read, x, weights, g, here, f"layers.{index}.read")
                if self.probe is not None:
                    self.see(f"layers.{index}.features", here, here.spread(x))
            full = here.spread(x)
            memory[rows] = full[:, :first]
            pool[rows] = saturate(pool[rows] + self.pool(full, here), "readout.pool", self.counts)
            self.see("pool", here, pool[rows])
        return pool

    def see(self, name: str, here: Segment, values: Floats) -> None:
        """Show values of the rows, (rows, ...)."""
        if self.probe is not None:
            self.probe(name, here, values.astype(np.int64))

    def enter_memory(self, memory: Floats, segments: Integers, t: int) -> Floats:
        """Memory at its places of segment t: scaled (but for the first), then marked; (rows, M, dim)."""
        retention = self.quick.retention
        if t > 1:
            if retention.norm:
                norm = retention.norm[0].at(np.repeat(segments, memory.shape[1]), t - 1)
                flat = norm(memory.reshape(-1, self.program.dim), "retention.norm", self.counts)
                memory = flat.reshape(memory.shape)
            else:
                factor = retention.factor[segments, t - 1] * power_of_two(retention.shift)
                memory = round_scaled(memory, factor[:, None, None])
        return saturate(memory + retention.identity, "retention", self.counts)

    def embed(self, piece: Integers, exists: np.ndarray, tokens: Segment) -> Floats:
        """The places of tokens that exist, (count, dim)."""
        embedding, active = self.quick.embedding, piece[exists]
        if embedding.active:
            x = embedding.linear.rows(active, "embedding.linear", self.counts)
        else:
            x = embedding.linear(active.astype(float), "embedding.linear", self.counts)
        for merge in embedding.merge:
            message = np.zeros((*exists.shape, x.shape[1]))
            message[exists] = round_scaled(x, power_of_two(merge.message_shift))
            groups = tokens.gather(_groups(message, self.program.stride).reshape(*tokens.valid.shape, -1))
            x = merge.linear(groups, "embedding.merge", self.counts)
        if self.program.stem and self.probe is not None:
            self.see("embedding", tokens, tokens.spread(x))
        return x

    def stem(self, x: Floats, tokens: Segment) -> Floats:
        """Convolutions, if there are any, and positions, (count, dim); `x` is overwritten."""
        for index, convolution in enumerate(self.quick.stem):
            x = self.convolve(convolution, x, 2**index, tokens, f"stem.{index}")
        x += self.program.position[np.nonzero(tokens.valid)[1]]
        saturate(x, "position", self.counts)
        if self.probe is not None:
            self.see("stem" if self.program.stem else "embedding", tokens, tokens.spread(x))
        return x

    def convolve(self, c: Any, x: Floats, apart: int, tokens: Segment, place: str) -> Floats:
        """One layer of the stem, (count, dim) to the same; `c` is quick, `x` is overwritten."""
        rows, places = tokens.valid.shape
        kernel = len(c.linear.matrix) // x.shape[1]
        beyond = kernel // 2 * apart
        message = np.zeros((rows, places + 2 * beyond, x.shape[1]))
        message[:, beyond : beyond + places] = tokens.spread(round_scaled(x, power_of_two(c.message_shift)))
        taps = np.concatenate([message[:, n * apart : n * apart + places] for n in range(kernel)], axis=2)
        hidden = c.linear(tokens.gather(taps), f"{place}.linear", self.counts)
        x += np.maximum(hidden, 0, out=hidden)
        return c.norm(saturate(x, f"{place}.residual", self.counts), f"{place}.norm", self.counts)

    def write(self, w: Any, x: Floats, here: Segment, place: str) -> tuple[Floats, Floats]:
        """H as it is read, (rows, heads, head_dim, head_dim), and g, (rows, heads, head_dim); `w` is quick."""
        message = round_scaled(x, power_of_two(w.message_shift))
        k = here.spread(w.phi(w.key(message, f"{place}.key", self.counts), f"{place}.phi", self.counts))
        v = here.spread(w.value(message, f"{place}.value", self.counts))
        written = self.joined(k, w.astrocytic, here.valid)
        k_of, v_of, written_of = (self.by_head(values) for values in (k, v, written))
        weights, activity = written_of.swapaxes(-1, -2) @ v_of, self.by_head(_sum(k))[:, :, 0]
        for row in self.may_saturate(written, v):
            stream = self.stream(here.valid[row])
            weights[row] = self.running_sum(
                (written_of[row, :, i, :, None] * v_of[row, :, i, None, :] for i in stream), f"{place}.weights"
            )
            activity[row] = self.running_sum((k_of[row, :, i] for i in stream), f"{place}.activity")
        for name, values in (("k", k_of), ("written", written_of), ("v", v_of)):
            self.see(f"{place}.{name}", here, values)
        g = w.response[0](activity).astype(float) if w.response else activity
        return round_scaled(weights, power_of_two(w.shift), out=weights), g

    @staticmethod
    def joined(k: Floats, astrocytic: Integers, valid: np.ndarray) -> Floats:
        """φ(k) + φ(R) at the places that exist, (rows, places, dim)."""
        if not astrocytic.any():
            return k
        table = astrocytic.swapaxes(0, 1).reshape(-1, k.shape[-1])[: k.shape[1]]
        return k + (table if valid.all() else table * valid[..., None])

    def may_saturate(self, written: Floats, v: Floats) -> np.ndarray:
        """Rows in which some partial sum of H or G could leave the state, by two bounds.

        The quick one is the inequality of Cauchy and Schwarz, Σ |w v| <= (Σ w²)^(1/2) (Σ v²)^(1/2).
        """
        squares = (self.by_head(_sum(values * values)).max((2, 3)) for values in (written, v))
        rows = np.flatnonzero((np.prod([*squares], axis=0) > LIMIT**2).any(1) | (_sum(written) > LIMIT).any((1, 2)))
        row, those = self.by_head(written[rows]), self.by_head(np.abs(v[rows]))
        sums = (row.swapaxes(-1, -2) @ those).max((1, 2, 3), initial=0)
        bound = np.maximum(sums, row.sum(2).max((1, 2), initial=0))
        return rows[bound > LIMIT]

    def stream(self, valid: np.ndarray) -> np.ndarray:
        """Places of one segment in the order in which they are written: tokens, then memory."""
        places = np.flatnonzero(valid)
        return np.concatenate([places[self.program.memory_tokens :], places[: self.program.memory_tokens]])

    def running_sum(self, terms: Iterable[Floats], place: str) -> Floats:
        """A sum that saturates at each term."""
        total = np.zeros(1)
        for term in terms:
            total = saturate(total + term, place, self.counts)
        return total

    def read(self, r: Any, x: Floats, weights: Floats, g: Floats, here: Segment, place: str) -> Floats:
        """Outputs of the layer, (count, dim); `r` is quick, `x` is overwritten."""
        counts, heads = self.counts, self.program.heads
        q = r.query(round_scaled(x, power_of_two(r.message_shift)), f"{place}.query", counts)
        q = self.by_head(here.spread(r.phi(q, f"{place}.phi", counts)))
        ratio = np.empty((*here.valid.shape, heads, self.program.head_dim))
        np.matmul(q, weights, out=ratio.swapaxes(1, 2))
        saturate(ratio, f"{place}.numerator", counts)
        if r.reciprocal:
            c = saturate((q @ g[..., None])[..., 0].swapaxes(1, 2), f"{place}.c", counts)
            mantissa, shift = r.reciprocal[0](c)
            by = mantissa * power_of_two(shift - r.ratio_shift)
            saturate(round_scaled(ratio, by[..., None], out=ratio), f"{place}.ratio", counts)
        attended = here.gather(ratio)
        by = np.repeat(r.multiplier * power_of_two(r.shift), self.program.head_dim)
        round_scaled(attended, by, out=attended)
        if self.probe is not None:
            self.see(f"{place}.attended", here, here.spread(attended))
        x += attended
        y = r.norm(saturate(x, f"{place}.residual", counts), f"{place}.norm", counts)
        hidden = r.ffn_in(round_scaled(y, power_of_two(r.ffn_shift)), f"{place}.ffn_in", counts)
        y += r.ffn_out(np.maximum(hidden, 0, out=hidden), f"{place}.ffn_out", counts)
        return r.ffn_norm(saturate(y, f"{place}.ffn", counts), f"{place}.ffn_norm", counts)

    def by_head(self, full: Floats) -> Floats:
        """(rows, places, dim) to (rows, heads, places, head_dim)."""
        return full.reshape(*full.shape[:2], self.program.heads, self.program.head_dim).swapaxes(1, 2)

    def pool(self, features: Floats, here: Segment) -> Floats:
        """What segment t adds to the pool, (rows, dim or 2 dim): its share times the means of tokens and memory."""
        r, first, valid = self.program.readout, self.program.memory_tokens, here.valid
        terms = round_scaled(features, power_of_two(r.sum_shift))
        tokens = self.mean(terms[:, first:], valid[:, first:], "readout.tokens")
        memory = self.mean(terms[:, :first], valid[:, :first], "readout.memory") if first else tokens[:, :0]
        share = r.share[self.segments[here.rows], here.t][:, None]
        return round_scaled(np.concatenate([tokens, memory], axis=1), share * 2.0**-MULTIPLIER_BITS)

    def mean(self, terms: Floats, valid: np.ndarray, place: str) -> Floats:
        """Mean over the places that exist, (rows, dim)."""
        count = valid.sum(1)
        total = terms.sum(1)
        for row in np.flatnonzero(np.abs(terms).max((1, 2)) * count > LIMIT):
            total[row] = self.running_sum(terms[row, valid[row]], place)
        mantissa, shift = self.program.readout.reciprocal(count[:, None])
        by = mantissa * power_of_two(shift + self.program.readout.mean_shift)
        return saturate(round_scaled(total, by), place, self.counts)


def _sum(full: Floats) -> Floats:
    """Sum over the places, (rows, 1, dim); a product is quicker than `sum`."""
    return np.ones((1, full.shape[1])) @ full


def _groups(x: np.ndarray, stride: int) -> np.ndarray:
    """(rows, tokens, ...) to (rows, places, stride, ...), zeros at the end."""
    missing = [(0, 0), (0, -x.shape[1] % stride)] + [(0, 0)] * (x.ndim - 2)
    return np.pad(x, missing).reshape(len(x), -1, stride, *x.shape[2:])
