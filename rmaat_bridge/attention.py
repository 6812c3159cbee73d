"""Attention kernel: how p_short falls with the distance from what drives it.

The short-term line ``tau dp/dt = -leak p + sum T psi(p) + drive kappa(s)`` has two lengths. Transport T has
its own. The response of the whole network to a point drive is its Green's function, which is longer,
because what arrives is passed on again; the kernel takes the response and the file reports both. The driven
process itself answers far above the rest of the curve, hence the self term is estimated apart and left out
of the decay.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import xarray as xr

from astro_sim.errors import InputError
from astro_sim.functions import FUNCTIONS
from astro_sim.macro_parameters import MacroParameters
from rmaat_bridge.families import Family
from rmaat_bridge.fit_result import AttentionFit, candidates, untold
from rmaat_bridge.kernel_families import KERNEL_FAMILIES
from rmaat_bridge.quantity import POSITIVE, Quantity
from rmaat_bridge.recordings import Cycles, activities, attribute, cycles, finite, last_cycle_mean
from rmaat_bridge.regression import PARSIMONY, Regression, choose, least_squares, residual_p_value

FLAT = 1e-9
# Decimals, relative to the strongest source, to which two drives are the same.
SAME_DRIVE = 3
# Transport that brings less than this share of p_short is not told from the error of the time averages.
NEGLIGIBLE = 0.01
# Grid steps from which the fits set out, with the amplitudes that are best there: length and amplitude trade
# off against each other, and a fit that starts from one length may end in a local minimum.
STARTING_LENGTHS = (0.3, 0.6, 1.0, 2.0, 4.0)
# Family of the transport of each coupling kernel of the simulation.
TRANSPORT = {"exponential-l1": "exponential", "exponential": "exponential", "gaussian": "gaussian"}


def fit_attention(recording: xr.Dataset) -> AttentionFit:
    """Fit the spatial response of p_short to its drive, averaged over the last STP cycle.

    ``p_ij = self_term q_ij + first_neighbour sum_kl r(d / length) q_kl``, the sum over the other processes,
    with ``q_ij = theta(x_i) theta(x_j)`` the activity that drives process ij and d the distance of the
    processes (l1 or Euclidean, as the recording's transport). A point drive makes it a fit of p_short
    against distance.

    Parameters
    ----------
    recording : Dataset
        Macro, with ``x (time, neuron)``, ``p_short (time, post, pre)`` and the positions.

    Returns
    -------
    AttentionFit
        Length in grid steps and shape; as findings the self term and the transport's own strength and length.

    Raises
    ------
    InputError
        If p_short is missing, not finite or flat, or there are fewer than three neurons.
    """
    if recording.attrs.get("model") != "macro":
        raise InputError("recording: model", recording.attrs.get("model"), "macro, for the spatial kernel")
    rhythm, parameters = cycles(recording), attribute(recording, "parameters")
    parameters = vars(MacroParameters.from_json(json.dumps(parameters)))  # checked, and its defaults where it has none
    if parameters["coupling_kernel"] not in TRANSPORT:
        allowed = f"one of {', '.join(TRANSPORT)}: the others do not depend on distance alone"
        raise InputError("recording: coupling_kernel", parameters["coupling_kernel"], allowed)
    response = finite(recording, "p_short").sel(time=rhythm.last).mean("time").values
    if min(response.shape) < 3:
        raise InputError("recording: neurons", min(response.shape), "at least 3, or no decay shows")
    if np.ptp(response) <= FLAT:
        raise InputError("recording: p_short", f"a range of {np.ptp(response):.1e}", "a decay with distance")
    post, pre = activities(recording, rhythm)
    source = np.einsum("ti,tj->ij", post, pre) / len(post)
    distance = _distances(recording, parameters)
    fits = {name: fit_kernel(family, response, source, distance) for name, family in KERNEL_FAMILIES.items()}
    name = choose(fits)
    chosen = fits[name]

    def estimated(parameter: str, unit: str = "1", domain: tuple[float, float] = POSITIVE) -> Quantity:
        return Quantity.estimated(chosen.values[parameter], chosen.standard_errors[parameter], chosen.dof, unit, domain)

    near = [other for other, fit in fits.items() if other != name and not fit.aicc > chosen.aicc + PARSIMONY]
    fitted = {
        "length": estimated("length", "grid step"),
        "tokens_per_step": Quantity.exact(1.0, "token/grid step"),
        **{shape: estimated(shape, domain=d) for shape, d in KERNEL_FAMILIES[name].domain.items()},
    }
    return AttentionFit(
        family=name,
        parameters=fitted,
        r_squared=chosen.r_squared,
        residuals=chosen.residuals.tolist(),
        residual_p_value=residual_p_value(chosen.residuals),
        candidates=candidates(fits),
        findings={
            "self_term": estimated("self_term"),
            "first_neighbour": estimated("neighbour"),
            **_transport(recording, rhythm, parameters, distance),
        },
        notes=[
            "length is that of the network's response; transport_length is that of the transport alone.",
            *([f"These data do not separate {name} from {', '.join(near)}."] if near else []),
            *untold(fitted),
        ],
    )


def fit_kernel(family: Family, response: np.ndarray, source: np.ndarray, distance: np.ndarray) -> Regression:
    """Fit one family to a response of shape (post, pre); `distance` has shape (post, pre, post, pre).

    Processes that see the same drive at the same distances are one observation, their mean.
    """
    distances, drive = _by_distance(source, distance)
    _, alike, size = np.unique(
        np.round(drive / source.max(), SAME_DRIVE), axis=0, return_inverse=True, return_counts=True
    )
    drive = np.stack([np.bincount(alike.ravel(), column) for column in drive.T], axis=1) / size[:, None]
    observed = np.bincount(alike.ravel(), response.ravel()) / size

    def curve(self_term: Any, neighbour: Any, length: Any, **shape: Any) -> np.ndarray:
        decay = family.curve(np, distances / length, **shape)
        return drive @ (neighbour * decay) + (self_term - neighbour) * drive[:, 0]

    starts = []
    for length in STARTING_LENGTHS:
        for shape in family.starts:
            parts = np.stack([drive[:, 0], curve(0.0, 1.0, length, **shape)], axis=1)
            self_term, neighbour = np.linalg.lstsq(parts, observed)[0]
            floor = 1e-3 * float(observed.max() / drive.max())
            amplitudes = {"self_term": max(self_term, floor), "neighbour": max(neighbour, floor)}
            starts.append({**amplitudes, "length": length, **shape})
    domains = {"self_term": POSITIVE, "neighbour": POSITIVE, "length": POSITIVE, **family.domain}
    return least_squares(curve, observed, domains, starts)


def _transport(
    recording: xr.Dataset, rhythm: Cycles, parameters: dict[str, Any], distance: np.ndarray
) -> dict[str, Quantity]:
    """Strength and length of T from the balance of the short-term line over the last cycle.

    ``leak mean(p) + tau (p(end) - p(start)) / cycle - drive mean(kappa(s)) = sum T mean(psi(p))``, in which
    all but T is recorded or a parameter of the recording.
    """
    p, s = finite(recording, "p_short"), finite(recording, "s")
    psi, kappa = (FUNCTIONS[parameters[name]].value for name in ("psi", "kappa"))
    mean_p, mean_psi, mean_kappa = (
        last_cycle_mean(v, rhythm) for v in (p, xr.apply_ufunc(psi, p), xr.apply_ufunc(kappa, s))
    )
    rise = p.sel(time=rhythm.last)[[0, -1]].diff("time").values[0]
    arriving = parameters["leak_p_short"] * mean_p + parameters["tau_p_short"] * rise / rhythm.seconds
    arriving -= parameters["drive"] * mean_kappa
    if arriving.max() <= NEGLIGIBLE * mean_p.max():
        return {}
    family = KERNEL_FAMILIES[TRANSPORT[parameters["coupling_kernel"]]]
    distances, drive = _by_distance(mean_psi, distance)
    observed = arriving.ravel()

    def curve(strength: Any, length: Any) -> np.ndarray:
        return strength * drive @ family.curve(np, distances / length)

    starts = []
    for length in STARTING_LENGTHS:
        alone = curve(1.0, length)
        starts.append({"strength": float(abs(alone @ observed) / (alone @ alone)), "length": length})
    fit = least_squares(curve, observed, {"strength": POSITIVE, "length": POSITIVE}, starts)
    return {
        f"transport_{name}": Quantity.estimated(fit.values[name], fit.standard_errors[name], fit.dof, unit, POSITIVE)
        for name, unit in (("strength", "1"), ("length", "grid step"))
    }


def _by_distance(source: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances, and the summed source at each distance from each process, shape (processes, distances)."""
    n = source.size
    distances, index = np.unique(np.round(distance.reshape(n, n), 9), return_inverse=True)
    drive = np.zeros((n, distances.size))
    np.add.at(drive, (np.repeat(np.arange(n), n), index.ravel()), np.tile(source.ravel(), n))
    return distances, drive


def _distances(recording: xr.Dataset, parameters: dict[str, Any]) -> np.ndarray:
    """Distance between any two processes, shape (post, pre, post, pre), in grid steps."""
    l1 = parameters["coupling_kernel"] == "exponential-l1"

    def along(name: str) -> np.ndarray:
        """Distances on one side, summed over the axes of the layout; squared unless l1."""
        place = recording[f"{name}_position"].values
        side = math.isqrt(place.size) if parameters["layout"] == "sheet" else place.size
        total = np.zeros((place.size, place.size))
        for axis in np.divmod(place, side) if parameters["layout"] == "sheet" else (place,):
            apart = np.abs(axis[:, None] - axis)
            if parameters["border"] == "periodic":
                apart = np.minimum(apart, side - apart)
            total += apart if l1 else apart**2
        return total

    total = along("post")[:, None, :, None] + along("pre")[None, :, None, :]
    return total if l1 else np.sqrt(total)
