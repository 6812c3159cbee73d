"""`AstrocyticKernel`: the positional kernel r of the astrocyte, as a matrix and as an O(N m) operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rmaat_bridge.bio_parameters import AttentionFit
from rmaat_bridge.kernel_families import KERNEL_FAMILIES
from rmaat_bridge.kernel_operators import OPERATORS
from rmaat_bridge.trainable import bio_values


class AstrocyticKernel(nn.Module):
    """Positional kernel ``r_ij = r(|i - j| * scale)`` with r the fitted family, ``e^-d`` for the exponential one.

    ``scale = 1 / (length * tokens_per_step)``: the response length of p_short in grid steps, times the number
    of token positions that one grid step stands for.

    Parameters
    ----------
    fit : AttentionFit
        Section ``attention`` of the bio-parameters. Quantities whose mode is not "fixed" become parameters.
    """

    def __init__(self, fit: AttentionFit) -> None:
        super().__init__()
        self.family = KERNEL_FAMILIES[fit.family]
        self.biology = bio_values(fit)

    @property
    def scale(self) -> Tensor:
        """Decay per token position, a scalar tensor."""
        return 1 / (self.biology["length"]() * self.biology["tokens_per_step"]())

    def forward(self, length: int) -> Tensor:
        """The kernel as a matrix, shape (length, length): the definition that `apply` is tested against."""
        scale = self.scale
        position = torch.arange(length, dtype=scale.dtype, device=scale.device)
        distance = (position[:, None] - position).abs()
        return self.family.curve(torch, distance * scale, **self._shape())

    def __matmul__(self, matrix: Tensor) -> Tensor:
        """The product r @ matrix in O(length * m), never forming r; `matrix` has shape (length, m)."""
        return OPERATORS[self.family.name](matrix, self.scale, **self._shape())

    def apply(self, matrix: Any) -> Any:
        """``kernel @ matrix``; a callable is taken for what `torch.nn.Module.apply` expects."""
        return super().apply(matrix) if callable(matrix) and not isinstance(matrix, Tensor) else self @ matrix

    def _shape(self) -> dict[str, Tensor]:
        return {name: value() for name, value in self.biology.items() if name in self.family.domain}
