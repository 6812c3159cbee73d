"""What the fits take from a recording, with a refusal that names the variable or the cycle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.integrate import simpson

from astro_sim.errors import InputError
from astro_sim.functions import FUNCTIONS

ROUNDING = 1e-6  # of a cycle: times this near to each other are the same


@dataclass(frozen=True)
class Cycles:
    """A protocol's repetition: `count` cycles of `seconds` each, the input on for the first `on` of them."""

    count: int
    seconds: float
    on: float = 0.0

    @property
    def last(self) -> slice:
        """The last cycle, as a slice of time, with its two ends."""
        rounding = ROUNDING * self.seconds
        return slice((self.count - 1) * self.seconds - rounding, self.count * self.seconds + rounding)


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
        If there are none, or the recording ends before the last of them: the cycle is named; or if it has no row where
        a cycle of the protocol, or the input of the last one, ends: p_long and s have a kink there.
    """
    times = recording["time"].values
    if cycle_s is not None:
        if len(times) < 2:
            raise InputError("recording: times", len(times), "at least 2, an interval")
        shortest = 2 * float(np.diff(times).max())
        if not shortest <= cycle_s <= times[-1]:
            allowed = f"at least two recorded intervals, {shortest:g} s, and at most the recording, {times[-1]:g} s"
            raise InputError("cycle_s", cycle_s, allowed)
        return Cycles(int(times[-1] / cycle_s + 1e-6), cycle_s)
    protocol = attribute(recording, "protocol")
    try:
        found = Cycles(int(protocol["n_cycles"]), float(protocol["cycle_s"]), float(protocol.get("on_s", 0)))
    except KeyError as missing:
        kind = protocol.get("kind")
        raise InputError("recording: protocol", kind, f"STP cycles (it lacks {missing})") from None
    if times[-1] < (found.count - 0.01) * found.seconds:
        raise InputError(
            f"recording: cycle {int(times[-1] // found.seconds) + 1} of {found.count}",
            f"an end at {times[-1]:g} s",
            f"{found.count * found.seconds:g} s: the recording is truncated",
        )
    kinks = [*(found.seconds * np.arange(found.count + 1)), (found.count - 1) * found.seconds + found.on]
    for kink in kinks:
        if abs(times - kink).min() > ROUNDING * found.seconds:
            interval, ends = float(np.diff(times).max()), f"cycle_s = {found.seconds:g} s and on_s = {found.on:g} s"
            raise InputError("recording: record_dt", f"{interval:g} s", f"a divisor of {ends}, where the input jumps")
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


def last_cycle_mean(data: xr.DataArray, rhythm: Cycles) -> np.ndarray:
    """Time mean over the last cycle by Simpson's rule, on either side of the kink where the input ends."""
    last = data.sel(time=rhythm.last)
    times = last["time"].values
    kink = int(abs(times - (times[0] + rhythm.on)).argmin())
    parts = (last[: kink + 1], last[kink:])
    integral = sum(simpson(part.values, x=part["time"].values, axis=0) for part in parts)
    return integral / float(last["time"][-1] - last["time"][0])


def activities(recording: xr.Dataset, rhythm: Cycles) -> tuple[np.ndarray, np.ndarray]:
    """theta(x) of the post- and of the presynaptic neurons over the last cycle, shapes (time, post), (time, pre).

    In a recurrent network they are the same neurons; a feed-forward one lists the presynaptic neurons first.
    """
    theta = FUNCTIONS[attribute(recording, "parameters")["theta"]].value
    active = theta(finite(recording, "x").sel(time=rhythm.last).values)
    return active[:, -recording.sizes["post"] :], active[:, : recording.sizes["pre"]]
