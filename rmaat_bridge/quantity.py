"""A fitted number with its uncertainty, and the range in which its name makes sense."""

from __future__ import annotations

import math
import sys
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import stats

Mode = Literal["fixed", "bounded", "free"]
CONFIDENCE = 0.95
UNTOLD = sys.float_info.max  # an infinite error as a number


class Quantity(BaseModel):
    """One number of the biology: estimate, uncertainty, and whether training may move it.

    Parameters
    ----------
    value : float
        The estimate, in `unit`.
    standard_error : float
        Standard error of the estimate (>= 0); 0 where the number was set by the protocol and not estimated,
        `UNTOLD` where the data do not tell it.
    lower, upper : float
        Limits of the 95 % confidence interval, ``lower <= value <= upper``.
    unit : str
        Unit of all of the above: ``"s"``, ``"1"``, ``"Hz"``, ``"grid step"``.
    mode : {"fixed", "bounded", "free"}
        What training may do: nothing; move inside (lower, upper); move anywhere the quantity is defined.
    prior : float, optional
        The estimate before training; present only in a file written back after training.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, validate_assignment=False)

    value: float
    standard_error: float = Field(ge=0)
    lower: float
    upper: float
    unit: str
    mode: Mode = "fixed"
    prior: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Quantity:
        if not self.lower <= (self.value if self.prior is None else self.prior) <= self.upper:
            raise ValueError("lower <= value <= upper")
        if self.mode == "bounded" and not self.lower < self.value < self.upper:
            raise ValueError("lower < value < upper where mode is 'bounded'")
        return self

    @classmethod
    def exact(cls, value: float, unit: str) -> Quantity:
        """A number that the protocol set: no uncertainty."""
        return cls(value=value, standard_error=0.0, lower=value, upper=value, unit=unit)

    @classmethod
    def estimated(
        cls, value: float, standard_error: float, dof: int, unit: str, domain: tuple[float, float]
    ) -> Quantity:
        """An estimate with its 95 % interval from Student's t at `dof` degrees of freedom, inside `domain`.

        Intervals of positive quantities are symmetric in the logarithm (standard error of ln v = se / v), so
        that they never reach zero; the others are symmetric in the value and cut at the domain's ends. An infinite
        error is kept as `UNTOLD`.
        """
        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, max(dof, 1)))
        if domain == POSITIVE:
            ratio = math.exp(min(quantile * standard_error / value, 700.0))
            lower, upper = value / ratio, min(value * ratio, UNTOLD)
        else:
            lower, upper = np.clip([value - quantile * standard_error, value + quantile * standard_error], *domain)
        error = min(standard_error, UNTOLD)
        return cls(value=value, standard_error=error, lower=float(lower), upper=float(upper), unit=unit)

    def __str__(self) -> str:
        """Value, standard error if it was estimated, and unit: ``120.04 ± 0.013 s``."""
        error = "unknown" if self.standard_error == UNTOLD else f"{self.standard_error:.2g}"
        return f"{self.value:.6g}{f' ± {error}' * (self.standard_error > 0)}{f' {self.unit}' * (self.unit != '1')}"


POSITIVE = (0.0, math.inf)
