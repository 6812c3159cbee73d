"""Recordings of the biophysical models: variables with units, parameters and provenance in one dataset."""

import json
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from astro_sim import provenance
from astro_sim.errors import InputError

# Brian2 gives mol/m³ where a recording says µmol/l.
SI = {"umol/l": 1e-3, "1": 1.0, "percent": 1.0, "s": 1.0, "V": 1.0}


class Variable(NamedTuple):
    """A model variable (`source`) and how a recording calls it."""

    source: str
    name: str
    unit: str
    long_name: str


CALCIUM = Variable("C", "calcium", "umol/l", "cytosolic calcium of the astrocyte")
IP3 = Variable("I", "ip3", "umol/l", "inositol 1,4,5-trisphosphate of the astrocyte")
GATE = Variable("h", "h", "1", "fraction of store channels not inactivated")


def check_times(duration: float, dt: float, record_dt: float, step: str = "dt") -> None:
    """Refuse times that are not positive, and a recording interval that is no multiple of the step, called `step`.

    Nor may the interval be longer than the run: a recording then has its start alone.
    """
    for name, value in (("duration", duration), (step, dt), ("record_dt", record_dt)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(name, value, "a positive time in seconds")
    if record_dt < dt or abs(record_dt / dt - round(record_dt / dt)) > 1e-6:
        raise InputError("record_dt", record_dt, f"a multiple of the step of {dt:g} s")
    if record_dt > duration:
        raise InputError("record_dt", record_dt, f"at most {duration:g} s, the length of what is recorded")


def micro_template(
    model: str,
    variables: tuple[Variable, ...],
    dim: str,
    coords: dict[str, Any],
    parameters: Any,
    protocol: dict[str, Any],
    **settings: Any,
) -> xr.Dataset:
    """A recording without rows, whose `parameters` are a dataclass.

    Parameters
    ----------
    dim : str
        The second dimension of `variables`; the first is time.
    coords : dict
        Coordinates by name, of the form (dim, values, attributes).
    settings
        Further attributes.
    """
    size = len(coords[dim][1])
    return xr.Dataset(
        {
            item.name: (("time", dim), np.empty((0, size)), {"units": item.unit, "long_name": item.long_name})
            for item in variables
        },
        coords={"time": ("time", np.empty(0), {"units": "s", "long_name": "time"}), **coords},
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
