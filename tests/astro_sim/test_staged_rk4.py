"""The staged rule against Brian2's symbolic one, and against the rule itself written in NumPy."""

import os
import subprocess
import sys

import brian2 as b2
import numpy as np
import pytest

from astro_sim.staged_rk4 import needed_subexpressions, staged_rk4

EQUATIONS = """
dv/dt = (-v*gain + w*slope)/tau : 1
dw/dt = (-v**2 + ramp - w)/(2*tau) : 1
slope = tanh(gain) : 1
gain = 1 + v**2 : 1
ramp = base + 0.1*int(t_in_timesteps*dt % (0.3*second) < 0.1*second) : 1
base = 0.2*level : 1
unused = v + w : 1
level : 1 (constant)
tau : second (shared, constant)
"""


def trace(method: object, steps: int = 40) -> np.ndarray:
    group = b2.NeuronGroup(3, EQUATIONS, method=method, dt=0.02 * b2.second, codeobj_class=b2.NumpyCodeObject)
    group.v, group.w, group.level, group.tau = [0.1, 1.0, -0.5], 0.3, [1.0, 2.0, 3.0], 0.2 * b2.second
    monitor = b2.StateMonitor(group, ["v", "w"], record=True)
    b2.Network(group, monitor).run(steps * 0.02 * b2.second)
    return np.array([monitor.v, monitor.w])


def naive(steps: int = 40) -> np.ndarray:
    y, level, dt, tau = np.array([[0.1, 1.0, -0.5], [0.3] * 3]), np.array([1.0, 2.0, 3.0]), 0.02, 0.2
    rows = []
    for step in range(steps):
        rows.append(y)
        ramp = 0.2 * level + 0.1 * ((step * dt) % 0.3 < 0.1)

        def f(y: np.ndarray, ramp: np.ndarray = ramp) -> np.ndarray:
            v, w = y
            gain = 1 + v**2
            return np.array([(-v * gain + w * np.tanh(gain)) / tau, (-(v**2) + ramp - w) / (2 * tau)])

        k1 = f(y)
        k2 = f(y + dt / 2 * k1)
        k3 = f(y + dt / 2 * k2)
        y = y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + f(y + dt * k3))
    return np.moveaxis(rows, 0, -1)


def test_the_same_steps_as_the_rule_and_as_brian2() -> None:
    """Rounding apart (1e-13): the input is one that `rk4`, too, holds during a step."""
    ours = trace(staged_rk4)
    assert ours == pytest.approx(naive(), rel=1e-13, abs=1e-14)
    assert ours == pytest.approx(trace("rk4"), rel=1e-12, abs=1e-13)


def test_only_what_the_equations_need_is_evaluated() -> None:
    """Each subexpression once a stage, those without the state once a step, those that nobody needs never."""
    equations = b2.Equations(EQUATIONS)
    order = [equation.varname for equation in needed_subexpressions(equations)]
    assert sorted(order) == ["base", "gain", "ramp", "slope"]
    assert order.index("gain") < order.index("slope") and order.index("base") < order.index("ramp")
    code = staged_rk4(equations)
    assert "unused" not in code
    assert code.count("tanh(") == 4
    assert code.count("t_in_timesteps") == 1


CODE = """
import brian2 as b2
from astro_sim.gap_junctions import RingModel, ring_cell
from astro_sim.staged_rk4 import staged_rk4
from astro_sim.tripartite_model import TripartiteModel
for text in (ring_cell(RingModel().astrocyte).equations, TripartiteModel().equations()):
    print(staged_rk4(b2.Equations(text)))
"""


def test_every_process_writes_the_same_code() -> None:
    """Else nothing that is compiled would be found again: Brian2 knows a program by its text."""
    texts = [
        subprocess.run(
            [sys.executable, "-c", CODE],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1] and "_n4_C" in texts[0]
