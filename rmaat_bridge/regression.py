"""Bounded non-linear least squares with standard errors, and the comparison of families by AICc."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from rmaat_bridge.quantity import POSITIVE

# Misfit below this fraction of the data's range is rounding or solver error, not evidence for a richer
# family.
RESOLUTION = 1e-6
# Positive parameters may move by this factor (its logarithm) from where the fit sets out.
REACH = math.log(1e5)
TOLERANCE = 1e-10
EPSILON = float(np.finfo(float).eps)
# A family with more parameters must win by this much AICc: a superfluous parameter gains more than 6 in
# deviance in only 1.4 % of data sets (chi-squared, 1 degree of freedom), and AICc takes 2 of that back.
PARSIMONY = 4.0


@dataclass(frozen=True)
class Regression:
    """A least-squares fit.

    Parameters
    ----------
    values, standard_errors : dict
        Estimates by name; the errors come from the Jacobian and the residual variance. They are infinite where the
        data do not tell: along a direction that leaves the curve as it is, or with no observation to spare.
    residuals : ndarray, shape (n,)
        Data minus curve.
    dof : int
        Observations minus parameters.
    r_squared, aicc : float
        AICc counts the residual variance as a parameter and is infinite where the data are too few for it.
    """

    values: dict[str, float]
    standard_errors: dict[str, float]
    residuals: np.ndarray
    dof: int
    r_squared: float
    aicc: float


def least_squares(
    curve: Callable[..., np.ndarray],
    data: np.ndarray,
    domains: dict[str, tuple[float, float]],
    starts: Sequence[dict[str, float]],
) -> Regression:
    """Fit ``curve(**parameters)`` to `data` from several starts and keep the best.

    Positive parameters are fitted in their logarithm, so their errors are relative ones. The Jacobian is
    exact (complex step), hence `curve` must be analytic in its parameters.
    """
    names = list(domains)
    positive = np.array([domains[name] == POSITIVE for name in names])
    ends = np.array([domains[name] for name in names])

    def natural(point: np.ndarray) -> np.ndarray:
        return np.where(positive, np.exp(np.where(positive, point, 0.0)), point)

    def misfit(point: np.ndarray) -> np.ndarray:
        return curve(**dict(zip(names, natural(point), strict=True))) - data

    solutions = []
    for start in starts:
        origin = np.array([start[name] for name in names])
        origin = np.where(positive, np.log(np.where(positive, origin, 1.0)), origin)
        bounds = (
            np.where(positive, origin - REACH, ends[:, 0]),
            np.where(positive, origin + REACH, ends[:, 1]),
        )
        solutions.append(
            optimize.least_squares(
                misfit,
                origin,
                jac="cs",
                bounds=bounds,
                x_scale="jac",
                xtol=TOLERANCE,
                ftol=TOLERANCE,
                gtol=1e-14,
            )
        )
    best = min(solutions, key=lambda solution: solution.cost)
    values = natural(best.x)
    n, count = data.size, len(names)
    rss = float(np.sum(best.fun**2))
    errors = _relative_errors(best.jac) * math.sqrt(rss / (n - count)) if n > count else np.full(count, math.inf)
    errors = np.where(positive, errors * values, errors)
    return Regression(
        values=dict(zip(names, map(float, values), strict=True)),
        standard_errors=dict(zip(names, map(float, errors), strict=True)),
        residuals=-best.fun,
        dof=n - count,
        r_squared=1 - rss / float(np.sum((data - data.mean()) ** 2)),
        aicc=aicc(rss, n, count, scale=float(np.ptp(data))),
    )


def _relative_errors(jacobian: np.ndarray) -> np.ndarray:
    """Standard errors at a residual variance of 1: roots of the diagonal of (JᵀJ)⁻¹, infinite where J is singular.

    From the singular values of J, its columns scaled to length 1, as those of JᵀJ have half the digits.
    """
    length = np.linalg.norm(jacobian, axis=0)
    length[length == 0] = 1.0
    _, singular, directions = np.linalg.svd(np.linalg.qr(jacobian / length, mode="r"))
    told = singular > singular[0] * max(jacobian.shape) * EPSILON
    errors = np.linalg.norm(directions[told] / singular[told, None], axis=0) / length
    errors[(np.abs(directions[~told]) > math.sqrt(EPSILON)).any(axis=0)] = math.inf
    return errors


def aicc(rss: float, n: int, n_parameters: int, scale: float) -> float:
    """Akaike's criterion with its small-sample correction, Gaussian errors of unknown variance.

    ``n ln(rss / n) + 2K + 2K(K+1)/(n-K-1)`` with K = n_parameters + 1 (Hurvich & Tsai 1989); infinite for
    n <= K + 1. The mean square is not taken below ``(RESOLUTION * scale)**2``.
    """
    k = n_parameters + 1
    if n <= k + 1:
        return math.inf
    mean_square = max(rss / n, (RESOLUTION * scale) ** 2)
    return n * math.log(mean_square) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def choose(fits: dict[str, Regression]) -> str:
    """Name of the simplest family whose AICc is within `PARSIMONY` of the best one's."""
    best = min(fit.aicc for fit in fits.values())
    near = {name: fit for name, fit in fits.items() if fit.aicc <= best + PARSIMONY}
    return min(near, key=lambda name: (len(near[name].values), near[name].aicc))


def residual_p_value(residuals: np.ndarray) -> float:
    """Permutation test for leftover structure: are neighbouring residuals more alike than by chance?

    Statistic: sum of products of neighbours. A small value says that the family misses a trend.
    """
    outcome = stats.permutation_test(
        (residuals,),
        lambda r, axis: np.sum(r[..., 1:] * r[..., :-1], axis=axis),
        permutation_type="pairings",
        alternative="greater",
        vectorized=True,
        n_resamples=4999,
        rng=np.random.default_rng(0),
    )
    return float(outcome.pvalue)
