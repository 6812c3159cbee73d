"""Run the macro model in Brian2's NumPy target: whole-grid operations, no compiler needed."""

import math
from collections.abc import Callable
from dataclasses import fields
from itertools import count
from typing import Any

import brian2 as b2
import numpy as np
from numpy.typing import NDArray

from astro_sim.exponential_rk4 import Leak, exponential_rk4
from astro_sim.macro_equations import MacroState, equations
from astro_sim.macro_parameters import MacroParameters
from astro_sim.macro_recorder import divergence
from astro_sim.protocols import Protocol
from astro_sim.recorder import Recorder

Array = NDArray[np.float64]


def constants(parameters: MacroParameters) -> dict[str, Any]:
    """The numbers of `parameters` by name, time constants as Brian2 quantities."""
    numbers = {item.name: getattr(parameters, item.name) for item in fields(parameters) if "unit" in item.metadata}
    return {name: value * b2.second if name.startswith("tau") else value for name, value in numbers.items()}


def leaks(parameters: MacroParameters) -> dict[str, Leak]:
    """The linear decay of each variable of the equations."""
    found = {name: Leak(f"leak_{name}", rate) for name, rate in parameters.rates.items()}
    return found | ({"y": found["x"]} if parameters.n_pre else {})


def whole_group(act: Callable[[Array], Array]) -> b2.Function:
    """A Brian2 function that maps the values of all units of the group at once."""
    function = b2.Function(act, arg_units=[1], return_unit=1)
    function.implementations.add_implementation("numpy", act)
    return function


def run_brian2(
    parameters: MacroParameters,
    protocol: Protocol,
    initial: MacroState,
    rows: Recorder,
    record_dt: float,
    dt: float,
) -> str | None:
    """Step the model with `exponential_rk4`; the reason if the run stopped early."""
    shape, (n_post, n_pre) = parameters.shape, parameters.shape
    transport, ones = parameters.transport.apply, np.ones(n_pre)
    group = b2.NeuronGroup(
        n_post * n_pre,
        equations(parameters),
        method=exponential_rk4(leaks(parameters), dt),
        dt=dt * b2.second,
        namespace=constants(parameters)
        | {
            "presynaptic": whole_group(lambda u: u.reshape(shape).T.ravel()),
            "over_presynaptic": whole_group(lambda u: u.reshape(shape).dot(ones).repeat(n_pre)),
            "transport": whole_group(lambda u: transport(u.reshape(shape)).ravel()),
        },
        codeobj_class=b2.NumpyCodeObject,
    )
    if parameters.n_pre:
        group.y = np.tile(initial.x[:n_pre], n_post)
    group.x = np.repeat(initial.x[-n_post:], n_pre)
    group.s, group.p_short, group.p_long = (v.ravel() for v in (initial.s, initial.p_short, initial.p_long))
    network, reasons = b2.Network(), list[str]()
    held = {name: group.variables[name].get_value().reshape(shape) for name in ("b", "b_y") if name in group.variables}
    steps, changes = count(), protocol.changes(dt)
    change: tuple[float, Array] = next(changes)

    def stimulate() -> None:
        nonlocal change
        if next(steps) == change[0]:
            held["b"][:] = change[1][-n_post:, None]
            if "b_y" in held:
                held["b_y"][:] = change[1][:n_pre]
            change = next(changes, (math.inf, change[1]))

    def record(time: float) -> None:
        processes = (getattr(group, f"{name}_")[:].reshape(shape) for name in ("s", "p_short", "p_long"))
        x = group.x_[::n_pre]
        x = np.concatenate([group.y_[:n_pre], x]) if parameters.n_pre else x
        state = MacroState(x, *processes)
        if reason := divergence(time, state):
            reasons.append(reason)
            network.stop()
        else:
            rows.add(time, vars(state))

    recording = b2.NetworkOperation(
        lambda: record(round(network.t_ / record_dt) * record_dt),
        dt=record_dt * b2.second,
        when="start",
        order=-1,
    )
    network.add(group, b2.NetworkOperation(stimulate, clock=group.clock, when="start"), recording)
    with np.errstate(over="ignore", invalid="ignore"):
        network.run(protocol.duration * b2.second, namespace={})
    reached = float(network.t / b2.second)
    if not reasons and reached < protocol.duration - dt / 2:
        return f"interrupted at {reached:g} s"  # on Ctrl-C Brian2 ends the run
    n_rows = protocol.duration / record_dt
    if not reasons and abs(n_rows - round(n_rows)) < 1e-9:
        record(round(n_rows) * record_dt)
    return reasons[0] if reasons else None
