"""The tripartite unit on Lava against a Brian2 recording of the same protocol."""

from dataclasses import asdict

import numpy as np
import pytest

from astro_sim import simulate_macro
from astro_sim.functions import FUNCTIONS
from astro_sim.macro_parameters import MacroParameters
from astro_sim.protocols import stp_cycles
from rmaat_lava.arithmetic import LIMIT
from rmaat_lava.child import run_in_child
from rmaat_lava.shim import LAVA_VERSION, lava_version
from rmaat_lava.tripartite import MESSAGE_EXPONENT, STATE_EXPONENT, Unit

NEEDS_LAVA = [
    pytest.mark.needs_lava,
    pytest.mark.skipif(lava_version() != LAVA_VERSION, reason=f"lava-nc {LAVA_VERSION} is not installed"),
]
STATES = ("s", "p_short", "p_long")
DT = 0.01


@pytest.fixture(scope="module")
def parameters():
    return MacroParameters(tau_p_short=2.0, tau_p_long=8.0)


@pytest.fixture(scope="module")
def recording(parameters):
    """Two cycles of 6 s, unequal inputs; every half step is recorded, so that the drive is known mid-step."""
    protocol = stp_cycles(2, 6.0, 2.0, [0.4, 0.8, 1.2])
    return simulate_macro(parameters, protocol, dt=DT / 2, record_dt=DT / 2)


def _pair(recording, parameters) -> np.ndarray:
    """θ(x_i) θ(x_j) in the middle of each step, (synapses, steps)."""
    activity = FUNCTIONS[parameters.theta].value(recording["x"].values)
    return (activity[:, :, None] * activity[:, None, :])[1::2].reshape(-1, 9).T


def _on_lava(parameters, pair, tag):
    settings = {"parameters": asdict(parameters), "dt": DT, "tag": tag}
    return run_in_child("rmaat_lava.tripartite:run_unit", {"pair": pair}, settings, 200.0)


def _expected(recording, name) -> np.ndarray:
    return recording[name].values[2::2].reshape(-1, 9)


def _step_by_step(unit: Unit, pair: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    zero = np.zeros(9, float if kind == "real" else np.int64)
    state, seen = (zero, zero, zero), []
    for drive in pair.T:
        state = getattr(unit, kind)(drive, *state)[:3]
        seen.append(state)
    return {name: np.array([row[i] for row in seen]) for i, name in enumerate(STATES)}


@pytest.mark.parametrize("where", ["numpy", pytest.param("lava", marks=NEEDS_LAVA)])
def test_floating_point_follows_brian2(recording, parameters, where):
    pair = _pair(recording, parameters)
    if where == "lava":
        found = _on_lava(parameters, pair, "floating_pt")
    else:
        found = _step_by_step(Unit(parameters, DT), pair, "real")
    for name in STATES:
        expected = _expected(recording, name)
        assert expected.max() > 0.05
        assert np.abs(found[name] - expected).max() / expected.max() < 1e-3, name


@pytest.mark.parametrize("where", ["numpy", pytest.param("lava", marks=NEEDS_LAVA)])
def test_fixed_point_is_within_its_stated_bound(recording, parameters, where):
    unit, pair = Unit(parameters, DT), _pair(recording, parameters)
    integers = np.rint(pair * 2**MESSAGE_EXPONENT).astype(np.int64)
    exact = _step_by_step(unit, pair, "real")
    found = _step_by_step(unit, integers, "integer")
    if where == "lava":
        lava = _on_lava(parameters, integers, "fixed_pt")
        for name in STATES:
            np.testing.assert_array_equal(lava[name], found[name], err_msg=name)
    bound = unit.error_bound()
    for name in STATES:
        error = np.abs(found[name] * 2.0**-STATE_EXPONENT - exact[name]).max()
        assert error <= bound[name] < 0.02 * exact[name].max(), (name, error, bound[name])


@pytest.mark.parametrize("changes", [{"drive": 0.7}, {"coupling": 0.28}, {"leak_p_short": 0.52}], ids=str)
def test_a_loop_near_latching_has_no_finite_bound(changes):
    """It settles (`latching_margin` above 0), but not by the sums over rows that the bound is made of."""
    near = MacroParameters(**changes)
    assert near.latching_margin > 0
    assert set(Unit(near, DT).error_bound().values()) == {np.inf}


@pytest.mark.parametrize("where", ["numpy", pytest.param("lava", marks=NEEDS_LAVA)])
def test_states_that_leave_24_bits_are_cut_and_counted(parameters, where):
    """Drives far beyond θθ <= 1 cut s, and no other state."""
    pair = np.zeros((9, 40), np.int64)
    pair[:5] = np.random.default_rng(0).integers(1 << 22, 1 << 23, (5, 40))
    unit = Unit(parameters, 100 * DT)
    found = _step_by_step(unit, pair, "integer")
    assert np.abs(found["s"]).max() == LIMIT and set(unit.saturated) == {"s"}
    assert unit.saturated["s"] >= (found["s"] == LIMIT).sum() > 0
    if where == "lava":
        settings = {"parameters": asdict(parameters), "dt": 100 * DT, "tag": "fixed_pt"}
        lava = run_in_child("rmaat_lava.tripartite:run_unit", {"pair": pair}, settings, 200.0)
        for name in STATES:
            np.testing.assert_array_equal(lava[name], found[name], err_msg=name)
        assert lava["saturated"][-1] == unit.saturated.total()
