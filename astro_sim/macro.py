"""Run the macro neuron–astrocyte model."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from astro_sim.errors import InputError
from astro_sim.macro_equations import MacroState, coupling_of, equations, right_hand_side
from astro_sim.macro_parameters import MacroParameters
from astro_sim.protocols import Protocol, stp_cycles
from astro_sim.recording import macro_dataset

Array = NDArray[np.float64]
BACKENDS = ("brian2", "scipy")
DEFAULT_AMPLITUDE = (1.0, 0.5, 0.25)


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
    dt: float = 0.02,
    record_dt: float = 0.5,
    backend: str = "brian2",
    seed: int = 0,
    initial: MacroState | None = None,
) -> xr.Dataset:
    """Simulate the macro model and return its recording.

    Parameters
    ----------
    parameters : MacroParameters, optional
        Default: three neurons with the project's constants.
    protocol : Protocol, optional
        Input, one column a neuron. Default: `default_protocol`.
    dt : float
        Integration step [s], above 0 (``"scipy"`` chooses its own).
    record_dt : float
        Interval of the recording [s], a multiple of `dt`.
    backend : str
        ``"brian2"`` (equations in Brian2, fourth order) or ``"scipy"`` (the same right-hand side, LSODA).
    seed : int
        Kept in the recording; the model itself draws no random number.
    initial : MacroState, optional
        State at time 0. Default: rest.

    Returns
    -------
    xarray.Dataset
        x (time, neuron); s, p_short, p_long (time, post, pre); time in seconds, from 0 to the end.

    Raises
    ------
    InputError
        If an argument is outside its bound, or the protocol has another number of neurons.
    """
    parameters, protocol = parameters or MacroParameters(), protocol or default_protocol()
    if protocol.n_neurons != parameters.n_neurons:
        raise InputError("protocol", f"{protocol.n_neurons} inputs", f"{parameters.n_neurons}, one a neuron")
    if backend not in BACKENDS:
        raise InputError("backend", backend, f"one of {', '.join(BACKENDS)}")
    if not dt > 0:
        raise InputError("dt", dt, "a step > 0 s")
    if record_dt < dt or abs(record_dt / dt - round(record_dt / dt)) > 1e-9:
        raise InputError("record_dt", record_dt, f"a multiple of dt = {dt} s")
    initial = initial or MacroState.zeros(parameters.n_neurons)
    run = {"brian2": _run_brian2, "scipy": _run_scipy}[backend]
    times = np.arange(round(protocol.duration / record_dt) + 1) * record_dt
    variables = run(parameters, protocol, initial, times, dt, record_dt)
    provenance: dict[str, Any] = {"seed": seed, "dt_s": dt, "backend": backend}
    return macro_dataset(times, variables, parameters, protocol, provenance)


def _run_scipy(
    parameters: MacroParameters, protocol: Protocol, initial: MacroState, times: Array, dt: float, record_dt: float
) -> dict[str, Array]:
    derivative, y = right_hand_side(parameters), initial.pack()
    rows = np.empty((len(times), len(y)))
    ends = np.append(protocol.edges[1:], protocol.duration)
    for start, end, b in zip(protocol.edges, ends, protocol.values, strict=True):
        here = (times >= start - 1e-9) & (times < end - 1e-9)
        points = np.append(np.clip(times[here], start, None), end)
        solution = solve_ivp(
            lambda _, y, b=b: derivative(y, b), (start, end), y, "LSODA", points, rtol=1e-10, atol=1e-12
        )
        rows[here], y = solution.y.T[:-1], solution.y[:, -1]
    rows[-1] = y
    n = parameters.n_neurons
    return {
        "x": rows[:, :n],
        **{
            name: rows[:, n + k * n * n : n + (k + 1) * n * n].reshape(-1, n, n)
            for k, name in enumerate(("s", "p_short", "p_long"))
        },
    }


def _run_brian2(
    parameters: MacroParameters, protocol: Protocol, initial: MacroState, times: Array, dt: float, record_dt: float
) -> dict[str, Array]:
    import brian2 as b2
    from dataclasses import asdict

    n, second = parameters.n_neurons, b2.second
    coupling = coupling_of(parameters)

    def grid_function(act: Any) -> Any:
        return b2.Function(
            lambda u: act(np.broadcast_to(u, n * n).reshape(n, n)).ravel(), arg_units=[1], return_unit=1
        )

    namespace = {
        name: value * second if name.startswith("tau") else value
        for name, value in asdict(parameters).items()
        if isinstance(value, float)
    }
    namespace |= {
        "presynaptic": grid_function(np.transpose),
        "over_presynaptic": grid_function(lambda u: np.repeat(u.sum(axis=1), n).reshape(n, n)),
        "transport": grid_function(coupling.apply),
        "stimulus": b2.TimedArray(protocol.step_means(dt), dt=dt * second),
        "n": n,
    }
    group = b2.NeuronGroup(
        n * n, equations(parameters), method="rk4", dt=dt * second, namespace=namespace, codeobj_class=b2.NumpyCodeObject
    )
    group.run_regularly("b = stimulus(t, i // n)", dt=dt * second, when="start", codeobj_class=b2.NumpyCodeObject)
    group.x = np.repeat(initial.x, n)
    group.s, group.p_short, group.p_long = (v.ravel() for v in (initial.s, initial.p_short, initial.p_long))
    rows = {name: np.empty((len(times), n * n)) for name in ("x", "s", "p_short", "p_long")}
    every = round(record_dt / dt)

    @b2.network_operation(dt=record_dt * second, when="start", order=-1)
    def record(t: Any) -> None:
        for name, values in rows.items():
            values[round(float(t / second) / record_dt)] = getattr(group, f"{name}_")[:]

    network = b2.Network(group, record)
    network.run(protocol.duration * second)
    for name, values in rows.items():
        values[-1] = getattr(group, f"{name}_")[:]
    return {
        "x": rows["x"][:, ::n],
        **{name: rows[name].reshape(-1, n, n) for name in ("s", "p_short", "p_long")},
    }
