"""What the network's shapes owe to the simulated constants: Sobol indices (SALib) of the linear response."""

from __future__ import annotations

import numpy as np
import xarray as xr
from SALib.analyze import sobol as analyse
from SALib.sample import sobol as sample

from astro_sim.macro import default_protocol
from astro_sim.macro_parameters import MacroParameters
from rmaat_bridge.linear_response import kernel_response, response_length, retention_response

# Constant -> largest factor away from its default. Time constants are known to a factor of two at best.
# The dimensionless ones keep to 10 %: beyond, leak_s (leak_p_short − ρ(T)) falls below drive somewhere in
# the box, and the short-term state latches.
FACTORS = {
    "tau_s": 2.0,
    "tau_p_short": 2.0,
    "tau_p_long": 2.0,
    "cycle_s": 1.5,
    "on_s": 1.5,
    "leak_s": 1.1,
    "leak_p_short": 1.1,
    "leak_p_long": 1.1,
    "drive": 1.1,
    "coupling": 1.1,
    "coupling_length": 1.1,
}
DEFAULTS = vars(MacroParameters()) | default_protocol().description
# Constant -> centre and largest factor away from it.
CONSTANTS: dict[str, tuple[float, float]] = {name: (DEFAULTS[name], factor) for name, factor in FACTORS.items()}
SEGMENTS = 6


def outputs(constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The numbers whose sensitivity is asked for, each of shape (samples,)."""
    factors = retention_response(constants, SEGMENTS)
    profile = kernel_response(constants)
    return {
        f"retention_factor_1_of_{SEGMENTS}": factors[:, 0],
        f"retention_factor_{SEGMENTS}_of_{SEGMENTS}": factors[:, -1],
        "second_ratio": factors[:, 1] / factors[:, 0],
        "kernel_length": response_length(profile),
        "neighbour_share": profile[:, 1],
    }


def sobol_indices(n_samples: int = 256, seed: int = 0) -> xr.Dataset:
    """First-order and total Sobol indices of every output with respect to every constant.

    The constants vary log-uniformly within their factors, by Saltelli's scheme (``n_samples * (11 + 2)``
    sets).

    Parameters
    ----------
    n_samples : int
        Base samples, a power of 2.
    seed : int

    Returns
    -------
    Dataset
        S1, ST and their 95 % half-widths S1_conf, ST_conf (output, constant); spread (output): standard
        deviation of the output over its mean; low, high (constant).
    """
    bounds = [[-np.log(factor), np.log(factor)] for _, factor in CONSTANTS.values()]
    problem = {"num_vars": len(CONSTANTS), "names": list(CONSTANTS), "bounds": bounds}
    exponents = sample.sample(problem, n_samples, calc_second_order=False, seed=seed)
    centres = np.array([centre for centre, _ in CONSTANTS.values()])
    found = outputs(dict(zip(CONSTANTS, (centres * np.exp(exponents)).T, strict=True)))
    indices = {
        name: analyse.analyze(problem, values, calc_second_order=False, seed=seed + 1)  # SALib takes 0 for no seed
        for name, values in found.items()
    }
    grid = ("output", "constant")
    return xr.Dataset(
        {kind: (grid, np.array([indices[name][kind] for name in found])) for kind in ("S1", "ST", "S1_conf", "ST_conf")}
        | {"spread": ("output", [values.std() / values.mean() for values in found.values()])},
        coords={
            "output": list(found),
            "constant": list(CONSTANTS),
            "low": ("constant", [centre / factor for centre, factor in CONSTANTS.values()]),
            "high": ("constant", [centre * factor for centre, factor in CONSTANTS.values()]),
        },
        attrs={"n_samples": n_samples, "seed": seed},
    )
