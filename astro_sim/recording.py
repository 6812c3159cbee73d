"""Recordings: xarray datasets in NetCDF-4 that carry their units, parameters and provenance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from astro_sim.errors import InputError
from astro_sim.macro_parameters import MacroParameters
from astro_sim.protocols import Protocol
from astro_sim.provenance import replacing, timestamp, versions

Array = NDArray[np.float64]
REQUIRED = {
    "macro": {"x": ("time", "neuron"), **dict.fromkeys(("s", "p_short", "p_long"), ("time", "post", "pre"))},
    "tripartite": {"calcium": ("time", "synapse")},
}
LONG_NAMES = {
    "x": "neuronal state",
    "s": "synaptic strength",
    "p_short": "short-term astrocytic process (STP)",
    "p_long": "long-term astrocytic process (LTP)",
}


def macro_dataset(
    time: Array,
    variables: dict[str, Array],
    parameters: MacroParameters,
    protocol: Protocol,
    provenance: dict[str, Any],
) -> xr.Dataset:
    """A macro recording from its arrays: x (time, neuron) and s, p_short, p_long (time, post, pre)."""
    n = parameters.n_neurons
    place = {"units": "1", "long_name": "position", "comment": "grid steps"}
    return xr.Dataset(
        {
            name: (REQUIRED["macro"][name], values, {"units": "1", "long_name": LONG_NAMES[name]})
            for name, values in variables.items()
        },
        coords={
            "time": ("time", time, {"units": "s", "long_name": "time"}),
            **{dim: (dim, np.arange(n), {"units": "1"}) for dim in ("neuron", "post", "pre")},
            **{
                f"{dim}_position": (dim, np.arange(n, dtype=float), place) for dim in ("neuron", "post", "pre")
            },
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


def save_recording(recording: xr.Dataset, path: str | Path) -> Path:
    """Write a recording as NetCDF-4; an existing file is replaced only once the new one is whole."""
    path = Path(path)
    compressed = {name: {"zlib": True, "complevel": 4} for name in recording.data_vars}
    with replacing(path) as aside:
        recording.to_netcdf(aside, engine="h5netcdf", encoding=compressed)
    return path


def load_recording(path: str | Path) -> xr.Dataset:
    """Read and check a recording.

    Parameters
    ----------
    path : path
        A NetCDF-4 file written by `save_recording`.

    Returns
    -------
    xarray.Dataset
        Loaded into memory; the file is closed.

    Raises
    ------
    InputError
        If the file is missing, truncated or unreadable, or is not a recording.
    """
    if not Path(path).is_file():
        raise InputError("recording", str(path), "an existing NetCDF file")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as file:
            recording = file.load()
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError or ValueError on damaged files
        raise InputError("recording", str(path), f"a whole NetCDF-4 file ({error})") from None
    model = recording.attrs.get("model")
    if model not in REQUIRED:
        raise InputError("recording", str(path), f"a recording with attribute model in {', '.join(REQUIRED)}")
    for name, dims in REQUIRED[model].items():
        if name not in recording or recording[name].dims != dims:
            raise InputError("recording", str(path), f"a {model} recording with {name}({', '.join(dims)})")
    if recording.sizes["time"] < 2 or not all(np.isfinite(recording[name]).all() for name in REQUIRED[model]):
        raise InputError("recording", str(path), "at least two times, and finite values")
    return recording
