"""Exponents of the twin's places, chosen from their ranges, and the parts of a program that they decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_sim.errors import InputError
from rmaat_lava.arithmetic import UNIT_BITS, Linear, Norm, Power
from rmaat_lava.scales import FINEST, MESSAGE, STATE, WeightFormat, as_numpy, fit, multipliers, whole

if TYPE_CHECKING:
    import torch

    from rmaat_lava.twin import Ranges


FEWEST_BITS = 6
"""Bits that the residual stream has to fill, and the messages that q, k and v share, and the traces of a pair."""
MOST_SHIFTED = 60
"""Bits taken at most from a square in a norm: nothing is left of it, and of the norm half a step of the unit vector."""


class Places:
    """What every part of a program is built with.

    Parameters
    ----------
    ranges : Ranges
        Of every place, on the calibration data.
    weights : WeightFormat

    Attributes
    ----------
    exponents : dict of str to int
        Chosen so far, by place.
    """

    def __init__(self, ranges: Ranges, weights: WeightFormat) -> None:
        self.ranges, self.weights = ranges, weights
        self.exponents: dict[str, int] = {}

    def linear(self, name: str, weight: torch.Tensor, bias: torch.Tensor | None, message: int, out: int) -> Linear:
        """Weights (out, in); messages come at exponent `message`, outputs leave at `out`."""
        scale = as_numpy(self.weights.step(weight))
        multiplier, shift = multipliers(scale[:, 0] * 2.0 ** (out - message))
        offset = np.zeros(len(weight)) if bias is None else as_numpy(bias)
        self.exponents[name] = out
        return Linear(
            weight=np.rint(as_numpy(weight) / scale).astype(np.int8).T.copy(),
            bias=whole(offset / scale[:, 0] * 2.0**message),
            multiplier=multiplier,
            shift=shift,
        )

    def message(self, place: str, consumers: Mapping[str, torch.Tensor], source: int = FINEST) -> int:
        """Finest exponent, its source's at most, at which messages fit their bits and consumers' sums the state."""
        choice = fit(self.ranges[place], MESSAGE, source)
        for name, weight in consumers.items():
            scale = as_numpy(self.weights.step(weight))[:, 0]
            choice = min(choice, fit(float((self.ranges.largest[name] / scale).max()), STATE))
        self.exponents[place] = choice
        return choice

    def check_resolution(self, place: str, exponent: int) -> None:
        """Refuse a place that is left with few bits at this exponent."""
        if (bits := np.log2(self.ranges[place]) + exponent) < FEWEST_BITS:
            wanted = f"at least {FEWEST_BITS} bits; values beside them are too large"
            raise InputError(f"resolution of {place}", f"{bits:.1f} bits", wanted)

    def norm(self, norm: Any, name: str, e_in: int, e_out: int, factor: np.ndarray | float = 1.0) -> Norm:
        """Layer norm of `factor` times what comes at exponent `e_in`, to `e_out`; ε and its shift have factor's shape.

        The squares and ε, which a tiny factor makes huge, share a sum of `STATE` bits.
        """
        width = norm.weight.shape[0]
        with np.errstate(divide="ignore"):
            epsilon = norm.eps * width / np.square(factor, dtype=np.float64)
        bits = np.log2(self.ranges[f"{name}.squares"] + epsilon) + 2 * e_in
        square_shift = 2 * np.ceil(np.clip(bits - STATE, 0, MOST_SHIFTED) / 2)
        mean_multiplier, mean_shift = multipliers(np.array(1.0 / width))
        gain, gain_shift = multipliers(as_numpy(norm.weight) * np.sqrt(width) * 2.0 ** (e_out - UNIT_BITS))
        return Norm(
            mean_multiplier=mean_multiplier,
            mean_shift=mean_shift,
            square_shift=whole(square_shift),
            epsilon=whole(np.minimum(epsilon * 2.0 ** (2 * e_in - square_shift), 2.0**STATE)),
            root=Power.of(-0.5),
            gain=gain,
            gain_shift=gain_shift,
            bias=whole(as_numpy(norm.bias) * 2.0**e_out),
        )
