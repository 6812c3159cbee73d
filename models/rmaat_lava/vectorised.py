"""The operations of `rmaat_lava.arithmetic` on many places at once: the same integers, in few passes over memory.

Whole numbers in float64 are exact below 2^53, BLAS multiplies them and the vector units handle them. Where extremes
do not prove that nothing saturates, an obvious form of the operation takes over, which cuts and counts. Arrays are
(places, channels).
"""

from collections import Counter
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmaat_lava.arithmetic import LIMIT, UNIT_BITS, Curve, Integers, Linear, Norm

Floats = NDArray[np.float64]
"""Whole numbers in float64."""

EXACT_BITS = 53
"""float64 holds every whole number up to two to this power."""


def saturate(x: Floats, place: str, counts: Counter) -> Floats:
    """Cut `x` to ±(2^23 - 1), in place; the number of values cut is added to ``counts[place]``."""
    if x.size and (x.max() > LIMIT or x.min() < -LIMIT):
        counts[place] += int(np.count_nonzero(np.abs(x) > LIMIT))
        np.clip(x, -LIMIT, LIMIT, out=x)
    return x


def round_scaled(x: Floats, factor: Floats | float, out: Floats | None = None) -> Floats:
    """``x * factor``, halves rounded up; the product has to be exact: 24 bits times a 15-bit factor are."""
    out = np.multiply(x, factor, out=out)
    out += 0.5
    return np.floor(out, out=out)


def power_of_two(shift: Integers) -> Floats:
    """``2**-shift``."""
    return np.ldexp(1.0, -np.asarray(shift, np.int64))


@dataclass(frozen=True)
class Dense:
    """A `Linear` with its rescaling folded into the weights: ``floor(x @ matrix + offset)``.

    In units of ``2**-shift`` everything is whole: 15-bit factors times 8-bit weights times 24-bit messages.

    Parameters
    ----------
    linear : Linear
    matrix : float64 array of shape (in, out)
    offset : float64 array of shape (out,)
        Bias and the half that rounding adds.
    low, high : float64 array of shape (out,)
        Between them neither the sum of the synapses nor the output saturates; an empty range where the folded form
        is not exact.
    """

    linear: Linear
    matrix: Floats
    offset: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, linear: Linear) -> "Dense":
        """Fold `linear`."""
        weight, multiplier = linear.weight.astype(np.float64), linear.multiplier.astype(np.float64)
        factor = np.broadcast_to(multiplier * power_of_two(linear.shift), linear.bias.shape)
        largest = LIMIT * (np.abs(weight).sum(0) + 1) * multiplier
        exact = (largest < 2.0**EXACT_BITS) & (factor > 0) & (linear.shift < EXACT_BITS)
        bound = np.where(exact, LIMIT * np.minimum(factor, 1), -1)
        return cls(linear, weight * factor, linear.bias * factor + 0.5, 0.5 - bound, 0.5 + bound)

    def __call__(self, x: Floats, place: str, counts: Counter) -> Floats:
        """Outputs (places, out) of messages (places, in)."""
        y = x @ self.matrix
        y += self.offset
        if not _within(y, self.low, self.high):
            return self.rescale(x @ self.linear.weight, place, counts)
        return np.floor(y, out=y)

    def rows(self, index: Integers, place: str, counts: Counter) -> Floats:
        """Outputs where the messages are one-hot: rows of the weight, added up along the last axis of `index`."""
        return self.rescale(self.linear.weight[index].sum(-2, dtype=np.float64), place, counts)

    def rescale(self, total: Floats, place: str, counts: Counter) -> Floats:
        """From the sum of the synapses, which is overwritten, to the output."""
        linear = self.linear
        total += linear.bias
        saturate(total, f"{place}.sum", counts)
        factor = linear.multiplier * power_of_two(linear.shift)
        return saturate(round_scaled(total, factor, out=total), place, counts)


def _within(x: Floats, low: Floats, high: Floats) -> bool:
    """Whether every row of `x` lies between `low` and `high`; extremes over all columns are quicker and often do."""
    if not x.size or (x.max() <= high.min() and x.min() >= low.max()):
        return True
    return bool((x.max(0) <= high).all() and (x.min(0) >= low).all())


@dataclass(frozen=True)
class FeatureMap:
    """A `Curve` looked up: its value at every argument, as far beyond its last node as the first lies before it.

    Parameters
    ----------
    curve : Curve
    table : float64 array
        From the first node on.
    top : int
        Largest argument in the table.
    """

    curve: Curve
    table: Floats
    top: int

    @classmethod
    def of(cls, curve: Curve) -> "FeatureMap":
        """Tabulate `curve`."""
        top = 2 * curve.high - int(curve.low)
        table = curve(np.arange(int(curve.low), top + 1))
        return cls(curve, table.astype(np.float64), top if np.abs(table).max() <= LIMIT else int(curve.low))

    def __call__(self, x: Floats, place: str, counts: Counter) -> Floats:
        """Values at `x`, saturated."""
        if x.max(initial=self.top) > self.top:
            return saturate(self.curve(x.astype(np.int64)).astype(np.float64), place, counts)
        return self.table.take((x - self.curve.low).astype(np.intp), mode="clip")


@dataclass(frozen=True)
class LayerNorm:
    """A `Norm` whose sums over the channels are products with ones.

    Parameters
    ----------
    norm : Norm
    ones : float64 array of shape (width,)
    """

    norm: Norm
    ones: Floats

    @classmethod
    def of(cls, norm: Norm) -> "LayerNorm":
        """Prepare `norm`."""
        return cls(norm, np.ones(len(norm.gain)))

    def at(self, *index: Integers | int) -> "LayerNorm":
        """As `Norm.at`; one entry, or one a place."""
        return replace(self, norm=self.norm.at(*index))

    def __call__(self, x: Floats, place: str, counts: Counter) -> Floats:
        """Normalise the channels of `x` (places, width), which is overwritten."""
        norm = self.norm
        x -= round_scaled(x @ self.ones, norm.mean_multiplier * power_of_two(norm.mean_shift))[:, None]
        squares = round_scaled(x * x, power_of_two(norm.square_shift)[..., None]) @ self.ones
        squares += norm.epsilon
        mantissa, shift = norm.root(saturate(squares, f"{place}.squares", counts))
        by = mantissa * power_of_two(shift + norm.square_shift // 2 - UNIT_BITS)
        round_scaled(x, by[:, None], out=x)
        round_scaled(x, norm.gain * power_of_two(norm.gain_shift), out=x)
        x += norm.bias
        return saturate(x, place, counts)


QUICK: dict[type, Any] = {Linear: Dense, Curve: FeatureMap, Norm: LayerNorm}


def vectorised(node: Any) -> Any:
    """A program, or a part of it, with the quick forms in the places of `Linear`, `Curve` and `Norm`."""
    if type(node) in QUICK:
        return QUICK[type(node)].of(node)
    if isinstance(node, tuple):
        return tuple(map(vectorised, node))
    if is_dataclass(node) and not isinstance(node, type):
        return replace(node, **{field.name: vectorised(getattr(node, field.name)) for field in fields(node)})
    return node
