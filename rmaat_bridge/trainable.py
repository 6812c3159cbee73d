"""Numbers of the biology as tensors: fixed, movable inside their confidence interval, or free."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rmaat_bridge.bio_parameters import BioParameters, FitResult
from rmaat_bridge.quantity import POSITIVE, Quantity


class BioValue(nn.Module):
    """One quantity as a scalar tensor that equals the fitted value until training moves it.

    A coordinate z that starts at 0 is what training sees:

    - fixed: no parameter; the value itself.
    - bounded: ``lower + (upper - lower) * sigmoid(z0 + z)``, always inside the confidence interval.
    - free: ``value * e^z`` for positive quantities, the same with a sigmoid over the domain for the others.

    Parameters
    ----------
    quantity : Quantity
    domain : tuple of float
        Where the quantity is defined.
    """

    def __init__(self, quantity: Quantity, domain: tuple[float, float]) -> None:
        super().__init__()
        self.value = quantity.value
        self.mode = quantity.mode
        self.interval = (quantity.lower, quantity.upper) if quantity.mode == "bounded" else domain
        if quantity.mode == "fixed":
            self.register_buffer("z", torch.zeros(()), persistent=False)
        else:
            self.z = nn.Parameter(torch.zeros(()))

    def forward(self) -> Tensor:
        """The value, a scalar tensor of the dtype and device of the module."""
        if self.mode == "fixed":
            return self.z + self.value
        if self.interval == POSITIVE:
            return self.value * torch.exp(self.z)
        low, high = self.interval
        share = (self.value - low) / (high - low)
        return low + (high - low) * torch.sigmoid(self.z + math.log(share / (1 - share)))


def bio_values(fit: FitResult) -> nn.ModuleDict:
    """One `BioValue` for each parameter of a fitted section."""
    return nn.ModuleDict({name: BioValue(q, fit.domain(name)) for name, q in fit.parameters.items()})


def with_posterior(bio: BioParameters, **sections: nn.ModuleDict) -> BioParameters:
    """The bio-parameters with the values that training arrived at beside those of the fit.

    Parameters
    ----------
    bio : BioParameters
        What the model was built from.
    **sections : ModuleDict
        ``retention=schedule.values_, ...``: the `BioValue`s of each section after training.

    Returns
    -------
    BioParameters
        Every quantity that training could move has ``prior`` (the fit's value) and ``value`` (the posterior).
    """
    after = bio.model_copy(deep=True)
    for section, values in sections.items():
        for name, value in values.items():
            quantity = getattr(after, section).parameters[name]
            if quantity.mode != "fixed":
                quantity.prior = quantity.value if quantity.prior is None else quantity.prior
                quantity.value = float(value().detach())
    return BioParameters.model_validate(after.model_dump())
