"""Simulate the macro neuron–astrocyte model."""

import math
from pathlib import Path

import numpy as np
import xarray as xr

from astro_sim.errors import InputError
from astro_sim.macro_equations import MacroState
from astro_sim.macro_parameters import MacroParameters
from astro_sim.macro_recorder import DIVERGED, template
from astro_sim.protocols import Protocol, stp_cycles
from astro_sim.recorder import recorder, recording_of

BACKENDS = ("brian2", "brian2-standalone", "scipy")
DEFAULT_DT = 0.025
DEFAULT_RECORD_DT = 0.5
DEFAULT_AMPLITUDE = (1.0, 0.5, 0.25)
# Longest step, in units of the shortest τ/leak: see docs/decisions/astro_sim.md for the error at each step.
LONGEST_STEP = 2.0


def default_protocol() -> Protocol:
    """Six 45 s cycles with 15 s of input, of another strength for each of three neurons.

    Unequal inputs let one recording show how p_long builds up over the cycles, how p_short falls with the
    distance between processes, and how p_short grows with presynaptic activity.
    """
    return stp_cycles(6, 45.0, 15.0, DEFAULT_AMPLITUDE)


def simulate_macro(
    parameters: MacroParameters | None = None,
    protocol: Protocol | None = None,
    *,
    dt: float = DEFAULT_DT,
    record_dt: float = DEFAULT_RECORD_DT,
    backend: str = "brian2",
    seed: int = 0,
    initial: MacroState | None = None,
    out: str | Path | None = None,
) -> xr.Dataset:
    """Simulate the macro model and return its recording.

    Parameters
    ----------
    parameters : MacroParameters, optional
        Default: three neurons with the project's constants.
    protocol : Protocol, optional
        Input, one column a neuron. Default: `default_protocol`.
    dt : float
        Integration step [s], above 0, at most twice the shortest τ/leak, a divisor of the duration; ``"scipy"``
        chooses its own and does not read it.
    record_dt : float
        Interval of the recording [s], a multiple of `dt`, but for ``"scipy"``.
    backend : str
        ``"brian2"`` (Brian2 equations, fourth-order steps, NumPy), ``"brian2-standalone"`` (the same as a
        compiled program, for small networks and long runs), ``"scipy"`` (the same model, adaptive steps).
    seed : int
        Kept in the recording; the model itself draws no random number.
    initial : MacroState, optional
        State at time 0. Default: rest.
    out : path, optional
        Stream the rows to this NetCDF file as they come, instead of holding them in memory.

    Returns
    -------
    xarray.Dataset
        x (time, neuron); s, p_short, p_long (time, post, pre); time in seconds, from 0 to the end. With
        `out`, opened lazily from the file. A run that diverged or was interrupted (Ctrl-C) ends early: the
        attribute ``stopped`` then gives time, variable and advice.

    Raises
    ------
    InputError
        If an argument is outside its bound, or the protocol has another number of neurons.

    Warns
    -----
    RuntimeWarning
        If the run stopped early.
    """
    parameters, protocol = parameters or MacroParameters(), protocol or default_protocol()
    check_run(parameters, protocol, dt, record_dt, backend)
    initial = initial or MacroState.rest(parameters)
    _check_state(initial, parameters)
    provenance = {"seed": seed, "backend": backend} | ({} if backend == "scipy" else {"dt_s": dt})
    path = Path(out) if out is not None else None
    with recorder(template(parameters, protocol, provenance), path) as rows:
        if backend == "brian2":
            from astro_sim.macro_brian2 import run_brian2

            rows.stopped = run_brian2(parameters, protocol, initial, rows, record_dt, dt)
        elif backend == "brian2-standalone":
            from astro_sim.macro_standalone import run_standalone

            rows.stopped = run_standalone(parameters, protocol, initial, rows, record_dt, dt)
        else:
            from astro_sim.macro_scipy import run_scipy

            rows.stopped = run_scipy(parameters, protocol, initial, rows, record_dt)
    return recording_of(rows, path)


def _check_state(state: MacroState, parameters: MacroParameters) -> None:
    for name, values in vars(state).items():
        shape = parameters.shape if name != "x" else (parameters.n_inputs,)
        if np.shape(values) != shape:
            raise InputError("initial", f"{name} of shape {np.shape(values)}", f"shape {shape}")
        if not (np.abs(values) < DIVERGED).all():
            raise InputError("initial", f"{name} with {np.abs(values).max():g}", f"numbers below {DIVERGED:g}")


def check_run(
    parameters: MacroParameters, protocol: Protocol, dt: float, record_dt: float, backend: str = BACKENDS[0]
) -> None:
    """Refuse a backend, a protocol or times that `simulate_macro` cannot use."""
    if backend not in BACKENDS:
        raise InputError("backend", backend, f"one of {', '.join(BACKENDS)}")
    if protocol.n_neurons != parameters.n_inputs:
        raise InputError("protocol", f"{protocol.n_neurons} inputs", f"{parameters.n_inputs}, one a neuron")
    fastest = max(parameters.rates, key=lambda name: parameters.rates[name])
    longest = LONGEST_STEP / parameters.rates[fastest]
    if not (math.isfinite(record_dt) and 0 < record_dt <= protocol.duration):
        raise InputError("record_dt", record_dt, f"above 0 and at most the protocol's {protocol.duration:g} s")
    if backend == "scipy":
        return
    if not 0 < dt <= longest:
        limit = f"{LONGEST_STEP:g} time constants of the fastest variable, {fastest}"
        raise InputError("dt", dt, f"a step > 0 and <= {longest:g} s, {limit}")
    steps, every = protocol.duration / dt, record_dt / dt
    if abs(steps - round(steps)) > 1e-6:
        raise InputError("dt", dt, f"a divisor of the protocol's {protocol.duration:g} s")
    if every < 0.5 or abs(every - round(every)) > 1e-6:
        raise InputError("record_dt", record_dt, f"a multiple of dt = {dt:g} s")
