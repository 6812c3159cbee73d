"""`PresynapticResponse`: the astrocyte's non-linearity g of the write step, power law or saturating."""

from __future__ import annotations

import torch
from torch import Tensor

from rmaat_bridge.fit_result import PresynapticFit
from rmaat_bridge.trainable import BioModule

# Below this activity the slope of a power law with alpha < 1 is cut off: it has no bound at 0.
SMALLEST = 1e-6


class PresynapticResponse(BioModule):
    """Response to a presynaptic activity z >= 0 in units of the recording's mean activity, with g(1) = 1.

    ``g(z) = z^alpha`` or, where the section's family is "saturating",
    ``g(z) = z^h (1 + K^h) / (K^h + z^h)`` with K = half_activation and h = hill.

    Parameters
    ----------
    fit : PresynapticFit
        Section ``presynaptic`` of the bio-parameters. Quantities whose mode is not "fixed" become parameters.
    """

    def __init__(self, fit: PresynapticFit) -> None:
        used = ("alpha",) if fit.family == "power-law" else ("half_activation", "hill")
        super().__init__("presynaptic", fit, used)
        self.family = fit.family

    def forward(self, activity: Tensor) -> Tensor:
        """g of each element; `activity` has any shape and is clamped from below at 1e-6."""
        activity = activity.clamp(min=SMALLEST)
        values = self.values()
        if self.family == "power-law":
            return torch.pow(activity, values["alpha"])
        raised = torch.pow(activity, values["hill"])
        constant = torch.pow(values["half_activation"], values["hill"])
        return raised * (1 + constant) / (constant + raised)
