"""`FitResult`: a chosen family, its parameters with their errors, and the evidence for it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rmaat_bridge.families import RETENTION_FAMILIES
from rmaat_bridge.kernel_families import KERNEL_FAMILIES
from rmaat_bridge.quantity import POSITIVE, UNTOLD, Quantity
from rmaat_bridge.regression import Regression

Domain = tuple[float, float]


class Section(BaseModel):
    """A table of the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Candidate(Section):
    """One row of the model comparison.

    `aicc` and `delta` are absent where the data are too few for the family.
    """

    family: str
    n_parameters: int
    r_squared: float
    aicc: float | None = None
    delta: float | None = None


def candidates(fits: dict[str, Regression]) -> list[Candidate]:
    """The comparison of the families in `fits`, best AICc first; those that the data cannot judge last."""
    best = min(fit.aicc for fit in fits.values())
    return [
        Candidate(
            family=name,
            n_parameters=len(fit.values),
            r_squared=fit.r_squared,
            **({"aicc": fit.aicc, "delta": fit.aicc - best} if math.isfinite(fit.aicc) else {}),
        )
        for name, fit in sorted(fits.items(), key=lambda item: item[1].aicc)
    ]


def untold(parameters: dict[str, Quantity]) -> list[str]:
    """A note that names the parameters on which the data are silent, if there are any."""
    names = [name for name, quantity in parameters.items() if quantity.standard_error == UNTOLD]
    return [f"These data do not tell {', '.join(names)}."] if names else []


class FitResult(Section):
    """A chosen family, its parameters and the evidence.

    Parameters
    ----------
    family : str
        Name of the chosen form.
    parameters : dict of Quantity
        Everything the network reads; nothing else in the section changes a model.
    r_squared : float
        Of the fitted curve on the recording.
    residuals : list of float
        Data minus curve, in the units of the data.
    residual_p_value : float
        Of the permutation test for structure among neighbouring residuals.
    candidates : list of Candidate
        The whole comparison by AICc.
    findings : dict of Quantity
        What else the recording says, for the reader.
    notes : list of str
        What the data can and cannot tell.
    """

    family: str
    parameters: dict[str, Quantity]
    r_squared: float
    residuals: list[float] = []
    residual_p_value: Annotated[float, Field(ge=0, le=1)] | None = None
    candidates: list[Candidate] = []
    findings: dict[str, Quantity] = {}
    notes: list[str] = []

    @classmethod
    def domains(cls, family: str) -> dict[str, Domain]:
        """Where each parameter of `family` is defined; the key set is the set of parameters it has."""
        raise NotImplementedError

    def domain(self, name: str) -> Domain:
        """Open interval in which the parameter `name` makes sense."""
        return self.domains(self.family)[name]

    @model_validator(mode="after")
    def _parameters_in_their_domains(self) -> FitResult:
        domains = self.domains(self.family)
        if set(self.parameters) != set(domains):
            raise ValueError(f"parameters of the family '{self.family}': {', '.join(domains)}")
        for name, (low, high) in domains.items():
            value = self.parameters[name].value
            if not (low < value < high or (value == high and high != POSITIVE[1])):
                allowed = "a positive number" if (low, high) == POSITIVE else f"a number in ({low:g}, {high:g}]"
                raise ValueError(f"{name}.value = {value:g} is not {allowed} [{self.parameters[name].unit}]")
        return self


def _known(registry: dict[str, Any]) -> Any:
    def check(name: str) -> str:
        if name not in registry:
            raise ValueError(f"one of {', '.join(registry)}")
        return name

    return check


class RetentionFit(FitResult):
    """Build-up of p_long over the cycles: tau_p_long [s], leak_p_long, cycle_s [s], shape parameters."""

    @classmethod
    def domains(cls, family: str) -> dict[str, Domain]:
        times = {"tau_p_long": POSITIVE, "leak_p_long": POSITIVE, "cycle_s": POSITIVE}
        return times | RETENTION_FAMILIES[family].domain

    _family = field_validator("family")(_known(RETENTION_FAMILIES))


class AttentionFit(FitResult):
    """Decay of p_short with distance: length [grid steps], tokens_per_step, shape parameters."""

    @classmethod
    def domains(cls, family: str) -> dict[str, Domain]:
        return {"length": POSITIVE, "tokens_per_step": POSITIVE} | KERNEL_FAMILIES[family].domain

    _family = field_validator("family")(_known(KERNEL_FAMILIES))


class PresynapticFit(FitResult):
    """Response to presynaptic activity: alpha; half_activation and hill of the saturating form.

    `family` says which of the two the network uses; both are kept.
    """

    family: Literal["power-law", "saturating"]

    @classmethod
    def domains(cls, family: str) -> dict[str, Domain]:
        return {"alpha": POSITIVE, "half_activation": POSITIVE, "hill": POSITIVE}

    @property
    def alpha(self) -> Quantity:
        """Exponent of the power law."""
        return self.parameters["alpha"]
