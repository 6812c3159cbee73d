"""Presynaptic exponent: how the astrocyte's response grows with presynaptic activity.

Two forms are fitted side by side: the power law ``y = c nu^alpha`` over a stated range of activity, and the
saturating form ``y = c nu^h / (K^h + nu^h)``. The exponent 0.25 of the astromorphic transformer (arXiv
2312.10925) was tuned on tasks; here it is what the simulation gives, range by range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from astro_sim.errors import InputError
from rmaat_bridge.fit_result import PresynapticFit, candidates, untold
from rmaat_bridge.quantity import POSITIVE, Quantity
from rmaat_bridge.recordings import activities, cycles, finite
from rmaat_bridge.regression import Regression, choose, least_squares, residual_p_value

MINIMUM_LEVELS = 3
FLAT = 1e-9  # change of the response, a share of it
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


def fit_presynaptic(recording: xr.Dataset, activity_range: tuple[float, float] | None = None) -> PresynapticFit:
    """Fit the response against presynaptic activity, in logarithms.

    A tripartite recording gives mean calcium [umol/l] against ``rate_hz`` [Hz], over the second half of the
    recording; a macro recording gives mean p_short against mean theta(x_j) of the presynaptic neuron over
    the last cycle, with a scale of its own for each postsynaptic neuron.

    Parameters
    ----------
    recording : Dataset
    activity_range : (float, float), optional
        Lowest and highest activity of the power law, which is a local description; the saturating form is
        fitted to all activities above 0. Default: 0.1 to 10 Hz (tripartite), all (macro).

    Returns
    -------
    PresynapticFit
        alpha, half_activation and hill, activity in units of its geometric mean over the range. Findings: the
        range, that mean, and alpha of each decade that holds at least three activities over which the response
        rises. The candidates compare the two forms on all activities.

    Raises
    ------
    InputError
        If the response is missing, not finite, not positive or falls, or there are fewer than three activities.
    """
    model = recording.attrs.get("model")
    if model not in READERS:
        raise InputError("recording: model", model, f"one of {', '.join(READERS)}")
    reader, unit, default_range = READERS[model]
    columns = _between(reader(recording), 0.0, np.inf)
    lowest, highest = activity_range or default_range
    if not 0 <= lowest < highest:
        raise InputError("activity_range", (lowest, highest), "two activities from 0 on, the lower first")
    inside = _between(columns, lowest, highest)
    levels = np.unique(_levels(inside[0]))
    if levels.size < MINIMUM_LEVELS:
        given = f"{levels.size} in the range of the power law"
        raise InputError("recording: presynaptic activities", given, f"at least {MINIMUM_LEVELS}")
    if not (columns[1] > 0).all():
        lowest = float(columns[1].min())
        raise InputError("recording: response to presynaptic activity", lowest, "above 0 everywhere")
    if np.ptp(inside[1]) <= FLAT * inside[1].max():
        raise InputError("recording: response to presynaptic activity", float(inside[1][0]), "one that changes")
    low, high = float(inside[0].min()), float(inside[0].max())
    if (slope := _slope(inside)) <= 0:
        given = f"a slope of {slope:.2g} in logarithms from {low:.3g} to {high:.3g} {unit}"
        raise InputError("recording: response to presynaptic activity", given, "one that rises with activity")
    reference = float(np.exp(levels.mean()))

    def relative(columns: Columns) -> Columns:
        return columns[0] / reference, columns[1], columns[2]

    power, saturating = fit_power_law(*relative(inside)), fit_saturating(*relative(columns))
    fits = {"power-law": fit_power_law(*relative(columns)), "saturating": saturating}
    parameters = {
        "alpha": _quantity(power, "alpha"),
        "half_activation": _quantity(saturating, "half_activation"),
        "hill": _quantity(saturating, "hill"),
    }
    return PresynapticFit(
        family="power-law",
        parameters=parameters,
        r_squared=power.r_squared,
        residuals=power.residuals.tolist(),
        residual_p_value=residual_p_value(power.residuals),
        candidates=candidates(fits),
        findings={
            "lowest_activity": Quantity.exact(low, unit),
            "highest_activity": Quantity.exact(high, unit),
            "reference_activity": Quantity.exact(reference, unit),
            **alpha_by_range(columns),
        },
        notes=[
            f"The power law holds from {low:.3g} to {high:.3g} {unit}; R2 and residuals are its own there.",
            f"Over all activities AICc prefers the {choose(fits)} form; `family` names the network's.",
            *(["Over all activities it falls: half_activation and hill say nothing."] if _slope(columns) <= 0 else []),
            *untold(parameters),
        ],
    )


def alpha_by_range(columns: Columns) -> dict[str, Quantity]:
    """alpha of each decade of activity with at least three levels, in which the response rises."""
    lowest, highest = np.log10(columns[0].min()), np.log10(columns[0].max())
    found = {}
    for decade in range(int(np.floor(lowest + 1e-9)), int(np.ceil(highest - 1e-9))):
        low, high = 10.0**decade, 10.0 ** (decade + 1)
        inside = _between(columns, low * (1 - 1e-9), high * (1 + 1e-9))
        if np.unique(_levels(inside[0])).size >= MINIMUM_LEVELS and _slope(inside) > 0:
            found[f"alpha_from_{low:g}_to_{high:g}"] = _quantity(fit_power_law(*inside), "alpha")
    return found


def _slope(columns: Columns) -> float:
    """Slope of ln y over ln nu within the groups: the power law's exponent, were it free to be negative."""
    _, group = np.unique(columns[2], return_inverse=True)
    x, y = (v - (np.bincount(group, v) / np.bincount(group))[group] for v in np.log(columns[:2]))
    return float(x @ y / (x @ x))


def fit_power_law(activity: np.ndarray, response: np.ndarray, group: np.ndarray) -> Regression:
    """Fit ``ln y = c_group + alpha ln nu``: one scale for each group, one exponent."""
    return _fit(lambda v, alpha: alpha * np.log(v), activity, response, group, [{"alpha": 0.5}])


def fit_saturating(activity: np.ndarray, response: np.ndarray, group: np.ndarray) -> Regression:
    """Fit ``ln y = c_group + h ln nu - ln(K^h + nu^h)``: a Hill function with one scale for each group."""
    return _fit(
        lambda v, half_activation, hill: hill * np.log(v) - np.log(half_activation**hill + v**hill),
        activity,
        response,
        group,
        [{"half_activation": half, "hill": hill} for half in (0.1, 1.0, 10.0) for hill in (0.5, 1.5)],
    )


def _fit(
    curve: Callable[..., Any],
    activity: np.ndarray,
    response: np.ndarray,
    group: np.ndarray,
    starts: Sequence[dict[str, float]],
) -> Regression:
    """Least squares of ``ln y`` on a constant for each group and `curve`, centred to keep the two apart."""
    groups = np.unique(group)
    member = (group[:, None] == groups).astype(float)
    scales = {f"scale_{name}": float(np.exp(np.log(response[group == name]).mean())) for name in groups}
    centre = member @ np.linalg.pinv(member)

    def full(**parameters: Any) -> np.ndarray:
        levels = np.log(np.array([parameters.pop(name) for name in scales]))
        shape = curve(activity, **parameters)
        return member @ levels + shape - centre @ shape

    starts = [scales | start for start in starts]
    return least_squares(full, np.log(response), dict.fromkeys(starts[0], POSITIVE), starts)


def _quantity(fit: Regression, name: str) -> Quantity:
    return Quantity.estimated(fit.values[name], fit.standard_errors[name], fit.dof, "1", POSITIVE)


def _between(columns: Columns, low: float, high: float) -> Columns:
    activity = columns[0]
    keep = (activity > 0) & (activity >= low) & (activity <= high)
    return columns[0][keep], columns[1][keep], columns[2][keep]


def _levels(activity: np.ndarray) -> np.ndarray:
    """Logarithm of the activity to six decimals: equal for synapses at the same rate."""
    return np.round(np.log(activity), 6)


def _calcium_against_rate(recording: xr.Dataset) -> Columns:
    calcium = finite(recording, "calcium")
    late = calcium.sel(time=slice(float(calcium["time"][-1]) / 2, None)).mean("time").values
    return recording["rate_hz"].values, late, np.zeros(late.size, dtype=int)


def _p_short_against_activity(recording: xr.Dataset) -> Columns:
    rhythm = cycles(recording)
    of_post, of_pre = (activity.mean(axis=0) for activity in activities(recording, rhythm))
    response = finite(recording, "p_short").sel(time=rhythm.last).mean("time").values
    post, pre = np.indices(response.shape)
    driven = of_post[post] > 0
    return of_pre[pre][driven], response[driven], post[driven]


READERS: dict[str, tuple[Callable[[xr.Dataset], Columns], str, tuple[float, float]]] = {
    "tripartite": (_calcium_against_rate, "Hz", (0.1 * (1 - 1e-9), 10.0 * (1 + 1e-9))),
    "macro": (_p_short_against_activity, "1", (0.0, np.inf)),
}
