"""`RetentionSchedule`: retention factors for any number of segments, differentiable in the biology."""

from __future__ import annotations

import torch
from torch import Tensor

from astro_sim.errors import InputError
from rmaat_bridge.families import RETENTION_FAMILIES, Family, open_fractions
from rmaat_bridge.fit_result import RetentionFit
from rmaat_bridge.trainable import BioModule


def retention_factors(
    family: Family, n_segments: int, tau_p_long: Tensor, leak_p_long: Tensor, cycle_s: Tensor, **shape: Tensor
) -> Tensor:
    """Retention factors RF(1, T) ... RF(T, T) of a sequence of T = n_segments segments.

    ``RF(t, T) = (G(t-1) - G(t)) / (1 - G(T))``, with G the open fraction of the family at
    ``a = leak_p_long * cycle_s / tau_p_long`` per cycle (Mia et al. 2026). For the exponential family this is
    ``(1 - e^-a) e^(-a (t-1)) / (1 - e^(-a T))``.

    Returns
    -------
    Tensor, shape (n_segments,)
        Positive, falling, of sum 1.
    """
    g = _open(family, n_segments, tau_p_long, leak_p_long, cycle_s, shape)
    return ((g[:-1] - g[1:]) / (1 - g[-1])).to(tau_p_long.dtype)


class RetentionSchedule(BioModule):
    """Retention factors of RMAAT from the fitted build-up of the long-term process.

    Parameters
    ----------
    fit : RetentionFit
        Section ``retention`` of the bio-parameters. Quantities whose mode is not "fixed" become parameters.
    """

    def __init__(self, fit: RetentionFit) -> None:
        super().__init__("retention", fit)
        self.family = RETENTION_FAMILIES[fit.family]

    def forward(self, n_segments: int) -> Tensor:
        """Factors of a sequence of `n_segments` >= 1 segments, shape (n_segments,); they fall and sum to 1.

        `n_segments` may exceed the simulated cycles: the fitted curve is evaluated, never indexed.
        """
        _at_least_one("n_segments", n_segments)
        return retention_factors(self.family, n_segments, **self.values())

    def streaming(self, t: int) -> Tensor:
        """Factor of segment `t` >= 1 when the number of segments is unknown, a scalar tensor in (0, 1].

        The share of the trace present after cycle t that cycle t itself wrote. With the leak, ``p(t) = e^-a
        p(t-1) + D_t``, so that the share is ``D_t / p(t) = 1 - e^-a p(t-1) / p(t)``: 1 at t = 1, falling to
        ``1 - e^-a``. In the exponential family it is ``(1 - e^-a) / (1 - e^(-a t))``. The known-length
        factor RF(T, T) is the same share net of the leak; docs/decisions/bridge.md has the derivation.
        """
        _at_least_one("t", t)
        values = self.values()
        a = values["leak_p_long"] * values["cycle_s"] / values["tau_p_long"]
        p = 1 - self._open_fractions(t)
        return (1 - torch.exp(-a) * p[-2] / p[-1]).to(a.dtype)

    def table(self, max_segments: int) -> Tensor:
        """Factors of every length up to `max_segments`, shape (max_segments, max_segments).

        Row T - 1 holds RF(1, T) ... RF(T, T), then zeros.
        """
        _at_least_one("max_segments", max_segments)
        g = self._open_fractions(max_segments)
        return torch.tril((g[:-1] - g[1:]) / (1 - g[1:, None])).to(self.values()["tau_p_long"].dtype)

    def _open_fractions(self, n: int) -> Tensor:
        values = self.values()
        times = {name: values.pop(name) for name in ("tau_p_long", "leak_p_long", "cycle_s")}
        return _open(self.family, n, **times, shape=values)


def _open(
    family: Family, n: int, tau_p_long: Tensor, leak_p_long: Tensor, cycle_s: Tensor, shape: dict[str, Tensor]
) -> Tensor:
    """G(0) ... G(n) in double precision: their differences decide whether the factors fall.

    Apple's MPS has no doubles; there they keep the module's precision.
    """
    wide = tau_p_long.dtype if tau_p_long.device.type == "mps" else torch.float64
    k = torch.arange(1, n + 1, dtype=wide, device=tau_p_long.device)
    a = leak_p_long.to(wide) * cycle_s.to(wide) / tau_p_long.to(wide)
    return open_fractions(family, torch, k, a, **{name: value.to(wide) for name, value in shape.items()})


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise InputError(name, value, "a whole number of at least 1")
