"""Simulations over a grid or a Latin hypercube of parameters, on Dask, into one dataset; restartable."""

import itertools
import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import qmc

from astro_sim.errors import InputError
from astro_sim.experiment import Experiment
from astro_sim.provenance import code_sha256, timestamp, versions
from astro_sim.recording import save_recording
from astro_sim.settings import quantity


@dataclass(frozen=True)
class Sweep:
    """Simulations that differ in some settings.

    Parameters
    ----------
    base : Experiment
        What all have in common.
    points : tuple of mapping
        Settings of each simulation on top of the base, as text; the same names in all.
    """

    base: Experiment
    points: tuple[Mapping[str, str], ...]

    @classmethod
    def grid(cls, base: Experiment, over: Mapping[str, str]) -> "Sweep":
        """Every combination of values, given as ``{"tau_p_long": "100s,300s"}``.

        Raises
        ------
        InputError
            If a parameter has no value.
        """
        values = {name: [part.strip() for part in text.split(",")] for name, text in over.items()}
        for name, parts in values.items():
            if not all(parts) or ":" in over[name]:
                raise InputError(name, over[name], "values, as in 100s,300s")
        if not values:
            raise InputError("over", "nothing", "at least one NAME=VALUES")
        points = (dict(zip(values, point, strict=True)) for point in itertools.product(*values.values()))
        return cls(base, tuple(points))

    @classmethod
    def latin_hypercube(cls, base: Experiment, over: Mapping[str, str], samples: int) -> "Sweep":
        """A Latin hypercube of `samples` points over ranges, given as ``{"tau_p_long": "100:300 s"}``.

        The base's seed fixes the points.

        Raises
        ------
        InputError
            If a range is not two rising numbers with a common unit, or there are no samples.
        """
        if samples < 1:
            raise InputError("samples", samples, "a whole number >= 1")
        if not over:
            raise InputError("over", "nothing", "at least one NAME=LOW:HIGH")
        lows, highs, units = [], [], []
        for name, text in over.items():
            low, _, rest = text.partition(":")
            high, _, unit = rest.strip().partition(" ")
            try:
                lows.append(float(low))
                highs.append(float(high))
            except ValueError:
                raise InputError(name, text, "a range, as in 100:300 s") from None
            if not lows[-1] < highs[-1]:
                raise InputError(name, text, "a range that rises, as in 100:300 s")
            units.append(unit)
        unit_cube = qmc.LatinHypercube(len(over), rng=np.random.default_rng(base.seed)).random(samples)
        rows = qmc.scale(unit_cube, lows, highs)
        points = (
            {name: f"{value:.12g} {unit}".strip() for name, value, unit in zip(over, row, units, strict=True)}
            for row in rows
        )
        return cls(base, tuple(points))

    def experiment(self, point: Mapping[str, str]) -> Experiment:
        """The simulation of one point."""
        return replace(self.base, settings=dict(self.base.settings) | dict(point))

    def run(
        self,
        out: str | Path,
        *,
        workers: int = 2,
        scheduler: str | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Path:
        """Simulate every point that is not there yet and write one dataset.

        Each finished point lies in the folder ``<out>.parts`` until all are done: a sweep that was killed and
        is started again simulates only what is missing. Parts of another version of the code are not used.

        Parameters
        ----------
        out : path
            NetCDF file: the recordings along a dimension ``point``, the sweep's parameters as coordinates,
            numbers in each parameter's own unit (attribute ``units``). An initial state has the name of the variable
            that is recorded: its coordinate is ``initial_NAME``.
        workers : int
            Processes of the local cluster.
        scheduler : str, optional
            Address of a running Dask scheduler, in place of a local cluster. Its workers need this package, and
            Brian2 in their main thread: ``dask worker ADDRESS --nthreads 1 --preload brian2``.
        progress : callable
            Told (done, total) after each point.

        Raises
        ------
        InputError
            If a setting of a point cannot be used, or there is no scheduler. What `Experiment.prepare` can tell is
            told before anything is simulated, the rest (spike trains, trials) by the first point that fails.
        """
        from distributed import LocalCluster, as_completed

        for point in self.points:
            self.experiment(point).prepare()
        out = Path(out)
        if out.exists() and not out.is_file():
            raise InputError("output", str(out), "the path of a file; there is a folder or a device")
        parts = out.with_name(out.name + ".parts")
        parts.mkdir(parents=True, exist_ok=True)
        paths = [parts / f"{_key(self.experiment(point))}.nc" for point in self.points]
        missing = {path: point for path, point in zip(paths, self.points, strict=True) if not path.exists()}
        progress(len(paths) - len(missing), len(paths))
        if missing:
            local = (
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    dashboard_address=None,
                    preload="brian2",  # which can be imported in the main thread only
                    silence_logs="ERROR",
                )
                if scheduler is None
                else nullcontext(scheduler)
            )
            with local as cluster, _connected(cluster) as client:
                futures = {
                    client.submit(Experiment.run, self.experiment(point), pure=False): path
                    for path, point in missing.items()
                }
                for future in as_completed(futures):
                    save_recording(future.result(), futures[future], level=0)
                    progress(sum(path.exists() for path in paths), len(paths))
        path = save_recording(self._together(paths), out)
        for part in paths:
            part.unlink(missing_ok=True)  # one point twice has one part
        with suppress(OSError):  # it holds the parts of another sweep, or somebody's files
            parts.rmdir()
        return path

    def _together(self, paths: list[Path]) -> xr.Dataset:
        runs = [xr.load_dataset(path, engine="h5netcdf", decode_times=False) for path in paths]
        events = sorted({str(dim) for run in runs for dim in run.dims if dim not in run.coords})
        numbered = [run.assign_coords({dim: np.arange(run.sizes[dim]) for dim in events}) for run in runs]
        together = xr.concat(numbered, "point", data_vars="all", join="outer", combine_attrs="drop_conflicts")
        together = together.drop_vars(events)  # of which runs have different numbers: NaN behind the last of each
        names = {name: f"initial_{name}" if name in together.data_vars else name for name in self.points[0]}
        for name, coordinate in names.items():
            together[coordinate] = _column(name, [point[name] for point in self.points], self.base.unit(name))
        together["stopped"] = ("point", [run.attrs.get("stopped", "") for run in runs])
        common = asdict(self.base) | {"settings": dict(self.base.settings)}
        provenance = {"sweep": json.dumps(common), "versions": json.dumps(versions()), "created": timestamp()}
        return together.set_coords([*names.values(), "stopped"]).assign_attrs(provenance)


def _connected(cluster: Any) -> Any:
    """A client of a cluster, or of the scheduler at an address."""
    from distributed import Client

    try:
        return Client(cluster)
    except (OSError, ValueError) as error:
        if not isinstance(cluster, str):
            raise
        raise InputError("--scheduler", cluster, f"the address of a running Dask scheduler ({error})") from None


def _column(name: str, texts: list[str], unit: str) -> tuple[str, list[float] | list[str], dict[str, str]]:
    """The values of a parameter as a coordinate: numbers in `unit`, or texts where it is no number."""
    try:
        return "point", [quantity(name, text, unit) for text in texts], {"units": unit}
    except InputError:
        return "point", texts, {}


def _key(experiment: Experiment) -> str:
    """A name for the simulation: the hash of what decides its result, the code included."""
    decisive = {"experiment": asdict(experiment), "code": code_sha256(), "versions": versions()}
    return sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:20]
