"""Numbers of the biology as tensors: fixed, movable inside their confidence interval, or free."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from astro_sim.errors import InputError
from rmaat_bridge.bio_parameters import BioParameters
from rmaat_bridge.fit_result import FitResult
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
        if quantity.mode != "fixed" and self.value in self.interval:
            raise InputError("quantity", self.value, f"a value inside {self.interval} where mode is {self.mode!r}")
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


class BioModule(nn.Module):
    """A module whose numbers are the parameters of one section of the bio-parameters.

    Parameters
    ----------
    section : str
        Name of the section.
    fit : FitResult
        The section. Quantities whose mode is not "fixed" become parameters.
    used : iterable of str, optional
        The parameters that the module computes with. Default: all.

    Attributes
    ----------
    biology : ModuleDict
        A `BioValue` for each of them.
    """

    def __init__(self, section: str, fit: FitResult, used: Iterable[str] | None = None) -> None:
        super().__init__()
        self.section = section
        names = fit.parameters if used is None else used
        self.biology = nn.ModuleDict({name: BioValue(fit.parameters[name], fit.domain(name)) for name in names})

    def values(self) -> dict[str, Tensor]:
        """The present values, scalar tensors by name."""
        return {name: value() for name, value in self.biology.items()}


def with_posterior(bio: BioParameters, model: nn.Module) -> BioParameters:
    """The bio-parameters with the values that training arrived at beside those of the fit.

    Parameters
    ----------
    bio : BioParameters
        What the model was built from.
    model : Module
        Holds any number of `BioModule`, such as `RetentionSchedule`, `AstrocyticKernel`. Where several hold
        the same quantity (one kernel a layer), their mean is written.

    Returns
    -------
    BioParameters
        Every quantity that training could move has ``prior`` (the fit's value) and ``value`` (the posterior).
    """
    learned: dict[tuple[str, str], list[float]] = {}
    for module in model.modules():
        if isinstance(module, BioModule):
            for name, value in module.values().items():
                learned.setdefault((module.section, name), []).append(float(value.detach()))
    after = bio.model_copy(deep=True)
    for (section, name), values in learned.items():
        quantity: Quantity = getattr(after, section).parameters[name]
        if quantity.mode == "fixed":
            continue
        quantity.prior = quantity.value if quantity.prior is None else quantity.prior
        quantity.value = sum(values) / len(values)
        if quantity.mode == "bounded":  # a sigmoid can round to its limit
            inside = math.nextafter(quantity.lower, math.inf), math.nextafter(quantity.upper, -math.inf)
            quantity.value = min(max(quantity.value, inside[0]), inside[1])
    return BioParameters.model_validate(after.model_dump())
