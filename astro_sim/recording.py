"""Recordings: xarray datasets in NetCDF-4 that carry their units, parameters and provenance."""

from pathlib import Path

import numpy as np
import xarray as xr

from astro_sim.errors import InputError
from astro_sim.provenance import replacing

REQUIRED: dict[str, dict[str, tuple[str, ...]]] = {
    "macro": {"x": ("time", "neuron"), **dict.fromkeys(("s", "p_short", "p_long"), ("time", "post", "pre"))},
    "tripartite": {"calcium": ("time", "synapse")},
    "ring": {"calcium": ("time", "astrocyte")},
    "network": {"calcium": ("time", "astrocyte")},
    "self-repair": {"calcium": ("time", "astrocyte")},
    "working-memory": {"calcium": ("time", "astrocyte")},
    "li-rinzel": {"calcium": ("time", "astrocyte")},
    "plasticity": {"calcium": ("time", "synapse")},
}


def save_recording(recording: xr.Dataset, path: str | Path, level: int = 4) -> Path:
    """Write a recording as NetCDF-4, compressed at `level` 0 to 9; a file is replaced once the new one is whole."""
    path = Path(path)
    compressed = {
        name: {"zlib": level > 0, "complevel": level} for name, data in recording.data_vars.items() if data.ndim
    }
    with replacing(path) as aside:
        recording.to_netcdf(aside, engine="h5netcdf", encoding=compressed)
    return path


def load_recording(path: str | Path) -> xr.Dataset:
    """Read and check a recording.

    Parameters
    ----------
    path : path
        A NetCDF-4 file written by `save_recording`, or by `simulate_macro` with `out`.

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
        with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as file:
            recording = file.load()
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError or ValueError on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError("recording", str(path), f"a whole NetCDF-4 file ({reason})") from None
    model = recording.attrs.get("model")
    if model not in REQUIRED:
        raise InputError("recording", str(path), f"a recording with attribute model in {', '.join(REQUIRED)}")
    if recording.sizes.get("time", 0) < 1:
        raise InputError("recording", str(path), "at least one time")
    if "time" not in recording.coords or recording["time"].dtype.kind not in "fiu":
        raise InputError("recording", str(path), "a coordinate time, of numbers")
    times = recording["time"].values.astype(float)
    if not (finite := np.isfinite(times)).all():
        raise InputError("recording: time", float(times[np.argmin(finite)]), "finite times")
    if not (later := np.diff(times) > 0).all():
        place = int(np.argmin(later)) + 1
        raise InputError("recording: time", f"{times[place]:g} s after {times[place - 1]:g} s", "times that increase")
    for name, dims in REQUIRED[model].items():
        if name not in recording or recording[name].dims != dims:
            raise InputError("recording", str(path), f"a {model} recording with {name}({', '.join(dims)})")
        if not np.isfinite(recording[name]).all():
            raise InputError("recording", str(path), f"finite values of {name}")
    return recording
