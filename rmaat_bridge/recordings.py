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
    """A protocol's repetition: `count` cycles of `seconds` each."""

    count: int
    seconds: float

    @property
    def last(self) -> slice:
        """The last cycle, as a slice of time."""
        return slice((self.count - 1) * self.seconds, self.count * self.seconds)


def attribute(recording: xr.Dataset, name: str) -> dict[str, Any]:
    """A JSON attribute of the recording as a dictionary."""
    try:
        return json.loads(recording.attrs[name])
    except (KeyError, TypeError, json.JSONDecodeError):
        raise InputError(
            f"recording: attribute {name}", recording.attrs.get(name), "the JSON that simulate writes"
        ) from None


def cycles(recording: xr.Dataset, cycle_s: float | None = None) -> Cycles:
    """The STP cycles of a recording: those of its protocol, or as many of `cycle_s` seconds as it holds.

    Raises
    ------
    InputError
        If there are none, or the recording ends before the last of them: the cycle is named.
    """
    times = recording["time"].values
    if cycle_s is not None:
        if not cycle_s > 0:
            raise InputError("cycle_s", cycle_s, "a length > 0 s")
        return Cycles(int(times[-1] / cycle_s + 1e-6), cycle_s)
    protocol = attribute(recording, "protocol")
    try:
        found = Cycles(int(protocol["n_cycles"]), float(protocol["cycle_s"]))
    except KeyError as missing:
        kind = protocol.get("kind")
        raise InputError("recording: protocol", kind, f"STP cycles (it lacks {missing})") from None
    if times[-1] < (found.count - 0.01) * found.seconds:
        raise InputError(
            f"recording: cycle {int(times[-1] // found.seconds) + 1} of {found.count}",
            f"an end at {times[-1]:g} s",
            f"{found.count * found.seconds:g} s: the recording is truncated",
        )
    return found


def finite(recording: xr.Dataset, name: str) -> xr.DataArray:
    """The variable `name`, refused with its first bad time where it is missing or not finite."""
    if name not in recording:
        raise InputError("recording", ", ".join(map(str, recording.data_vars)), f"a variable named {name}")
    data = recording[name]
    good = np.isfinite(data.values).reshape(data.sizes["time"], -1).all(axis=1)
    if not good.all():
        first = float(data["time"].values[int(np.argmin(good))])
        cycle_s = attribute(recording, "protocol").get("cycle_s")
        where = f"{first:g} s" + (f", cycle {int(first // cycle_s) + 1}" if cycle_s else "")
        raise InputError(f"recording: {name}", f"{int((~good).sum())} bad rows, the first at {where}", "finite numbers")
    return data


def at_times(data: xr.DataArray, times: np.ndarray) -> np.ndarray:
    """Values at `times` by linear interpolation in time; shape (len(times), ...)."""
    return data.interp(time=times, kwargs={"fill_value": "extrapolate"}).values
