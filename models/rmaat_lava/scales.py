"""How real numbers become integers: weights of few bits, exponents that fit a range, 15-bit factors, φ's table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from astro_sim.errors import InputError
from rmaat_lava.arithmetic import LIMIT, MULTIPLIER_BITS, Curve, Integers

STATE = 22
"""Bits that the calibrated range of a 24-bit state may fill: one is left free."""
MESSAGE = 15
"""Bits that the calibrated range of a graded spike between cores may fill."""
FINEST = 18
"""Largest exponent: a range that happens to be tiny is not blown up without end."""
PHI_NODES_PER_UNIT = 5
"""log2 of the nodes of φ's table in one unit of its argument; it starts at -8."""
PHI_LOW = -8


@dataclass(frozen=True)
class WeightFormat:
    """Form of the synaptic weights.

    Parameters
    ----------
    bits : int
        Sign included, 2 to 8. The chip keeps 8 bits whose last is taken by the sign: `mantissa · 2**(9 - bits)`, and
        all synapses of a process share the exponent `bits - 9`.
    per_channel : bool
        One scale an output channel, or one a tensor; a 15-bit factor in the neuron either way.
    """

    bits: int = 8
    per_channel: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise InputError("weight_bits", self.bits, "from 2 to 8")

    @property
    def exponent(self) -> int:
        """The synapses' shared exponent, `weight_exp` of Lava's Dense."""
        return self.bits - 9

    def step(self, weight: torch.Tensor) -> torch.Tensor:
        """Real value of one step of the mantissa of weights (out, in): (out, 1) or (1, 1)."""
        largest = weight.abs().amax(1, keepdim=True) if self.per_channel else weight.abs().amax().reshape(1, 1)
        return largest.clamp_min(2.0**-20) / (2 ** (self.bits - 1) - 1)


def fit(largest: float, bits: float, at_most: int = FINEST) -> int:
    """Largest exponent e with ``largest * 2**e <= 2**bits``."""
    return min(int(np.floor(bits - np.log2(max(largest, 2.0**-at_most)))), at_most)


def split_bits(together: int, a: float, b: float) -> tuple[int, int]:
    """Exponents of two factors of ranges a and b whose sum is at most `together`, with equally many bits each."""
    first = int(np.floor((together - np.log2(a / b)) / 2))
    return min(first, 12), min(together - first, 12)


def multipliers(factor: np.ndarray, each: bool = False) -> tuple[Integers, Integers]:
    """15-bit multipliers and the shift (shared, or one each) with ``multiplier / 2**shift`` close to `factor`."""
    largest = np.abs(factor) if each else np.abs(factor).max()
    shift = MULTIPLIER_BITS - 1 - np.floor(np.log2(np.maximum(largest, 2.0**-40)))
    return whole(factor * 2.0**shift), whole(shift)


def whole(x: object) -> Integers:
    return np.asarray(np.clip(np.rint(np.asarray(x, np.float64)), -LIMIT, LIMIT), np.int64)


def as_numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().cpu().numpy()


def phi_table(e_in: int, e_out: int) -> Curve:
    """φ = elu + 1: exp(x) for x < 0 by table from -8 on, 1 + x beyond."""
    step_bits = max(e_in - PHI_NODES_PER_UNIT, 0)
    low = PHI_LOW * 2**e_in
    nodes = (low + np.arange(-low // 2**step_bits + 1) * 2**step_bits) / 2.0**e_in
    return Curve(
        table=whole(np.exp(nodes) * 2.0**e_out),
        low=np.array(low),
        step_bits=np.array(step_bits),
        tail_shift=np.array(e_in - e_out),
    )
