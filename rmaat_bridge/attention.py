"""Attention kernel: how p_short falls with the distance from what drives it.

The short-term line ``tau dp/dt = -leak p + sum T psi(p) + drive kappa(s)`` has two lengths. Transport T has
its own. The response of the whole network to a point drive is its Green's function, which is longer,
because what arrives is passed on again; the kernel takes the response and the file reports both. The driven
process itself answers far above the rest of the curve, hence the self term is estimated apart and left out
of the decay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from astro_sim.errors import InputError
from astro_sim.functions import FUNCTIONS
from rmaat_bridge.families import Family
from rmaat_bridge.fit_result import AttentionFit, candidates
from rmaat_bridge.kernel_families import KERNEL_FAMILIES
from rmaat_bridge.quantity import POSITIVE, Quantity
from rmaat_bridge.recordings import Cycles, attribute, cycles, finite
from rmaat_bridge.regression import PARSIMONY, Regression, choose, least_squares, residual_p_value

FLAT = 1e-9
# Decimals, relative to the strongest source, to which two drives are the same.
SAME_DRIVE = 3
# Transport that brings less than this share of p_short is not told from the error of the time averages.
NEGLIGIBLE = 0.01
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
    response = finite(recording, "p_short").sel(time=rhythm.last).mean("time").values
    if response.shape[0] < 3:
        raise InputError("recording: neurons", response.shape[0], "at least 3, or no decay shows")
    if np.ptp(response) <= FLAT:
        raise InputError("recording: p_short", f"a range of {np.ptp(response):.1e}", "a decay with distance")
    active = FUNCTIONS[parameters["theta"]].value(finite(recording, "x").sel(time=rhythm.last).values)
    source = np.einsum("ti,tj->ij", active, active) / len(active)
    distance = _distances(recording, parameters)
    fits = {name: fit_kernel(family, response, source, distance) for name, family in KERNEL_FAMILIES.items()}
    name = choose(fits)
    chosen = fits[name]

    def estimated(parameter: str, unit: str = "1", domain: tuple[float, float] = POSITIVE) -> Quantity:
        return Quantity.estimated(chosen.values[parameter], chosen.standard_errors[parameter], chosen.dof, unit, domain)

    near = [other for other, fit in fits.items() if other != name and not fit.aicc > chosen.aicc + PARSIMONY]
    return AttentionFit(
        family=name,
        parameters={
            "length": estimated("length", "grid step"),
            "tokens_per_step": Quantity.exact(1.0, "token/grid step"),
            **{shape: estimated(shape, domain=d) for shape, d in KERNEL_FAMILIES[name].domain.items()},
        },
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

    gain = float(response.max() / source.max())
    starts = [
        {"self_term": gain, "neighbour": gain * share, "length": length, **shape}
        for share in (0.1, 0.5)
        for length in (0.7, 2.0)
        for shape in family.starts
    ]
    domains = {"self_term": POSITIVE, "neighbour": POSITIVE, "length": POSITIVE, **family.domain}
    return least_squares(curve, observed, domains, starts)


def _transport(
    recording: xr.Dataset, rhythm: Cycles, parameters: dict[str, Any], distance: np.ndarray
) -> dict[str, Quantity]:
    """Strength and length of T from the balance of the short-term line over the last cycle.

    ``leak mean(p) + tau (p(end) - p(start)) / cycle - drive mean(kappa(s)) = sum T mean(psi(p))``, in which
    all but T is recorded or a parameter of the recording.
    """
    p, s = (finite(recording, name).sel(time=rhythm.last).values for name in ("p_short", "s"))
    time = recording["time"].sel(time=rhythm.last).values
    span = time[-1] - time[0]
    psi, kappa = (FUNCTIONS[parameters[name]].value for name in ("psi", "kappa"))
    mean_p, mean_psi, mean_kappa = (np.trapezoid(v, time, axis=0) / span for v in (p, psi(p), kappa(s)))
    arriving = parameters["leak_p_short"] * mean_p + parameters["tau_p_short"] * (p[-1] - p[0]) / span
    arriving -= parameters["drive"] * mean_kappa
    if arriving.max() <= NEGLIGIBLE * mean_p.max():
        return {}
    family = KERNEL_FAMILIES[TRANSPORT[parameters["coupling_kernel"]]]
    distances, drive = _by_distance(mean_psi, distance)
    fit = least_squares(
        lambda strength, length: strength * drive @ family.curve(np, distances / length),
        arriving.ravel(),
        {"strength": POSITIVE, "length": POSITIVE},
        [{"strength": float(arriving.max() / mean_psi.max()), "length": length} for length in (0.5, 2.0)],
    )
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

    def along(position: np.ndarray) -> np.ndarray:
        apart = np.abs(position[:, None] - position)
        return np.minimum(apart, len(position) - apart) if parameters["border"] == "periodic" else apart

    rows = along(recording["post_position"].values)[:, None, :, None]
    columns = along(recording["pre_position"].values)[None, :, None, :]
    return rows + columns if parameters["coupling_kernel"] == "exponential-l1" else np.hypot(rows, columns)
