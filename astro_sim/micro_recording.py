"""Recordings of the biophysical models: variables with units, parameters and provenance in one dataset."""

import json
import warnings
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from astro_sim import provenance
from astro_sim.errors import InputError

# Brian2 gives mol/m³ where a recording says µmol/l.
SI = {"umol/l": 1e-3, "1": 1.0, "s": 1.0, "V": 1.0}


class Variable(NamedTuple):
    """A model variable (`source`) and how a recording calls it."""

    source: str
    name: str
    unit: str
    long_name: str


CALCIUM = Variable("C", "calcium", "umol/l", "cytosolic calcium of the astrocyte")
IP3 = Variable("I", "ip3", "umol/l", "inositol 1,4,5-trisphosphate of the astrocyte")
GATE = Variable("h", "h", "1", "fraction of store channels not inactivated")


def recorded(variables: tuple[Variable, ...], values: dict[str, Any], dim: str) -> dict[str, Any]:
    """(dims, values, attrs) of each variable, from arrays of shape (time, `dim`) named by their source."""
    return {
        item.name: (("time", dim), values[item.source], {"units": item.unit, "long_name": item.long_name})
        for item in variables
    }


def check_times(duration: float, dt: float, record_dt: float) -> None:
    """Refuse times that are not positive, and a recording interval that is no multiple of the step."""
    for name, value in (("duration", duration), ("dt", dt), ("record_dt", record_dt)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(name, value, "a positive time in seconds")
    if record_dt < dt or abs(record_dt / dt - round(record_dt / dt)) > 1e-6:
        raise InputError("record_dt", record_dt, f"a multiple of the step of {dt:g} s")


def micro_dataset(
    model: str,
    time: ArrayLike,
    variables: dict[str, Any],
    coords: dict[str, Any],
    parameters: Any,
    protocol: dict[str, Any],
    stopped: str | None = None,
    **settings: Any,
) -> xr.Dataset:
    """A recording whose `parameters` are a dataclass; a run that `stopped` early warns, and keeps the reason.

    Only rows before the first in which a variable is not finite are kept.
    """
    dataset = xr.Dataset(
        variables,
        coords={
            "time": ("time", np.asarray(time, dtype=float), {"units": "s", "long_name": "time"}),
            **coords,
        },
        attrs={
            "Conventions": "CF-1.11",
            "model": model,
            "parameters": json.dumps(asdict(parameters)),
            "protocol": json.dumps(protocol),
            "versions": json.dumps(provenance.versions()),
            "created": provenance.timestamp(),
            **settings,
        },
    )
    good = np.ones(dataset.sizes["time"], dtype=bool)
    for variable in dataset.data_vars.values():
        if variable.dims[0] == "time":
            good &= np.isfinite(variable.values.reshape(len(good), -1)).all(axis=1)
    if not good.all():
        last = int(np.argmin(good))
        stopped = stopped or f"not finite after {dataset.time.values[last]:g} s: try a smaller step"
        dataset = dataset.isel(time=slice(0, last))
    if stopped:
        dataset.attrs["stopped"] = stopped
        warnings.warn(f"{model} run: {stopped}", RuntimeWarning, stacklevel=3)
    return dataset
