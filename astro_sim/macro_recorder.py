"""Collect the rows of a macro run, in memory or streamed to a file, and stop a run that diverges."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from astro_sim.macro_equations import MacroState
from astro_sim.macro_parameters import MacroParameters
from astro_sim.protocols import Protocol
from astro_sim.provenance import replacing, timestamp, versions
from astro_sim.recording import REQUIRED

Array = NDArray[np.float64]
LONG_NAMES = {
    "x": "neuronal state",
    "s": "synaptic strength",
    "p_short": "short-term astrocytic process (STP)",
    "p_long": "long-term astrocytic process (LTP)",
}
DIVERGED = 1e12
BLOCK_BYTES = 2**22
CHUNK_VALUES = 2**12


class Recorder:
    """Rows of one run, kept until a block is full and then appended to a file, if there is one.

    Parameters
    ----------
    template : xarray.Dataset
        A recording without rows: coordinates, attributes and the shape of each variable.
    file : h5netcdf.File, optional
        Where full blocks go; it holds the template already.
    """

    def __init__(self, template: xr.Dataset, file: h5netcdf.File | None = None) -> None:
        self._template, self._file = template, file
        self._times: list[float] = []
        self._rows: list[MacroState] = []
        row = sum(int(np.prod(template[name].shape[1:])) for name in LONG_NAMES) * 8
        self._block = max(1, BLOCK_BYTES // row)

    def add(self, time: float, state: MacroState) -> str | None:
        """Keep a copy of `state` at `time` [s]; say why the run has to stop, if it has diverged."""
        if reason := divergence(time, state):
            return reason
        self._times.append(time)
        self._rows.append(MacroState(*(getattr(state, name).copy() for name in LONG_NAMES)))
        if self._file is not None and len(self._rows) >= self._block:
            self.flush()
        return None

    def flush(self) -> None:
        """Append the rows kept so far to the file."""
        if self._file is None or not self._rows:
            return
        start = self._file.dimensions["time"].size
        self._file.resize_dimension("time", start + len(self._rows))
        self._file.variables["time"][start:] = np.array(self._times)
        for name in LONG_NAMES:
            self._file.variables[name][start:] = np.stack([getattr(row, name) for row in self._rows])
        self._times.clear()
        self._rows.clear()

    def stopped(self, reason: str) -> None:
        """Note in the recording why it ends early."""
        self._template.attrs["stopped"] = reason
        if self._file is not None:
            self._file.attrs["stopped"] = reason

    def dataset(self) -> xr.Dataset:
        """The rows kept in memory as a recording."""
        template = self._template
        variables = {}
        for name in LONG_NAMES:
            values = np.stack([getattr(row, name) for row in self._rows])
            variables[name] = (template[name].dims, values, template[name].attrs)
        coords = {name: value for name, value in template.coords.items() if name != "time"}
        time = ("time", np.array(self._times), template["time"].attrs)
        return xr.Dataset(variables, coords={"time": time, **coords}, attrs=template.attrs)


def divergence(time: float, state: MacroState) -> str | None:
    """Which variable has diverged at `time` [s], and what to do, if one has."""
    for name in LONG_NAMES:
        if not np.abs(getattr(state, name)).max() < DIVERGED:
            return f"{name} diverged at {time:g} s: try a smaller step, or less coupling, drive or gain"
    return None


@contextmanager
def recorder(template: xr.Dataset, path: Path | None) -> Iterator[Recorder]:
    """A recorder; with a `path`, its file appears there, readable, when the block has ended."""
    if path is None:
        yield Recorder(template)
        return
    with replacing(path) as aside:
        encoding: dict[str, dict[str, Any]] = {"time": {"chunksizes": (4096,)}}
        for name in LONG_NAMES:
            grid = template[name].shape[1:]
            rows_a_chunk = max(1, CHUNK_VALUES // int(np.prod(grid)))
            encoding[name] = {"zlib": True, "complevel": 1, "chunksizes": (rows_a_chunk, *grid)}
        template.to_netcdf(aside, engine="h5netcdf", encoding=encoding, unlimited_dims=["time"])
        with h5netcdf.File(aside, "a") as file:
            rows = Recorder(template, file)
            yield rows
            rows.flush()


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
