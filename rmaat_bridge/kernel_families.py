"""Families of decay with distance: one definition for the fit (NumPy) and for the network (torch).

A family gives r(d) with r(0) = 1 for a distance d in units of its length.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from rmaat_bridge.families import FRACTION, Family
from rmaat_bridge.quantity import POSITIVE


def exponential(xp: ModuleType, d: Any) -> Any:
    """r = e^(-d)."""
    return xp.exp(-d)


def gaussian(xp: ModuleType, d: Any) -> Any:
    """r = e^(-d^2 / 2)."""
    return xp.exp(-d * d / 2)


def power_law(xp: ModuleType, d: Any, exponent: Any) -> Any:
    """r = (1 + d)^(-b), b = exponent."""
    return (1 + d) ** -exponent


def difference_of_exponentials(xp: ModuleType, d: Any, surround: Any, surround_ratio: Any) -> Any:
    """r = (e^(-d) - w e^(-d / (1 + q))) / (1 - w): a centre and a surround 1 + q times as wide.

    w = surround, q = surround_ratio.
    """
    return (xp.exp(-d) - surround * xp.exp(-d / (1 + surround_ratio))) / (1 - surround)


KERNEL_FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("exponential", exponential),
        Family("gaussian", gaussian),
        Family("power-law", power_law, {"exponent": POSITIVE}, ({"exponent": 1.0}, {"exponent": 4.0})),
        Family(
            "difference-of-exponentials",
            difference_of_exponentials,
            {"surround": FRACTION, "surround_ratio": POSITIVE},
            ({"surround": 0.1, "surround_ratio": 2.0},),
        ),
    )
}
