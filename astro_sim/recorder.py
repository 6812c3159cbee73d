"""Collect the rows of a run, in memory or streamed to a file."""

import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import psutil
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from astro_sim.provenance import replacing

Array = NDArray[np.float64]
BLOCK_BYTES = 2**22
CHUNK_VALUES = 2**12


class Recorder:
    """Rows and events of one run, kept until a block is full and then appended to a file, if there is one.

    Parameters
    ----------
    template : xarray.Dataset
        A recording without rows: coordinates, attributes and the shape of each variable. A first dimension of
        length 0 is one that grows: ``time``, or one of events.
    file : h5netcdf.File, optional
        Where full blocks go; it holds the template already.
    """

    def __init__(self, template: xr.Dataset, file: h5netcdf.File | None = None) -> None:
        self.template, self._file = template, file
        self.stopped: str | None = None
        growing: dict[str, list[str]] = {}
        for name, variable in template.variables.items():
            if variable.shape[:1] == (0,):
                growing.setdefault(str(variable.dims[0]), []).append(str(name))
        self._growing = growing
        shapes = {name: template[name].shape[1:] for name in growing["time"]}
        row = sum(int(np.prod(shape)) for shape in shapes.values()) * 8
        self._block = {name: np.empty((max(1, BLOCK_BYTES // row), *shape)) for name, shape in shapes.items()}
        self._filled, self._ended = 0, False
        self._kept: dict[str, list[Any]] = {name: [] for names in growing.values() for name in names}

    def add(self, time: float, row: Mapping[str, Array | float]) -> None:
        """Keep a copy of the values `row` at `time` [s], by variable."""
        for name, value in row.items():
            self._block[name][self._filled] = value
        self._block["time"][self._filled] = time
        self._filled += 1
        if self._filled == len(self._block["time"]):
            self.flush()

    def extend(self, times: ArrayLike, rows: Mapping[str, Array]) -> None:
        """Keep many rows at once: arrays whose first dimension is time."""
        self.flush()
        self._keep("time", {"time": np.asarray(times, dtype=float), **rows})

    def events(self, dim: str, values: Mapping[str, Array]) -> None:
        """Append events along the dimension `dim`."""
        if not self._ended:
            self._append(dim, {name: np.array(value) for name, value in values.items()})

    def flush(self) -> None:
        """Close the block of rows kept so far."""
        if self._filled:
            self._keep("time", {name: block[: self._filled].copy() for name, block in self._block.items()})
            self._filled = 0

    def _keep(self, dim: str, rows: Mapping[str, Array]) -> None:
        """Append rows up to the first that is not finite; nothing is kept after it."""
        good = np.ones(len(rows["time"]), dtype=bool)
        for values in rows.values():
            good &= np.isfinite(values.reshape(len(good), -1)).all(axis=1)
        if not good.all():
            first = int(np.argmin(good))
            if not self._ended:
                names = ", ".join(name for name, values in rows.items() if not np.isfinite(values[first]).all())
                reason = f"{names} not finite at {rows['time'][first]:g} s: try a smaller step"
                self.stopped = self.stopped or reason
            rows = {name: values[:first] for name, values in rows.items()}
        if not self._ended:
            self._append(dim, rows)
        self._ended = self._ended or not good.all()

    def _append(self, dim: str, values: Mapping[str, Array]) -> None:
        count = len(next(iter(values.values())))
        if not count:
            return
        if self._file is None:
            for name, value in values.items():
                self._kept[name].append(np.asarray(value))
            return
        start = self._file.dimensions[dim].size
        self._file.resize_dimension(dim, start + count)
        for name, value in values.items():
            self._file.variables[name][start:] = value

    def close(self) -> None:
        """Flush, and note in the recording why it ends early."""
        self.flush()
        if self.stopped:
            self.template.attrs["stopped"] = self.stopped
            if self._file is not None:
                self._file.attrs["stopped"] = self.stopped
            warnings.warn(f"{self.template.attrs['model']} run: {self.stopped}", RuntimeWarning, stacklevel=5)

    def dataset(self) -> xr.Dataset:
        """The rows kept in memory as a recording."""
        template, grown = self.template, {}
        for name, blocks in self._kept.items():
            empty = template[name]
            values = np.concatenate([empty.values, *blocks])
            grown[name] = (empty.dims, values, empty.attrs)
            blocks.clear()
        rest = {name: value for name, value in template.coords.items() if name not in grown}
        variables = {name: value for name, value in grown.items() if name not in template.coords}
        coords = {name: value for name, value in grown.items() if name in template.coords}
        return xr.Dataset(variables, coords=coords | rest, attrs=template.attrs)


@contextmanager
def recorder(template: xr.Dataset, path: Path | None) -> Iterator[Recorder]:
    """A recorder; with a `path`, its file appears there, readable, when the block has ended.

    While it streams, SIGTERM ends the run as Ctrl-C does, so that the file is kept.

    Warns
    -----
    RuntimeWarning
        If the run stopped early.
    """
    if path is None:
        rows = Recorder(template)
        yield rows
        rows.close()
        return
    with replacing(path) as aside, _terminated_as_interrupted():
        template.to_netcdf(aside, engine="h5netcdf", encoding=_encoding(template), unlimited_dims=_unlimited(template))
        with h5netcdf.File(aside, "a") as file:
            rows = Recorder(template, file)
            yield rows
            rows.close()


def recording_of(rows: Recorder, path: Path | None) -> xr.Dataset:
    """What a recorder that has ended holds: in memory, or opened lazily from its file."""
    return rows.dataset() if path is None else xr.open_dataset(path, engine="h5netcdf", decode_times=False)


def _unlimited(template: xr.Dataset) -> list[str]:
    return [str(dim) for dim, size in template.sizes.items() if size == 0]


def _encoding(template: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Compressed chunks of some 4096 values for all that grows."""
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in template.variables.items():
        if variable.shape[:1] == (0,):
            rest = variable.shape[1:]
            rows = max(1, CHUNK_VALUES // int(np.prod(rest)))
            encoding[str(name)] = {"zlib": True, "complevel": 1, "chunksizes": (rows, *rest)}
    return encoding


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Turn SIGTERM into SIGINT, also in a compiled program; only in the main thread, where nobody handles it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(*_: object) -> None:
        for child in psutil.Process().children():
            child.send_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
