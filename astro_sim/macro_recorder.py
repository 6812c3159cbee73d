"""What a recording of the macro model holds, and where a run has diverged."""

import json
from typing import Any

import numpy as np
import xarray as xr

from astro_sim.macro_equations import MacroState
from astro_sim.macro_parameters import MacroParameters
from astro_sim.protocols import Protocol
from astro_sim.provenance import timestamp, versions
from astro_sim.recording import REQUIRED

LONG_NAMES = {
    "x": "neuronal state",
    "s": "synaptic strength",
    "p_short": "short-term astrocytic process (STP)",
    "p_long": "long-term astrocytic process (LTP)",
}
DIVERGED = 1e12


def divergence(time: float, state: MacroState) -> str | None:
    """Which variable has diverged at `time` [s], and what to do, if one has."""
    for name in LONG_NAMES:
        if not np.abs(getattr(state, name)).max() < DIVERGED:
            return f"{name} diverged at {time:g} s: try less input, coupling, drive or gain, or a smaller step"
    return None


def template(parameters: MacroParameters, protocol: Protocol, provenance: dict[str, Any]) -> xr.Dataset:
    """A recording of the macro model that has no rows yet."""
    (n_post, n_pre), n = parameters.shape, parameters.n_inputs
    sizes = {"time": 0, "neuron": n, "post": n_post, "pre": n_pre}
    unit = "number of the cell on the sheet, row by row" if parameters.layout == "sheet" else "grid steps"
    place = {"units": "1", "long_name": "position", "comment": unit}
    positions = {
        "neuron": np.concatenate([np.arange(parameters.n_pre or 0), np.arange(n_post)]),
        "post": np.arange(n_post),
        "pre": np.arange(n_pre),
    }
    return xr.Dataset(
        {
            name: (
                REQUIRED["macro"][name],
                np.empty([sizes[dim] for dim in REQUIRED["macro"][name]]),
                {"units": "1", "long_name": LONG_NAMES[name]},
            )
            for name in LONG_NAMES
        },
        coords={
            "time": ("time", np.empty(0), {"units": "s", "long_name": "time"}),
            **{dim: (dim, np.arange(sizes[dim]), {"units": "1"}) for dim in positions},
            **{f"{dim}_position": (dim, at.astype(float), place) for dim, at in positions.items()},
        },
        attrs={
            "Conventions": "CF-1.11",
            "model": "macro",
            "parameters": parameters.to_json(),
            "protocol": protocol.to_json(),
            "versions": json.dumps(versions()),
            "created": timestamp(),
            **provenance,
        },
    )
