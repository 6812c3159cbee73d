"""Predictions about the macro model against closed forms and simulations."""

from dataclasses import replace

import numpy as np
import pytest

from astro_sim.coupling import DistanceCoupling
from astro_sim.errors import InputError
from astro_sim.macro import simulate_macro
from astro_sim.macro_parameters import LatchingWarning, MacroParameters
from astro_sim.protocols import array
from astro_sim.theory import green_length, increment_ratio, point_response, predictions


@pytest.mark.parametrize(("length", "strength"), [(1.0, 0.2), (2.0, 0.1), (4.0, 0.1), (2.0, 0.01)])
def test_green_length_on_a_line_is_the_closed_form(length, strength):
    """cosh(1/L) = cosh(1/ℓ) − (T₀/γ) sinh(1/ℓ), far from the borders (1e-6)."""
    expected = 1 / np.arccosh(np.cosh(1 / length) - strength * np.sinh(1 / length))
    found = green_length(DistanceCoupling((1,), (161,), strength, length))
    assert found == pytest.approx(expected, rel=1e-6)
    assert found > length


@pytest.mark.parametrize(
    ("length", "rho", "expected"),
    [(1, 0.25, 1.09), (1, 0.9, 2.45), (2, 0.5, 2.49), (2, 0.9, 4.90), (4, 0.25, 4.39), (4, 0.9, 10.6)],
)
def test_green_length_on_the_grid(length, rho, expected):
    """31 × 31 processes: lengths found earlier with another solver, to their two decimals (0.5 %)."""
    unit = DistanceCoupling((31,), (31,), 1.0, length)
    transport = DistanceCoupling((31,), (31,), rho / unit.spectral_radius, length)
    assert green_length(transport) == pytest.approx(expected, rel=5e-3)


def test_point_response_is_where_the_simulation_settles():
    """A weak point drive settles p_short in the shape of the point response (1e-3, what tanh bends).

    Each process feeds itself back through its synapse, s = ψ(p), which takes `drive` off the leak.
    """
    p = MacroParameters(7, drive=0.01, theta="identity", gain=0.0, tau_p_short=0.5)
    run = simulate_macro(p, array(np.array([[0.1, 0, 0, 0, 0, 0, 0]]), 20.0), backend="scipy")
    response = point_response(p.transport, p.leak_p_short - p.drive, (0, 0))
    settled = run.p_short.values[-1]
    assert settled / settled[0, 0] == pytest.approx(response / response[0, 0], rel=1e-3)


@pytest.mark.parametrize("drive", [0.25, 0.5])
def test_the_predicted_length_is_that_of_a_simulation(drive):
    """The presynaptic line behind a weak steady input, far from its ends; the line itself says three digits (1 %).

    One row is driven weakly in the middle, the short-term processes settle, and log p_short falls along the line.
    """
    p = MacroParameters(1, n_pre=41, drive=drive, theta="identity", gain=0.0, tau_p_short=0.5)
    inputs = np.zeros((1, p.n_inputs))
    inputs[0, [20, 41]] = 0.05
    settled = simulate_macro(p, array(inputs, 30.0), backend="scipy").p_short.values[-1, 0]
    falls = -1 / np.polyfit(np.arange(2, 9), np.log(settled[22:29]), 1)[0]
    assert float(predictions(p, None)[0].split()[5]) == pytest.approx(falls, rel=0.01)


def test_no_length_without_a_state_of_rest():
    assert predictions(MacroParameters(3, psi="sigmoid"), None) == []


def test_increment_ratio():
    p = MacroParameters(tau_p_long=120.0)
    assert increment_ratio(p, 45.0) == pytest.approx(np.exp(-0.375), rel=1e-14)
    assert increment_ratio(replace(p, leak_p_long=2.0), 45.0) == pytest.approx(np.exp(-0.75), rel=1e-14)


def test_predictions_say_length_and_increment():
    """One row: the closed form of a line. Three rows, open or as a ring: longer than that, as rows pass on too."""
    lines = predictions(MacroParameters(1, n_pre=17), 45.0)
    assert "where T's own length is 1" in lines[0] and "0.6873 times" in lines[1]
    closed = 1 / np.arccosh(np.cosh(1) - 0.1 / 0.75 * np.sinh(1))  # a drive of 0.25 comes back by way of s
    assert float(lines[0].split()[5]) == pytest.approx(closed, rel=0.005)  # three digits are printed
    three = predictions(MacroParameters(3), None)
    assert closed < float(three[0].split()[5]) < 1.3
    assert predictions(MacroParameters(3, border="periodic", n_pre=3), None)[0].startswith("p_short falls by e in 1.")
    with pytest.warns(LatchingWarning):
        unstable = MacroParameters(5, coupling_kernel="gaussian", coupling_length=2.0)
    assert "does not settle" in predictions(unstable, None)[0]


@pytest.mark.parametrize("length", [0.12, 0.2, 0.3])
def test_predictions_of_a_short_transport_are_the_closed_form(length):
    """The response is gone before the eighth step; the length is that of the steps that it takes (0.5 %)."""
    closed = 1 / np.arccosh(np.cosh(1 / length) - 0.1 / 0.75 * np.sinh(1 / length))
    line = predictions(MacroParameters(1, n_pre=5, coupling_length=length), None)[0]
    assert float(line.split()[5]) == pytest.approx(closed, rel=0.005)


@pytest.mark.parametrize(
    ("coupling", "length", "expected"), [(0.0, 1.0, 0.0), (0.1, 0.05, 0.1 * np.exp(-20)), (0.1, 1e-3, 0.0)]
)
def test_predictions_where_nothing_is_passed_on(coupling, length, expected):
    """(γ − T₀) p(1) = T₀ e^(−1/ℓ) p(0), to the first order: two digits are printed. Nothing comes back by way of s."""
    line = predictions(MacroParameters(1, n_pre=5, drive=0.0, coupling=coupling, coupling_length=length), None)[0]
    assert line.startswith("a grid step away, p_short is ")
    assert float(line.split()[6]) == pytest.approx(expected / (1 - coupling), rel=0.05)
    with pytest.raises(InputError, match=r"^lags: .* up to [01],"):
        green_length(DistanceCoupling((1,), (17,), coupling, length))


def test_no_response_where_rest_is_unstable():
    transport = DistanceCoupling((5,), (5,), 1.0, 1.0)
    with pytest.raises(InputError, match=r"^leak_p_short: "):
        point_response(transport, 1.0, (2, 2))
    with pytest.raises(InputError, match=r"^lags: "):
        green_length(DistanceCoupling((5,), (5,), 0.01, 1.0))
