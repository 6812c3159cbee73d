"""Run the macro model as a compiled program: Brian2's C++ standalone mode, for small networks and long runs.

A compiled loop over processes cannot call a function of the whole grid inside a stage, so the step is taken
apart: the clock runs at a quarter of the step, each tick is one stage of `exponential_rk4`, and the sums over the
grid are `Synapses` with summed variables that are evaluated anew in every stage.
"""

import re
from dataclasses import asdict

import brian2 as b2
import numpy as np
from numpy.typing import NDArray

from astro_sim.coupling import SEPARABLE, DistanceCoupling
from astro_sim.errors import InputError
from astro_sim.exponential_rk4 import StepCoefficients
from astro_sim.macro_brian2 import constants, leaks
from astro_sim.macro_equations import MacroState, equations
from astro_sim.macro_parameters import MacroParameters
from astro_sim.macro_recorder import divergence
from astro_sim.protocols import Protocol
from astro_sim.recorder import Recorder
from astro_sim.standalone import program

Array = NDArray[np.float64]
LARGEST = 64

# One tick for the variable v: n is N(u), k the number of the stage less one; names as in `exponential_rk4`.
STAGE = """
n_{v} = {rest}
u_{v} = int(k < 2)*(half_{v}*{v} + a_{v}*n_{v}) \
+ int(k == 2)*(half_{v}*(half_{v}*{v} + a_{v}*n1_{v}) + a_{v}*(2*n_{v} - n1_{v})) \
+ int(k == 3)*(full_{v}*{v} + b1_{v}*n1_{v} + b2_{v}*n23_{v} + b4_{v}*n_{v})
n23_{v} = int(k == 1)*n_{v} + int(k == 2)*(n23_{v} + n_{v}) + int(k == 3)*n23_{v}
n1_{v} = int(k == 0)*n_{v} + int(k > 0)*n1_{v}
{v} = int(k < 3)*{v} + int(k == 3)*u_{v}
"""


def run_standalone(
    parameters: MacroParameters,
    protocol: Protocol,
    initial: MacroState,
    rows: Recorder,
    record_dt: float,
    dt: float,
) -> str | None:
    """Build the program, or find it built, and run it; the reason if the run stopped early.

    Raises
    ------
    InputError
        If the kernel does not factorise, or there are more than 64 × 64 processes.
    """
    transport, shape = parameters.transport, parameters.shape
    if not isinstance(transport, DistanceCoupling) or transport.kernel not in SEPARABLE:
        allowed = f"brian2 or scipy, as the kernel is not one of {', '.join(SEPARABLE)}"
        raise InputError("backend", "brian2-standalone", allowed)
    if max(shape) > LARGEST:
        raise InputError("backend", "brian2-standalone", f"brian2 or scipy, above {LARGEST} neurons")
    signature = (parameters.n_pre, shape, parameters.theta, parameters.g, parameters.psi, parameters.kappa)
    switches, inputs = (np.array(part) for part in zip(*protocol.changes(dt), strict=True))
    with program("macro", *signature, protocol.duration, dt):
        network, monitor = _network(parameters, transport, switches, inputs, initial, record_dt, dt)
        length = protocol.duration + dt / 4
        network.run(length * b2.second, namespace={})
        reached = b2.device._last_run_completed_fraction * length  # less on Ctrl-C, which ends the program
        names = ("x", "s", "p_short", "p_long") + (("y",) if parameters.n_pre else ())
        values = {name: np.asarray(getattr(monitor, name)).T.reshape(-1, *shape) for name in names}
    for k in range(len(values["x"])):
        x = values["x"][k, :, 0]
        x = np.concatenate([values["y"][k, 0], x]) if parameters.n_pre else x
        state = MacroState(x, *(values[name][k] for name in names[1:4]))
        if reason := divergence(k * record_dt, state):
            return reason
        rows.add(k * record_dt, vars(state))
    return f"interrupted at {reached:g} s" if reached < protocol.duration else None


def _network(
    parameters: MacroParameters,
    transport: DistanceCoupling,
    switches: NDArray[np.int64],
    inputs: Array,
    initial: MacroState,
    record_dt: float,
    dt: float,
) -> tuple[b2.Network, b2.StateMonitor]:
    """The staged network. Equal slot and order run in alphabetical order of name: hence a_ … g_."""
    (n_post, n_pre), found = parameters.shape, leaks(parameters)
    size = n_post * n_pre
    model = b2.Equations(equations(parameters))
    sources, flow, rests = _taken_apart(model, [leak.parameter for leak in found.values()])
    steps = {v: asdict(StepCoefficients.of(leak.rate, dt)) for v, leak in found.items()}
    numbers = {
        f"{key}_{v}": value if key in ("half", "full") else value * b2.second
        for v, step in steps.items()
        for key, value in step.items()
    }
    used = {"gain", "drive"} | {f"tau_{v}" for v in ("n", "s", "p_short", "p_long")}
    shared = numbers | {name: value for name, value in constants(parameters).items() if name in used}
    lines = [
        f"{name} : {'second' if isinstance(value, b2.Quantity) else '1'} (shared, constant)"
        for name, value in shared.items()
    ]
    own = ["afferent", "flow", "dendrite", "across", "transported", "b", "b_y", *sources]
    own += [f"{kind}{v}" for v in found for kind in ("", "u_")]
    lines += [f"{name} : 1" for name in dict.fromkeys(own)]
    lines += [f"{kind}_{v} : hertz" for v in found for kind in ("n1", "n23")]
    lines += ["change : integer (shared)"]
    # Tables over the number of the change in place of time: its input, and the step at which it comes.
    tables = {"stimulus": inputs, "step_of": np.append(switches, np.inf)}
    group = b2.NeuronGroup(
        size,
        "\n".join(lines),
        dt=dt / 4 * b2.second,
        namespace={name: b2.TimedArray(table, dt=b2.second, name=name) for name, table in tables.items()}
        | {"n_pre": n_pre},
        name="processes",
    )
    for name, value in shared.items():
        setattr(group, name, value)
    for v in found:
        start = _on_grid(initial, v, n_post, n_pre)
        setattr(group, v, start)
        setattr(group, f"u_{v}", start)
    stimulated = "change += int(t_in_timesteps//4 >= step_of((change + 1.5)*second))\n"
    stimulated += "b = stimulus((change + 0.5)*second, i//n_pre)\n"
    if parameters.n_pre:
        stimulated = stimulated.replace("i//", "n_pre + i//") + "b_y = stimulus((change + 0.5)*second, i % n_pre)\n"
    stage = "k = t_in_timesteps % 4\n" + "".join(STAGE.format(v=v, rest=rest) for v, rest in rests.items())

    def at(code: str, name: str) -> None:
        group.run_regularly(code, when="groups", order=-1, name=name)

    at(stimulated + "\n".join(f"{name} = {value}" for name, value in sources.items()), "a_sources")
    at(f"flow = {flow}", "c_flow")
    at(stage, "g_stage")
    i, j = np.divmod(np.arange(size), n_pre)
    axis = {"post": np.arange(n_post), "pre": np.arange(n_pre)}
    a_post, a_pre = transport.factors
    # sums along a row: from (i, l) to (i, j); down a column: from (k, j) to (i, j)
    row_from, row_to = (i[:, None] * n_pre + axis["pre"]).ravel(), np.repeat(np.arange(size), n_pre)
    column_from = (axis["post"] * n_pre + j[:, None]).ravel()
    column_to = np.repeat(np.arange(size), n_post)
    sums = [
        ("d_dendrite", "dendrite_post = flow_pre", row_from, row_to, np.ones(len(row_to))),
        ("e_across", "across_post = w*calcium_pre", row_from, row_to, a_pre[row_from % n_pre, row_to % n_pre]),
        (
            "f_transport",
            "transported_post = w*across_pre",
            column_from,
            column_to,
            a_post[column_to // n_pre, column_from // n_pre],
        ),
    ]
    if not parameters.n_pre:
        sums.append(("b_afferent", "afferent_post = activity_pre", j * n_pre + i, np.arange(size), np.ones(size)))
    network = b2.Network(group, name="macro")
    for name, line, start, end, weight in sums:
        pathway = b2.Synapses(group, group, f"w : 1 (constant)\n{line} : 1 (summed)", clock=group.clock, name=name)
        pathway.connect(i=start, j=end)
        pathway.w = weight
        network.add(pathway)
    recorded = ["x", "s", "p_short", "p_long"] + (["y"] if parameters.n_pre else [])
    monitor = b2.StateMonitor(group, recorded, record=True, dt=record_dt * b2.second, when="start", name="rows")
    network.add(monitor)
    return network, monitor


def _on_grid(initial: MacroState, v: str, n_post: int, n_pre: int) -> Array:
    """Initial values of the variable v on the grid, flat."""
    if v == "x":
        return np.repeat(initial.x[-n_post:], n_pre)
    if v == "y":
        return np.tile(initial.x[:n_pre], n_post)
    return getattr(initial, v).ravel()


def _taken_apart(model: b2.Equations, leak_names: list[str]) -> tuple[dict[str, str], str, dict[str, str]]:
    """The equations as sources of the sums, the flow that the dendrites sum, and N(u) of each variable."""
    from brian2.equations.equations import SUBEXPRESSION
    from brian2.utils.stringtools import word_substitute

    at = {v: f"u_{v}" for v in model.diff_eq_names} | dict.fromkeys(leak_names, "0")
    sources = {
        equation.varname: word_substitute(equation.expr.code, at)
        for equation in model.ordered
        if equation.type == SUBEXPRESSION and "presynaptic(" not in equation.expr.code
    }
    flow, rests = "", {}
    for v, expression in model.diff_eq_expressions:
        rest = word_substitute(expression.code, at).replace("transport(calcium)", "transported")
        if found := re.search(r"over_presynaptic\((.*)\) \+ b\b", rest):
            flow, rest = found[1], rest.replace(found[0], "dendrite + b")
        rests[v] = rest
    return sources, flow, rests
