"""Presynaptic fits: both forms recovered, ranges kept apart, refusals."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from astro_sim.errors import InputError
from rmaat_bridge import PresynapticResponse, fit_presynaptic
from rmaat_bridge.quantity import POSITIVE, UNTOLD, Quantity

RATES = np.geomspace(0.1, 100.0, 10)


def tripartite(calcium_of, trials=4, noise=0.0):
    """A recording of constant calcium at each rate, `trials` synapses a rate, with relative noise."""
    rate = np.repeat(RATES, trials)
    level = calcium_of(rate) * np.exp(noise * np.random.default_rng(0).standard_normal(rate.size))
    time = np.linspace(0, 60, 31)
    return xr.Dataset(
        {"calcium": (("time", "synapse"), np.tile(level, (time.size, 1)))},
        coords={"time": time, "rate_hz": ("synapse", rate)},
        attrs={"model": "tripartite", "parameters": "{}", "protocol": json.dumps({"kind": "poisson"})},
    )


def test_power_law_is_recovered_with_its_interval():
    """Exponent 0.3 exactly (1e-6) without noise; with 10 % noise its interval holds 0.3 and has a width."""
    assert fit_presynaptic(tripartite(lambda v: 0.5 * v**0.3)).alpha.value == pytest.approx(0.3, rel=1e-6)
    noisy = fit_presynaptic(tripartite(lambda v: 0.5 * v**0.3, noise=0.1))
    assert noisy.alpha.lower < 0.3 < noisy.alpha.upper
    assert 0.002 < noisy.alpha.standard_error < 0.03


def test_an_unknown_limit_is_as_large_as_a_number_can_be():
    """The saturating form of rates that are all far below saturation has no upper limit to speak of."""
    quantity = Quantity.estimated(1e5, 1e9, 5, "1", POSITIVE)
    assert np.isfinite(quantity.upper) and quantity.upper > 1e300


def test_saturating_form_is_recovered_and_preferred():
    """Hill function with K = 2 Hz, h = 0.8: both to 5 % at 1 % noise; K is in units of the reference activity."""
    fit = fit_presynaptic(tripartite(lambda v: 0.8 * v**0.8 / (2**0.8 + v**0.8), noise=0.01))
    half = fit.parameters["half_activation"].value * fit.findings["reference_activity"].value
    assert half == pytest.approx(2.0, rel=0.05)
    assert fit.parameters["hill"].value == pytest.approx(0.8, rel=0.05)
    assert fit.candidates[0].family == "saturating"
    assert "prefers the saturating form" in " ".join(fit.notes)


def test_exponent_is_that_of_its_range():
    """Slope 0.4 below 1 Hz, 0.1 above: one exponent a decade, and the whole range in between."""
    fit = fit_presynaptic(tripartite(lambda v: np.where(v < 1, v**0.4, v**0.1)))
    assert fit.findings["alpha_from_0.1_to_1"].value == pytest.approx(0.4, rel=1e-3)
    assert fit.findings["alpha_from_10_to_100"].value == pytest.approx(0.1, rel=1e-3)
    low = fit_presynaptic(tripartite(lambda v: np.where(v < 1, v**0.4, v**0.1)), (0.09, 1.01))
    assert low.alpha.value == pytest.approx(0.4, rel=1e-3)
    assert (low.findings["lowest_activity"].value, low.findings["highest_activity"].value) == pytest.approx((0.1, 1))


def test_three_activities_tell_an_exponent_but_no_saturation():
    """Three observations for a scale, a half activation and an exponent: their errors are not 0."""
    recording = tripartite(lambda v: 0.8 * v**0.8 / (2**0.8 + v**0.8), trials=1).isel(synapse=slice(0, 3))
    fit = fit_presynaptic(recording)
    assert 0 < fit.alpha.standard_error < 0.1
    assert fit.parameters["hill"].standard_error == UNTOLD == fit.parameters["half_activation"].standard_error
    assert fit.notes[-1] == "These data do not tell half_activation, hill."


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_response_that_falls_is_refused(noise):
    with pytest.raises(InputError, match=r"response.*a slope of -0\.(2|3).* from 0\.1 to 10 Hz.*one that rises"):
        fit_presynaptic(tripartite(lambda v: 0.5 * v**-0.3, noise=noise))


def test_where_the_response_falls_outside_the_range_is_left_out_and_said():
    """Up as the root to 10 Hz, down as 1/ν² after it: exponent 0.5, no decade with a negative one."""
    fit = fit_presynaptic(tripartite(lambda v: np.where(v < 10.1, v**0.5, 1e3 * v**-2.0)))
    assert fit.alpha.value == pytest.approx(0.5, rel=1e-6)
    assert "alpha_from_1_to_10" in fit.findings and "alpha_from_10_to_100" not in fit.findings
    assert "half_activation and hill say nothing" in " ".join(fit.notes)


def test_macro_recording_gives_an_exponent(macro):
    """Slope of ln p_short over ln activity between pairs of presynaptic neurons, by hand, brackets alpha."""
    fit = fit_presynaptic(macro)
    last = macro.sel(time=slice(225, 270))
    activity = np.tanh(np.maximum(last["x"], 0)).mean("time").values
    p = last["p_short"].mean("time").values
    slopes = np.diff(np.log(p), axis=1) / np.diff(np.log(activity))
    assert slopes.min() < fit.alpha.value < slopes.max()
    assert fit.r_squared > 0.95


def test_both_forms_serve_as_the_network_s_non_linearity(make):
    """g(1) = 1; the saturating form becomes the power law z^h far below K, and flat far above; 1e-3."""
    power = PresynapticResponse(make.presynaptic("power-law"))
    saturating = PresynapticResponse(make.presynaptic("saturating", half_activation=1e8))
    z = torch.tensor([0.25, 1.0, 4.0])
    torch.testing.assert_close(power(z).detach(), z**0.25)
    torch.testing.assert_close(saturating(z).detach(), z**0.5, rtol=1e-3, atol=0)
    flat = PresynapticResponse(make.presynaptic("saturating", half_activation=1e-8))
    torch.testing.assert_close(flat(z).detach(), torch.ones(3), rtol=1e-3, atol=0)


@pytest.mark.parametrize("family", ["power-law", "saturating"])
def test_derivatives_of_the_non_linearity(make, family):
    """gradcheck and gradgradcheck in float64 over activity; finite at activity 0."""
    response = PresynapticResponse(make.presynaptic(family)).double()
    z = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(response, z)
    assert torch.autograd.gradgradcheck(response, z)
    zero = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    response(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in response.parameters())


def test_recordings_without_an_exponent_are_refused(macro):
    with pytest.raises(InputError, match=r"activities.*2 in the range"):
        fit_presynaptic(tripartite(lambda v: v**0.3), (0.09, 0.3))
    with pytest.raises(InputError, match="above 0 everywhere"):
        fit_presynaptic(tripartite(lambda v: 0 * v))
    with pytest.raises(InputError, match=r"response.*one that changes"):
        fit_presynaptic(tripartite(lambda v: 0.3 + 0 * v))
    with pytest.raises(InputError, match="model"):
        fit_presynaptic(macro.assign_attrs(model="ring"))
    spoiled = tripartite(lambda v: v**0.3)
    spoiled["calcium"][20, 3] = np.inf
    with pytest.raises(InputError, match=r"calcium.*40 s"):
        fit_presynaptic(spoiled)
