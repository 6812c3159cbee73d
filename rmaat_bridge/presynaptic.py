"""Presynaptic exponent: how the astrocyte's response grows with presynaptic activity.

Two forms are fitted side by side: the power law ``y = c nu^alpha`` over the range that was stimulated, and the
saturating form ``y = c nu^h / (K^h + nu^h)``. The exponent 0.25 of the astromorphic transformer was tuned on
tasks; here it is what the simulation gives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from astro_sim.errors import InputError
from astro_sim.functions import FUNCTIONS
from rmaat_bridge.bio_parameters import Candidate, PresynapticFit
from rmaat_bridge.quantity import POSITIVE, Quantity
from rmaat_bridge.recordings import attribute, cycles, finite
from rmaat_bridge.regression import Regression, choose, least_squares, residual_p_value

MINIMUM_LEVELS = 3


def fit_presynaptic(recording: xr.Dataset) -> PresynapticFit:
    """Fit response against presynaptic activity.

    A tripartite recording gives mean calcium [umol/l] against ``rate_hz`` [Hz] (second half of the recording); a
    macro recording gives mean p_short against the presynaptic activity theta(x_j), one amplitude for each
    postsynaptic neuron.

    Returns
    -------
    PresynapticFit
        alpha; half_activation (in units of the geometric mean of the activities) and hill; the range as findings.

    Raises
    ------
    InputError
        If the response is missing, not finite or not positive, or there are fewer than three activities.
    """
    read = {"tripartite": _calcium_against_rate, "macro": _p_short_against_activity}
    model = recording.attrs.get("model")
    if model not in read:
        raise InputError("recording: model", model, f"one of {', '.join(read)}")
    activity, response, group, unit = read[model](recording)
    if np.unique(np.round(activity / activity.max(), 6)).size < MINIMUM_LEVELS:
        raise InputError(
            "recording: presynaptic activity",
            f"{np.unique(activity).size} levels",
            f"at least {MINIMUM_LEVELS}",
        )
    if not (response > 0).all():
        raise InputError(
            "recording: response to presynaptic activity", float(response.min()), "above 0 everywhere"
        )
    reference = float(stats.gmean(activity))
    fits = {
        "power-law": fit_power_law(activity / reference, response, group),
        "saturating": fit_saturating(activity / reference, response, group),
    }
    best = min(fit.aicc for fit in fits.values())
    power, saturating = fits["power-law"], fits["saturating"]
    return PresynapticFit(
        family="power-law",
        parameters={
            "alpha": _quantity(power, "alpha"),
            "half_activation": _quantity(saturating, "half_activation"),
            "hill": _quantity(saturating, "hill"),
        },
        r_squared=power.r_squared,
        residuals=power.residuals.tolist(),
        residual_p_value=residual_p_value(power.residuals),
        candidates=[
            Candidate(
                family=name,
                n_parameters=len(fit.values),
                r_squared=fit.r_squared,
                aicc=fit.aicc if np.isfinite(fit.aicc) else None,
                delta=fit.aicc - best if np.isfinite(fit.aicc) else None,
            )
            for name, fit in fits.items()
        ],
        findings={
            "lowest_activity": Quantity.exact(float(activity.min()), unit),
            "highest_activity": Quantity.exact(float(activity.max()), unit),
            "reference_activity": Quantity.exact(reference, unit),
        },
        notes=[f"AICc prefers the {choose(fits)} form; the network uses the one named by `family`."],
    )


def fit_power_law(activity: np.ndarray, response: np.ndarray, group: np.ndarray) -> Regression:
    """Fit ``ln y = c_group + alpha ln nu``: one scale a group, one exponent."""
    return _fit(lambda v, alpha: alpha * np.log(v), activity, response, group, ({"alpha": 0.5},))


def fit_saturating(activity: np.ndarray, response: np.ndarray, group: np.ndarray) -> Regression:
    """Fit ``ln y = c_group + h ln nu - ln(K^h + nu^h)``: a Hill function with one scale a group."""
    return _fit(
        lambda v, half_activation, hill: hill * np.log(v) - np.log(half_activation**hill + v**hill),
        activity,
        response,
        group,
        ({"half_activation": 1.0, "hill": 1.0}, {"half_activation": 10.0, "hill": 0.5}),
    )


def _fit(
    curve: Any,
    activity: np.ndarray,
    response: np.ndarray,
    group: np.ndarray,
    starts: tuple[dict[str, float], ...],
) -> Regression:
    logarithm = np.log(response)
    scales = [f"scale_{name}" for name in np.unique(group)]
    member = group[:, None] == np.unique(group)

    def full(**parameters: Any) -> np.ndarray:
        levels = np.log(np.array([parameters.pop(name) for name in scales]))
        return member @ levels + curve(activity, **parameters)

    level = {name: float(np.exp(logarithm[member[:, column]].mean())) for column, name in enumerate(scales)}
    starts = tuple(level | start for start in starts)
    return least_squares(full, logarithm, dict.fromkeys(starts[0], POSITIVE), starts)


def _quantity(fit: Regression, name: str) -> Quantity:
    return Quantity.estimated(fit.values[name], fit.standard_errors[name], fit.dof, "1", POSITIVE)


def _calcium_against_rate(recording: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    calcium = finite(recording, "calcium")
    late = calcium.sel(time=slice(float(calcium["time"][-1]) / 2, None)).mean("time").values
    rate = recording["rate_hz"].values
    keep = rate > 0
    return rate[keep], late[keep], np.zeros(int(keep.sum()), dtype=int), "Hz"


def _p_short_against_activity(recording: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    rhythm = cycles(recording)
    last = slice((rhythm.count - 1) * rhythm.seconds, rhythm.count * rhythm.seconds)
    theta = FUNCTIONS[attribute(recording, "parameters")["theta"]].value
    activity = theta(finite(recording, "x").sel(time=last).values).mean(axis=0)
    response = finite(recording, "p_short").sel(time=last).mean("time").values
    post, pre = np.indices(response.shape)
    keep = (activity[post] > 0) & (activity[pre] > 0)
    return activity[pre][keep], response[keep], post[keep], "1"
