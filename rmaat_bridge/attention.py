"""Attention kernel: how p_short falls with the distance from what drives it.

The short-term line ``tau dp/dt = -leak p + sum T psi(p) + drive kappa(s)`` has two lengths. Transport T has
its own (`coupling_length` of the simulation). The response of the whole network to a point drive is its
Green's function, which is longer, because what arrives is passed on again; the network's kernel takes the
response. Its value at the driven process itself lies far above the rest of the curve (4 to 245 times the
first neighbour), so that the self term is estimated apart and left out of the decay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from astro_sim.errors import InputError
from astro_sim.functions import FUNCTIONS
from rmaat_bridge.bio_parameters import AttentionFit, Candidate
from rmaat_bridge.families import Family
from rmaat_bridge.kernel_families import KERNEL_FAMILIES
from rmaat_bridge.quantity import POSITIVE, Quantity
from rmaat_bridge.recordings import attribute, cycles, finite
from rmaat_bridge.regression import Regression, choose, least_squares, residual_p_value

FLAT = 1e-9
# Decimals, relative to the strongest source, to which two drives are the same.
SAME_DRIVE = 3


def fit_attention(recording: xr.Dataset) -> AttentionFit:
    """Fit the spatial response of p_short to its drive, averaged over the last STP cycle.

    ``p_ij = self q_ij + first_neighbour sum_kl r(d / length) q_kl`` with ``q_ij = theta(x_i) theta(x_j)`` the
    activity that drives process ij and d the distance of the processes (l1 or Euclidean, as the recording's
    transport). With a point drive q is one number at one place and the fit is that of p_short against distance.

    Parameters
    ----------
    recording : Dataset
        With ``x (time, neuron)``, ``p_short (time, post, pre)`` and the positions of the neurons.

    Returns
    -------
    AttentionFit
        Length in grid steps, shape parameters; the self term and the transport's own length as findings.

    Raises
    ------
    InputError
        If p_short is missing, not finite or flat, or there are fewer than three distances.
    """
    rhythm = cycles(recording)
    last = slice((rhythm.count - 1) * rhythm.seconds, rhythm.count * rhythm.seconds)
    p_short = finite(recording, "p_short").sel(time=last)
    response = p_short.mean("time").values
    if np.ptp(response) <= FLAT:
        raise InputError(
            "recording: p_short", f"a range of {np.ptp(response):.1e} over space", "a decay with distance"
        )
    parameters = attribute(recording, "parameters")
    theta = FUNCTIONS[parameters["theta"]].value
    active = theta(finite(recording, "x").sel(time=last).values)
    source = (active[:, :, None] * active[:, None, :]).mean(axis=0)
    distance = _distances(recording, parameters)
    if np.unique(distance).size < 4:
        raise InputError(
            "recording: neurons", response.shape[0], "at least 3: two distances cannot show a decay"
        )
    fits = {name: fit_kernel(family, response, source, distance) for name, family in KERNEL_FAMILIES.items()}
    name = choose(fits)
    chosen = fits[name]
    best = min(fit.aicc for fit in fits.values())

    def estimated(parameter: str, unit: str, domain: tuple[float, float]) -> Quantity:
        return Quantity.estimated(
            chosen.values[parameter], chosen.standard_errors[parameter], chosen.dof, unit, domain
        )

    shape = KERNEL_FAMILIES[name].domain
    return AttentionFit(
        family=name,
        parameters={
            "length": estimated("length", "grid step", POSITIVE),
            "tokens_per_step": Quantity.exact(1.0, "token/grid step"),
            **{parameter: estimated(parameter, "1", domain) for parameter, domain in shape.items()},
        },
        r_squared=chosen.r_squared,
        residuals=chosen.residuals.tolist(),
        residual_p_value=residual_p_value(chosen.residuals),
        candidates=[
            Candidate(
                family=family,
                n_parameters=len(fit.values),
                r_squared=fit.r_squared,
                aicc=fit.aicc if np.isfinite(fit.aicc) else None,
                delta=fit.aicc - best if np.isfinite(fit.aicc) else None,
            )
            for family, fit in fits.items()
        ],
        findings={
            "self_term": estimated("self_term", "1", POSITIVE),
            "first_neighbour": estimated("neighbour", "1", POSITIVE),
        },
        notes=[],
    )


def fit_kernel(family: Family, response: np.ndarray, source: np.ndarray, distance: np.ndarray) -> Regression:
    """Fit one family to a response of shape (post, pre); `distance` has shape (post, pre, post, pre).

    Processes that see the same drive at the same distances are one observation, their mean.
    """
    n = response.size
    distances, index = np.unique(np.round(distance.reshape(n, n), 9), return_inverse=True)
    # drive[i, k]: summed source at distance k from process i
    drive = np.zeros((n, distances.size))
    np.add.at(drive, (np.repeat(np.arange(n), n), index.ravel()), np.tile(source.ravel(), n))
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


def _distances(recording: xr.Dataset, parameters: dict[str, Any]) -> np.ndarray:
    post, pre = recording["post_position"].values, recording["pre_position"].values
    rows = np.abs(post[:, None, None, None] - post[None, None, :, None])
    columns = np.abs(pre[None, :, None, None] - pre[None, None, None, :])
    return rows + columns if parameters["coupling_kernel"] == "exponential-l1" else np.hypot(rows, columns)
