"""Retention factors without biology, for the fitted ones to be compared with."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor


class ControlSchedule:
    """RF(t, T) = u_t / (u_1 + ... + u_T), with u_t = 1 (uniform) or drawn from Exp(1) (random).

    Normalised exponential numbers are uniform on the simplex: the random factors of T segments are any
    positive numbers of sum 1 with equal density, falling or not. The share of segment t in the trace present
    after it is RF(t, t), so that a stream of unknown length ends with the factors of the known one.

    Parameters
    ----------
    kind : {"uniform", "random"}
    seed : int
        Of the random factors; they depend on nothing else.
    """

    def __init__(self, kind: Literal["uniform", "random"], seed: int = 0) -> None:
        self.kind, self.seed = kind, seed

    def streaming(self, t: int) -> Tensor:
        """Share of segment `t` >= 1 in the trace present after it, a float64 scalar in (0, 1]."""
        u = self._weights(t)
        return u[-1] / u.sum()

    def table(self, max_segments: int) -> Tensor:
        """Factors of every length up to `max_segments`, (max_segments, max_segments), float64.

        Row T - 1 holds RF(1, T) ... RF(T, T), then zeros.
        """
        u = self._weights(max_segments)
        return torch.tril(u / u.cumsum(0)[:, None])

    def _weights(self, n: int) -> Tensor:
        """u_1 ... u_n; the first ones do not depend on n."""
        drawn = np.random.default_rng(self.seed).exponential(size=n) if self.kind == "random" else np.ones(n)
        return torch.from_numpy(drawn)
