"""`PresynapticResponse`: the astrocyte's non-linearity g of the write step, power law or saturating."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rmaat_bridge.bio_parameters import PresynapticFit
from rmaat_bridge.trainable import bio_values

# Below this activity the slope of a power law with alpha < 1 is cut off: it has no bound at 0.
SMALLEST = 1e-6


class PresynapticResponse(nn.Module):
    """Response to a presynaptic activity z >= 0 in units of the recording's mean activity, with g(1) = 1.

    ``g(z) = z^alpha`` or, where the section's family is "saturating",
    ``g(z) = z^h (1 + K^h) / (K^h + z^h)`` with K = half_activation and h = hill.

    Parameters
    ----------
    fit : PresynapticFit
        Section ``presynaptic`` of the bio-parameters. Quantities whose mode is not "fixed" become parameters.
    """

    def __init__(self, fit: PresynapticFit) -> None:
        super().__init__()
        self.family = fit.family
        used = ("alpha",) if fit.family == "power-law" else ("half_activation", "hill")
        self.biology = nn.ModuleDict({name: value for name, value in bio_values(fit).items() if name in used})

    def forward(self, activity: Tensor) -> Tensor:
        """g of each element; `activity` has any shape and is clamped from below at 1e-6."""
        activity = activity.clamp(min=SMALLEST)
        if self.family == "power-law":
            return torch.pow(activity, self.biology["alpha"]())
        half, hill = self.biology["half_activation"](), self.biology["hill"]()
        raised = torch.pow(activity, hill)
        constant = torch.pow(half, hill)
        return raised * (1 + constant) / (constant + raised)
