"""`AstrocyticKernel`: the positional kernel r of the astrocyte, as a matrix and as an O(N m) operator."""

from __future__ import annotations

import torch
from torch import Tensor

from rmaat_bridge.fit_result import AttentionFit
from rmaat_bridge.kernel_families import KERNEL_FAMILIES
from rmaat_bridge.kernel_operators import OPERATORS
from rmaat_bridge.trainable import BioModule


class AstrocyticKernel(BioModule):
    """Positional kernel ``r_ij = r(|i - j| * scale)``, r the fitted family: ``e^-d`` for the exponential one.

    ``scale = 1 / (length * tokens_per_step)``: the response length of p_short in grid steps, times the number
    of token positions that one grid step stands for.

    Parameters
    ----------
    fit : AttentionFit
        Section ``attention`` of the bio-parameters. Quantities whose mode is not "fixed" become parameters.
    """

    def __init__(self, fit: AttentionFit) -> None:
        super().__init__("attention", fit)
        self.family = KERNEL_FAMILIES[fit.family]

    @property
    def scale(self) -> Tensor:
        """Decay per token position, a scalar tensor."""
        return self._scale_and_shape()[0]

    def forward(self, length: int) -> Tensor:
        """The kernel as a matrix, shape (length, length): what the product is tested against."""
        scale, shape = self._scale_and_shape()
        position = torch.arange(length, dtype=scale.dtype, device=scale.device)
        distance = (position[:, None] - position).abs()
        return self.family.curve(torch, distance * scale, **shape)

    def __matmul__(self, matrix: Tensor) -> Tensor:
        """The product r @ matrix in O(length * m), never forming r; `matrix` has shape (length, m)."""
        scale, shape = self._scale_and_shape()
        return OPERATORS[self.family.name](matrix, scale, **shape)

    def _scale_and_shape(self) -> tuple[Tensor, dict[str, Tensor]]:
        values = self.values()
        return 1 / (values.pop("length") * values.pop("tokens_per_step")), values
