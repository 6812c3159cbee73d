"""What the fits take from a recording, with a refusal that names the variable or the cycle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from astro_sim.errors import InputError


@dataclass(frozen=True)
class Cycles:
    """The protocol's repetition: `count` cycles of `seconds` each, the stimulus on for the first `on` seconds."""

    count: int
    seconds: float
    on: float


def attribute(recording: xr.Dataset, name: str) -> dict[str, Any]:
    """A JSON attribute of the recording as a dictionary."""
    try:
        return json.loads(recording.attrs[name])
    except (KeyError, TypeError, json.JSONDecodeError):
        raise InputError(
            f"recording: attribute {name}", recording.attrs.get(name), "the JSON that simulate writes"
        ) from None


def cycles(recording: xr.Dataset) -> Cycles:
    """The STP cycles of a recording.

    Raises
    ------
    InputError
        If the protocol has no cycles, or the recording ends before the last of them: the cycle is named.
    """
    protocol = attribute(recording, "protocol")
    try:
        found = Cycles(int(protocol["n_cycles"]), float(protocol["cycle_s"]), float(protocol["on_s"]))
    except KeyError as missing:
        raise InputError(
            "recording: protocol", protocol.get("kind"), f"STP cycles (it lacks {missing})"
        ) from None
    times = recording["time"].values
    spacing = float(np.median(np.diff(times))) if times.size > 1 else 0.0
    if not times[-1] >= found.count * found.seconds - 1.5 * spacing:
        reached = int(times[-1] // found.seconds) + 1
        raise InputError(
            f"recording: cycle {reached} of {found.count}",
            f"{times[-1]:g} s recorded",
            f"{found.count * found.seconds:g} s: the recording is truncated",
        )
    return found


def finite(recording: xr.Dataset, name: str) -> xr.DataArray:
    """The variable `name`, refused with its first bad time where it is missing or not finite."""
    if name not in recording:
        raise InputError("recording", ", ".join(map(str, recording.data_vars)), f"a variable named {name}")
    data = recording[name]
    others = tuple(dim for dim in data.dims if dim != "time")
    bad = ~np.isfinite(data).all(others) if others else ~np.isfinite(data)
    if bool(bad.any()):
        first = float(data["time"].values[int(np.argmax(bad.values))])
        where = f"{first:g} s"
        if "cycle_s" in (protocol := attribute(recording, "protocol")):
            where += f" (cycle {int(first // protocol['cycle_s']) + 1})"
        raise InputError(
            f"recording: {name}", f"{int(bad.sum())} rows not finite, from {where}", "finite numbers"
        )
    return data


def at_times(data: xr.DataArray, times: np.ndarray) -> np.ndarray:
    """Values at `times` by linear interpolation in time; shape (len(times), ...)."""
    return data.interp(time=times, kwargs={"fill_value": "extrapolate"}).values
