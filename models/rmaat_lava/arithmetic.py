"""Integer arithmetic of a Loihi-2-style core: 24-bit state, rounding shifts, tables; every target uses these.

All numbers are whole and stand for real values by a fixed exponent: ``value = integer * 2**-exponent``.
Intermediate results are wide; whatever a neuron keeps or sends is saturated to 24 bits, and each value that
had to be cut is counted under the name of the place where it happened.

These are the plain forms, on int64; `rmaat_lava.vectorised` has quick ones for many places at once.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[Any]
"""Whole numbers in int64."""

STATE_BITS = 24
LIMIT = 2 ** (STATE_BITS - 1) - 1
MULTIPLIER_BITS = 15
UNIT_BITS = 17
TABLE_INDEX_BITS = 6
TABLE_ONE = 2**14
OCTAVE_BITS = 4


def saturate(x: Integers, place: str, counts: Counter) -> Integers:
    """Cut to ±(2^23 - 1); the number of values cut is added to ``counts[place]``."""
    if cut := np.count_nonzero(np.abs(x) > LIMIT):
        counts[place] += int(cut)
        return np.clip(x, -LIMIT, LIMIT)
    return x


def round_shift(x: Integers, shift: ArrayLike) -> Integers:
    """``x * 2**-shift``, halves rounded up; a negative shift moves left.

    Parameters
    ----------
    x : array
    shift : int or int64 array that broadcasts against `x`
    """
    by = np.asarray(shift, dtype=np.int64)
    if by.size == 1 and by.ndim <= x.ndim:  # many times a token on Lava: a third of the general form's time
        bits = by.item()
        return (x + (1 << bits >> 1)) >> bits if bits > 0 else x << -bits
    if by.min(initial=0) < 0:
        x, by = x << np.maximum(-by, 0), np.maximum(by, 0)
    return (x + ((1 << by) >> 1)) >> by


def multiply_shift(x: Integers, multiplier: Integers | int, shift: ArrayLike) -> Integers:
    """``x * multiplier * 2**-shift``, halves rounded up."""
    return round_shift(x * multiplier, shift)


def factor_of(x: float) -> tuple[int, int]:
    """15-bit multiplier and shift of a positive number, within 2^-15 of it."""
    shift = MULTIPLIER_BITS - 1 - int(np.floor(np.log2(x)))
    return round(x * 2.0**shift), shift


@dataclass(frozen=True)
class Linear:
    """Dense synapses and their rescaling: `y = round((W x + b) · multiplier / 2**shift)`.

    Parameters
    ----------
    weight : int8 array of shape (in, out)
        Mantissas in [-127, 127], or fewer bits; see `rmaat_lava.scales.WeightFormat`.
    bias : int64 array of shape (out,)
        Added to the 24-bit sum of the synapses.
    multiplier : int64 array of shape (1,) or (out,)
        15-bit factors, one a tensor or one an output channel.
    shift : int64 array of shape ()
    """

    weight: NDArray[np.int8]
    bias: Integers
    multiplier: Integers
    shift: Integers

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """The weight in float64; a product with 24-bit messages is exact up to 2^22 inputs."""
        return self.weight.astype(np.float64)

    def rescale(self, total: Integers, place: str, counts: Counter) -> Integers:
        """From the sum of the synapses to the output, both saturated."""
        total = saturate(total + self.bias, f"{place}.sum", counts)
        return saturate(multiply_shift(total, self.multiplier, self.shift), place, counts)


@dataclass(frozen=True)
class Curve:
    """A scalar function by a table with linear interpolation, constant to its left and of slope 1 to its right.

    Parameters
    ----------
    table : int64 array of shape (n + 1,)
        Values at the n + 1 nodes, at the output's exponent.
    low : int64 array of shape ()
        Input integer of the first node.
    step_bits : int64 array of shape ()
        Nodes lie 2**step_bits input integers apart.
    tail_shift : int64 array of shape ()
        Input exponent minus output exponent: how the slope of 1 continues beyond the last node.
    """

    table: Integers
    low: Integers
    step_bits: Integers
    tail_shift: Integers

    @cached_property
    def high(self) -> int:
        """Input integer of the last node."""
        return int(self.low) + ((len(self.table) - 1) << int(self.step_bits))

    @cached_property
    def every(self) -> Integers:
        """The interpolated value at every input from `low` to `high`."""
        x = np.arange(self.high - int(self.low) + 1)
        index = np.minimum(x >> self.step_bits, len(self.table) - 2)
        fraction = x - (index << self.step_bits)
        left = self.table[index]
        return left + round_shift((self.table[index + 1] - left) * fraction, self.step_bits)

    def __call__(self, x: Integers) -> Integers:
        """Values at `x`, of any shape."""
        inside = np.minimum(np.maximum(x, self.low), self.high) - self.low  # quicker than clip where x is short
        beyond = round_shift(np.maximum(x - self.high, 0), self.tail_shift)
        beyond += self.every[inside.astype(np.intp)]
        return beyond


@dataclass(frozen=True)
class Power:
    """`x**p` of positive integers as `mantissa · 2**-shift`, by leading bit, table and one product.

    With `x = 2**n · f`, `1 <= f < 2`: `x**p = 2**(p n) · f**p`; `f**p` is interpolated between 64 nodes and the
    fractional part of `p n` is a second table over the 24 octaves. The relative error is at most
    `|p (p - 1)| 2**-15 + 2**-12` for -1 <= p <= 1. Values below 1 are taken as 1.

    Parameters
    ----------
    fraction : int64 array of shape (65,)
        `f**p` at the nodes, times 2**14.
    octave : int64 array of shape (24,)
        `2**(p n - ceil(p n))`, times 2**14.
    octave_shift : int64 array of shape (24,)
        `-ceil(p n)`.
    """

    fraction: Integers
    octave: Integers
    octave_shift: Integers

    @classmethod
    def of(cls, exponent: float) -> "Power":
        """Tables for `x**exponent`."""
        nodes = 1 + np.arange(2**TABLE_INDEX_BITS + 1) / 2**TABLE_INDEX_BITS
        octaves = exponent * np.arange(STATE_BITS)
        whole = np.ceil(octaves)
        return cls(
            fraction=_rounded(nodes**exponent * TABLE_ONE),
            octave=_rounded(2 ** (octaves - whole) * TABLE_ONE),
            octave_shift=_rounded(-whole),
        )

    def __call__(self, x: Integers) -> tuple[Integers, Integers]:
        """Mantissa (at most 15 bits) and shift, each of the shape of `x`."""
        n, scaled = _leading_bit(np.maximum(x, 1))
        rest_bits = STATE_BITS - 1 - TABLE_INDEX_BITS
        index, rest = scaled >> rest_bits, scaled & ((1 << rest_bits) - 1)
        left = self.fraction[index]
        value = left + round_shift((self.fraction[index + 1] - left) * rest, rest_bits)
        return round_shift(value * self.octave[n], 14), self.octave_shift[n] + 14


@dataclass(frozen=True)
class Octaves:
    """A smooth function of a positive integer, by a table with 16 nodes an octave and linear interpolation.

    Parameters
    ----------
    table : int64 array of shape (heads, 24 * 16 + 1)
        Values at `2**n (1 + i / 16)`, at the output's exponent; one row a head. Arguments below 1 are taken as 1.
    """

    table: Integers

    @staticmethod
    def nodes() -> np.ndarray:
        """Arguments of the table's columns, (24 * 16 + 1,)."""
        octave, step = np.divmod(np.arange(STATE_BITS * 2**OCTAVE_BITS + 1), 2**OCTAVE_BITS)
        return 2.0**octave * (1 + step / 2**OCTAVE_BITS)

    def __call__(self, x: Integers) -> Integers:
        """Values at `x`, (..., heads, head_dim)."""
        n, scaled = _leading_bit(np.maximum(x, 1))
        rest_bits = STATE_BITS - 1 - OCTAVE_BITS
        index, rest = (n << OCTAVE_BITS) + (scaled >> rest_bits), scaled & ((1 << rest_bits) - 1)
        head = np.arange(len(self.table))[:, None]
        left = self.table[head, index]
        return left + round_shift((self.table[head, index + 1] - left) * rest, rest_bits)


def _leading_bit(x: Integers) -> tuple[Integers, Integers]:
    """n and the 23 bits of f - 1 in `x = 2**n · f`, 1 <= f < 2."""
    x = x.astype(np.int64, copy=False)
    n = np.frexp(x)[1] - 1
    return n, (x << (STATE_BITS - 1 - n)) - 2 ** (STATE_BITS - 1)


@dataclass(frozen=True)
class Norm:
    """Layer norm in integers: `y = gain · (x - mean) / sqrt(variance + ε) + bias`.

    The squares are summed at reduced precision so that the sum fits the state, the inverse square root is a `Power`,
    and `n = (x - mean) / sqrt(Σ (x - mean)²)` has 17 fractional bits.

    Parameters
    ----------
    mean_multiplier, mean_shift : int64 array of shape ()
        `1 / width` as a 15-bit factor and a shift.
    square_shift : int64 array of shape ()
        Taken from every square; even.
    epsilon : int64 array of shape ()
        ε times the width, at the exponent of the sum of squares.
    root : Power
        `x**-0.5`.
    gain : int64 array of shape (width,)
        15-bit factors from n to the output.
    gain_shift : int64 array of shape ()
    bias : int64 array of shape (width,)
        At the output's exponent.
    """

    mean_multiplier: Integers
    mean_shift: Integers
    square_shift: Integers
    epsilon: Integers
    root: "Power"
    gain: Integers
    gain_shift: Integers
    bias: Integers

    def at(self, *index: Integers | int) -> "Norm":
        """One entry where ε is a table, see `rmaat_lava.program.Retention`."""
        return replace(self, epsilon=self.epsilon[index], square_shift=self.square_shift[index])

    def __call__(self, x: Integers, place: str, counts: Counter) -> Integers:
        """Normalise the last axis of `x`, (..., width)."""
        mean = multiply_shift(x.sum(-1, keepdims=True), self.mean_multiplier, self.mean_shift)
        centred = x - mean
        squares = round_shift(centred * centred, self.square_shift).sum(-1, keepdims=True)
        mantissa, shift = self.root(saturate(squares + self.epsilon, f"{place}.squares", counts))
        unit = multiply_shift(centred, mantissa, shift + self.square_shift // 2 - UNIT_BITS)
        return saturate(multiply_shift(unit, self.gain, self.gain_shift) + self.bias, place, counts)


def _rounded(x: np.ndarray) -> Integers:
    return np.rint(x).astype(np.int64)
