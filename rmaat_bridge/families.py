"""Families of saturation over the cycles: one definition for the fit (NumPy) and for the network (torch).

A family says what fraction G(k) of the capacity is still open after k cycles, so that

    p_long(k) = p_inf (1 - G(k)),     RF(t, T) = (G(t-1) - G(t)) / (1 - G(T)).

The rate per cycle is the same in all of them, ``a = leak_p_long * cycle_s / tau_p_long``. Every G is
convex and falls from G(0) = 1 to 0, so the retention factors are positive, fall with t and sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from rmaat_bridge.quantity import POSITIVE

FRACTION = (0.0, 1.0)


@dataclass(frozen=True)
class Family:
    """A curve with named shape parameters.

    Parameters
    ----------
    name : str
    curve : callable
        ``(xp, k, a, **shape) -> G(k)`` for k >= 1, with `xp` either ``numpy`` or ``torch``.
    domain : dict
        Where each shape parameter is defined (open interval).
    starts : list of dict
        Shape parameters from which the fit sets out.
    """

    name: str
    curve: Callable[..., Any]
    domain: dict[str, tuple[float, float]] = field(default_factory=dict)
    starts: tuple[dict[str, float], ...] = ({},)


def exponential(xp: ModuleType, k: Any, a: Any) -> Any:
    """G = e^(-a k)."""
    return xp.exp(-a * k)


def transient_exponential(xp: ModuleType, k: Any, a: Any, second_ratio: Any) -> Any:
    """Exponential whose first cycle differs: increments 1, q, q e^(-a), q e^(-2a), ... with q = second_ratio.

    Once the cycle repeats, p_long obeys ``p(k) = e^(-a) p(k-1) + D``; only the first cycle, in which the
    short-term state still builds up from rest, has another drive. ``q = e^(-a)`` is the plain exponential.
    """
    return second_ratio * xp.exp(-a * (k - 1)) / (1 - xp.exp(-a) + second_ratio)


def double_exponential(xp: ModuleType, k: Any, a: Any, slow_share: Any, fast_ratio: Any) -> Any:
    """G = w e^(-a k) + (1 - w) e^(-r a k), w = slow_share, r = fast_ratio."""
    return slow_share * xp.exp(-a * k) + (1 - slow_share) * xp.exp(-(1 + fast_ratio) * a * k)


def stretched_exponential(xp: ModuleType, k: Any, a: Any, stretch: Any) -> Any:
    """G = e^(-(a k)^b), b = stretch in (0, 1): a broad spread of time constants."""
    return xp.exp(-((a * k) ** stretch))


def logistic(xp: ModuleType, k: Any, a: Any) -> Any:
    """G = 2 / (1 + e^(a k)): upper half of a logistic curve (a later midpoint would make factors rise)."""
    decay = xp.exp(-a * k)
    return 2 * decay / (1 + decay)


def power_law(xp: ModuleType, k: Any, a: Any, exponent: Any) -> Any:
    """G = (1 + a k)^(-b), b = exponent: saturation with a heavy tail."""
    return (1 + a * k) ** -exponent


RETENTION_FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("exponential", exponential),
        Family("logistic", logistic),
        Family(
            "transient-exponential",
            transient_exponential,
            {"second_ratio": FRACTION},
            ({"second_ratio": 0.5}, {"second_ratio": 0.9}),
        ),
        Family(
            "stretched-exponential",
            stretched_exponential,
            {"stretch": FRACTION},
            ({"stretch": 0.9}, {"stretch": 0.5}),
        ),
        Family("power-law", power_law, {"exponent": POSITIVE}, ({"exponent": 1.0}, {"exponent": 4.0})),
        Family(
            "double-exponential",
            double_exponential,
            {"slow_share": FRACTION, "fast_ratio": POSITIVE},
            ({"slow_share": 0.5, "fast_ratio": 5.0}, {"slow_share": 0.8, "fast_ratio": 20.0}),
        ),
    )
}


def open_fractions(family: Family, xp: ModuleType, k: Any, a: Any, **shape: Any) -> Any:
    """G(0), G(1), ... G(n) for ``k = [1 ... n]``: the family's curve with its exact start in front."""
    return xp.concatenate([xp.ones_like(k[:1] * a), family.curve(xp, k, a, **shape)])
