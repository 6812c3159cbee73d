"""A simulation named by model, preset and settings: what the command line and the sweeps run."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from astro_sim import protocols
from astro_sim.brian_backend import BACKENDS
from astro_sim.errors import InputError
from astro_sim.macro import DEFAULT_DT, DEFAULT_RECORD_DT, check_run, default_protocol, simulate_macro
from astro_sim.macro_parameters import MacroParameters
from astro_sim.micro_recording import check_times
from astro_sim.settings import arguments, override, unit_in

FLAGS = ("model", "preset", "backend", "seed", "out")  # of the command line, not settings
PYTHON_ONLY = ("parameters", "initial", "patterns", "synapse", "astrocyte", "gliotransmission")
MODELS = ("macro", "tripartite", "ring", "network", "self-repair", "working-memory")
MACRO_PRESETS: dict[str, dict[str, str]] = {
    "demo": {},
    "equal-distances": {"border": "periodic", "amplitude": "1,1,1"},
    "graded-distances": {"border": "open", "amplitude": "1,1,1"},
    "point-drive": {"n_neurons": "9", "amplitude": "1,0,0,0,0,0,0,0,0"},
    "sheet": {"n_neurons": "16", "layout": "sheet", "coupling": "0.02"},
    "slow-ltp": {"tau_p_long": "300s"},
}
# Where the other models are: model -> (module, function).
MICRO = {
    "tripartite": ("tripartite", "simulate_tripartite"),
    "ring": ("gap_junctions", "simulate_ring"),
    "network": ("network", "simulate_network"),
    "self-repair": ("self_repair", "simulate_self_repair"),
    "working-memory": ("working_memory", "simulate_working_memory"),
}


@dataclass(frozen=True)
class Experiment:
    """One simulation to run.

    Parameters
    ----------
    model : str
        One of `MODELS`.
    preset : str, optional
        Named settings of the model; `presets` lists them.
    settings : mapping
        Parameters of the model, of its protocol and of the run by name, as text with units. A macro protocol
        other than STP cycles is named by ``protocol``: poisson, ramp, spike_times (``times_s=1,2;0.5,3``: the
        neurons apart by semicolons) or array (``values=1,0;0,1``: the intervals apart by semicolons).
    backend : str
        As in the model's own function.
    seed : int
        Seed of every random number.
    """

    model: str = "macro"
    preset: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    backend: str = "brian2"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError("model", self.model, f"one of {', '.join(MODELS)}")
        if self.preset is not None and self.preset not in presets(self.model):
            raise InputError("preset", self.preset, f"one of {', '.join(presets(self.model))}")

    def run(self, out: str | Path | None = None) -> xr.Dataset:
        """Simulate, the rows streamed to `out`, where given."""
        return self.prepare(out)()

    def prepare(self, out: str | Path | None = None) -> Callable[[], xr.Dataset]:
        """Read the settings, and return the simulation to run.

        Raises
        ------
        InputError
            If a setting is unknown or cannot be used.
        """
        for name, text in self.settings.items():
            if name in FLAGS:
                raise InputError(f"--set {name}", text, f"the flag --{name}")
            if name in PYTHON_ONLY:
                raise InputError(f"--set {name}", text, "nothing: it is given from Python only")
        return self._prepare_macro(out) if self.model == "macro" else self._prepare_micro(out)

    def unit(self, name: str) -> str:
        """The unit in which the number of a setting is kept."""
        if self.model == "macro":
            return unit_in(MacroParameters(), name)
        return unit_in(next(iter(presets(self.model).values())), name)

    def _prepare_macro(self, out: str | Path | None) -> Callable[[], xr.Dataset]:
        settings = MACRO_PRESETS[self.preset or "demo"] | dict(self.settings)
        parameters, settings = override(MacroParameters(), settings)
        protocol, settings = _macro_protocol(parameters.n_inputs, settings, self.seed)
        run, settings = arguments(simulate_macro, settings)
        _refuse(settings)
        run = {"dt": DEFAULT_DT, "record_dt": DEFAULT_RECORD_DT} | run
        check_run(parameters, protocol, run["dt"], run["record_dt"], self.backend)
        run |= {"backend": self.backend, "seed": self.seed, "out": out}
        return partial(simulate_macro, parameters, protocol, **run)

    def _prepare_micro(self, out: str | Path | None) -> Callable[[], xr.Dataset]:
        module, function = MICRO[self.model]
        simulate = getattr(importlib.import_module(f"astro_sim.{module}"), function)
        run, settings = arguments(simulate, self.settings)
        if "spike_times" in run:
            run["spike_times"] = _rows(run["spike_times"])
        preset = presets(self.model)
        model, settings = override(preset[self.preset or next(iter(preset))], settings)
        _refuse(settings)
        if self.backend not in (known := BACKENDS + ("scipy",) * (self.model == "tripartite")):
            raise InputError("backend", self.backend, f"one of {', '.join(known)}")
        usual = inspect.signature(simulate).parameters
        duration, dt, record_dt = (run.get(name, usual[name].default) for name in ("duration", "dt", "record_dt"))
        model.check_step(dt)
        check_times(duration, dt, record_dt)
        if "astrocyte_dt" in usual:
            astrocyte_dt = run.get("astrocyte_dt", usual["astrocyte_dt"].default)
            model.check_astrocyte_step(astrocyte_dt)
            check_times(duration, astrocyte_dt, record_dt, "astrocyte_dt")
        return partial(simulate, model=model, **run, backend=self.backend, seed=self.seed, out=out)


def presets(model: str) -> dict[str, Any]:
    """The named presets of a model."""
    if model == "macro":
        return MACRO_PRESETS
    from astro_sim.presets import PRESETS

    return PRESETS[model]


def _macro_protocol(n_inputs: int, settings: Mapping[str, str], seed: int) -> tuple[protocols.Protocol, dict[str, str]]:
    """The protocol that `settings` describe, with defaults for any number of neurons."""
    left = dict(settings)
    kind = left.pop("protocol", "stp_cycles")
    usual = np.geomspace(1, 0.25, n_inputs) if n_inputs > 1 else np.ones(1)
    defaults: dict[str, dict[str, Any]] = {
        "stp_cycles": default_protocol().description | {"amplitude": usual},
        "poisson": {"rate_hz": np.geomspace(4, 0.5, n_inputs), "duration_s": 60.0, "amplitude": 1.0},
        "ramp": {"duration_s": 60.0, "start": np.zeros(n_inputs), "stop": usual},
        "spike_times": {"duration_s": 60.0, "amplitude": 1.0},
        "array": {"interval_s": 1.0},
    }
    if kind not in defaults:
        raise InputError("protocol", kind, f"one of {', '.join(defaults)}")
    make = getattr(protocols, kind)
    given, left = arguments(make, left)
    for table in {"times_s", "values"} & given.keys():
        given[table] = _rows(given[table])
    known = inspect.signature(make).parameters
    given = defaults[kind] | given | ({"seed": seed} if "seed" in known else {})
    for name, parameter in known.items():
        if name not in given and parameter.default is parameter.empty:
            raise InputError(f"--set {name}", "nothing", "one row a neuron or interval, as in 1,2;0.5,3")
    return make(**given), left


def _rows(table: tuple[Any, ...]) -> tuple[Any, ...]:
    """The rows of a table: times of each neuron or synapse, inputs of each interval; a single row is that of one."""
    return table if isinstance(table[0], tuple) else (table,)


def _refuse(settings: Mapping[str, str]) -> None:
    for name, text in settings.items():
        raise InputError(f"--set {name}", text, "a parameter of the model, its protocol or its run")
