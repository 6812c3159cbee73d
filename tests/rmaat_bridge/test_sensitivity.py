"""Linear response against the simulation, and Sobol indices against what must hold."""

import runpy

import numpy as np
import pytest

from astro_sim import MacroParameters, simulate_macro
from astro_sim.protocols import stp_cycles
from rmaat_bridge import linear_response, sensitivity, sobol_indices
from rmaat_bridge.linear_response import AMPLITUDE, kernel_response, response_length, retention_response
from rmaat_bridge.sensitivity import CONSTANTS, outputs

PROTOCOL = ("cycle_s", "on_s")


def drawn(rng, size=1):
    """Constants drawn log-uniformly from their ranges."""
    return {name: centre * factor ** rng.uniform(-1, 1, size) for name, (centre, factor) in CONSTANTS.items()}


def test_centres_follow_the_defaults_of_the_simulation(monkeypatch):
    """Both modules run afresh under another default of the model, the protocol and the input."""
    monkeypatch.setattr("astro_sim.macro.DEFAULT_AMPLITUDE", (0.9, 0.4))
    monkeypatch.setattr("astro_sim.macro.default_protocol", lambda: stp_cycles(6, 60.0, 20.0, (0.9, 0.4)))
    monkeypatch.setattr("astro_sim.macro_parameters.MacroParameters", lambda: MacroParameters(tau_p_long=90.0))
    constants = runpy.run_path(sensitivity.__file__)["CONSTANTS"]
    assert [constants[name][0] for name in ("tau_p_long", "cycle_s", "on_s")] == [90.0, 60.0, 20.0]
    assert runpy.run_path(linear_response.__file__)["AMPLITUDE"].tolist() == [0.9, 0.4]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_linear_retention_agrees_with_the_simulation(seed):
    """Six factors within 0.01 of those of the non-linear model: its tanh bends by some percent at this drive."""
    constants = drawn(np.random.default_rng(seed))
    constants |= {name: np.round(constants[name]) for name in PROTOCOL}  # whole numbers of steps
    values = {name: float(v[0]) for name, v in constants.items()}
    cycle_s, on_s = (values.pop(name) for name in PROTOCOL)
    recording = simulate_macro(MacroParameters(**values), stp_cycles(6, cycle_s, on_s, AMPLITUDE), backend="scipy")
    ends = recording["p_long"].mean(("post", "pre")).interp(time=cycle_s * np.arange(7)).values
    simulated = np.diff(ends) / (ends[-1] - ends[0])
    np.testing.assert_allclose(retention_response(constants, 6)[0], simulated, atol=0.01)


def test_linear_retention_has_the_exact_late_ratio():
    """Once the short-term state repeats, increments shrink by e^(-leak cycle / tau): 1e-6 after 12 cycles."""
    constants = drawn(np.random.default_rng(5))
    factors = retention_response(constants, 14)[0]
    a = float(constants["leak_p_long"][0] * constants["cycle_s"][0] / constants["tau_p_long"][0])
    assert factors[-1] / factors[-2] == pytest.approx(np.exp(-a), rel=1e-6)


def test_linear_kernel_agrees_with_a_dense_solve():
    """Green's function by eigenvectors against the 225 x 225 system, each entry to 1e-9 of the largest."""
    constants = drawn(np.random.default_rng(7))
    c = {name: float(v[0]) for name, v in constants.items()}
    i = np.arange(15)
    decay = np.exp(-np.abs(i[:, None] - i) / c["coupling_length"])
    point = np.zeros((15, 15))
    point[7, 7] = 1
    leak = c["leak_p_short"] - c["drive"] / c["leak_s"]
    matrix = leak * np.eye(225) - c["coupling"] * np.kron(decay, decay)
    row = np.linalg.solve(matrix, point.ravel()).reshape(15, 15)[7, 7:]
    np.testing.assert_allclose(kernel_response(constants)[0], row / row[0], atol=1e-9)


def test_length_of_an_exponential_profile():
    profile = np.exp(-np.arange(8) / np.array([[1.3], [2.0]]))
    np.testing.assert_allclose(response_length(profile), [1.3, 2.0], rtol=1e-12)


def test_indices_are_zero_where_a_constant_cannot_matter():
    """The long-term constants do not enter the kernel: exactly 0. A hundred and more sets of constants."""
    found = sobol_indices(64)
    for constant in ("tau_p_long", "leak_p_long", "tau_s", "tau_p_short", "cycle_s", "on_s"):
        assert float(found["ST"].sel(output="kernel_length", constant=constant)) == 0
    assert (found["ST"] >= found["S1"] - found["S1_conf"] - found["ST_conf"]).all()
    assert float(found["S1"].sel(output="kernel_length").sum()) == pytest.approx(1, abs=0.2)


def test_total_index_is_the_variance_left_when_all_others_are_known():
    """ST of tau_p_long on RF(1, 6) against E[Var(y | others)] / Var(y) by brute force; 0.1 at 200 x 30 draws."""
    rng = np.random.default_rng(11)
    others = drawn(rng, 200)
    repeated = {name: np.repeat(v, 30) for name, v in others.items()}
    repeated["tau_p_long"] = drawn(rng, 200 * 30)["tau_p_long"]
    y = outputs(repeated)["retention_factor_1_of_6"].reshape(200, 30)
    expected = y.var(axis=1, ddof=1).mean() / y.var()
    found = sobol_indices(256)["ST"].sel(output="retention_factor_1_of_6", constant="tau_p_long")
    assert float(found) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("seed", [0, 3])
def test_same_seed_same_indices(seed):
    assert sobol_indices(32, seed=seed).equals(sobol_indices(32, seed=seed))
