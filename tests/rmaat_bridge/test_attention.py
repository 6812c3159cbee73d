"""Attention fits: kernels that the recording was built from, transport against response, refusals."""

import json

import numpy as np
import pytest
import xarray as xr

from astro_sim import MacroParameters, simulate_macro
from astro_sim.errors import InputError
from astro_sim.protocols import stp_cycles
from rmaat_bridge import fit_attention
from rmaat_bridge.attention import fit_kernel
from rmaat_bridge.kernel_families import KERNEL_FAMILIES
from rmaat_bridge.regression import choose

KERNELS = {
    "exponential": {},
    "gaussian": {},
    "power-law": {"exponent": 1.5},
    "difference-of-exponentials": {"surround": 0.4, "surround_ratio": 2.0},
}


def response_to(family, shape, source, length, self_term=0.3, neighbour=0.05):
    """p = self_term q + neighbour sum r(d / length) q over the others, by plain loops over the processes."""
    n = len(source)
    places = [(i, j) for i in range(n) for j in range(n)]
    distance = np.array([[abs(i - k) + abs(j - l) for k, l in places] for i, j in places], dtype=float)  # noqa: E741
    kernel = neighbour * KERNEL_FAMILIES[family].curve(np, distance / length, **shape)
    np.fill_diagonal(kernel, self_term)
    return (kernel @ source.ravel()).reshape(n, n), distance.reshape(n, n, n, n)


@pytest.mark.parametrize("family", KERNELS)
def test_kernel_behind_a_point_drive_is_recovered(family):
    """Length to 1 % and the family itself, with noise of 0.1 % of the first neighbour's answer."""
    source = np.zeros((15, 15))
    source[7, 7] = 1.0
    response, distance = response_to(family, KERNELS[family], source, 2.0)
    response += 5e-5 * np.random.default_rng(0).standard_normal(response.shape)
    fits = {name: fit_kernel(f, response, source, distance) for name, f in KERNEL_FAMILIES.items()}
    assert choose(fits) == family
    if family in ("exponential", "gaussian"):
        assert fits[family].values["length"] == pytest.approx(2.0, rel=0.01)
    assert fits[family].values["self_term"] == pytest.approx(0.3, rel=1e-3)


def test_three_neurons_of_unequal_drive_suffice_for_a_length():
    """Nine processes, exact data: length 1.3 to 1e-4, though no process is driven alone."""
    activity = np.array([1.0, 0.5, 0.25])
    source = np.outer(activity, activity)
    response, distance = response_to("exponential", {}, source, 1.3)
    fit = fit_kernel(KERNEL_FAMILIES["exponential"], response, source, distance)
    assert fit.values["length"] == pytest.approx(1.3, rel=1e-4)


def linear_response_length(parameters, n=15):
    """Decay length of the stationary linear response to a point drive on the open grid, by a dense solve.

    leak p = T p + (drive / leak_s) (q + p): transport, and the way through the synapse, at slope 1.
    """
    i = np.arange(n)
    decay = np.exp(-np.abs(i[:, None] - i) / parameters.coupling_length)
    transport = parameters.coupling * np.kron(decay, decay)
    loop = parameters.drive / parameters.leak_s
    point = np.zeros((n, n))
    point[n // 2, n // 2] = 1
    answer = np.linalg.solve((parameters.leak_p_short - loop) * np.eye(n * n) - transport, loop * point.ravel())
    profile = answer.reshape(n, n)[n // 2, n // 2 + 1 : n // 2 + 5]
    return -1 / np.polyfit(np.arange(4), np.log(profile), 1)[0]


def test_response_is_longer_than_the_transport_and_both_are_reported(point):
    """Transport of 1 grid step, recovered to 1 %; the response against the linear theory to 10 % (tanh, rhythm)."""
    fit = fit_attention(point)
    assert fit.findings["transport_length"].value == pytest.approx(1.0, rel=0.01)
    assert fit.findings["transport_strength"].value == pytest.approx(0.1, rel=0.01)
    expected = linear_response_length(MacroParameters())
    assert fit.parameters["length"].value == pytest.approx(expected, rel=0.10)
    assert fit.parameters["length"].value > 1.2
    assert fit.findings["self_term"].value > 4 * fit.findings["first_neighbour"].value


def test_default_recording_gives_a_length_with_its_error(macro, point):
    """Nine processes know the length to some 20 %: the interval must hold the point drive's answer."""
    length = fit_attention(macro).parameters["length"]
    assert length.lower < fit_attention(point).parameters["length"].value < length.upper
    assert 0.05 < length.standard_error / length.value < 0.5


def test_transport_is_found_under_other_constants():
    """Euclidean distances and a periodic border: strength and length to 3 %."""
    parameters = MacroParameters(
        n_neurons=5, coupling=0.2, coupling_length=0.7, coupling_kernel="exponential", border="periodic"
    )
    protocol = stp_cycles(3, 45.0, 15.0, (1.0, 0.2, 0.6, 0.1, 0.4))
    fit = fit_attention(simulate_macro(parameters, protocol, backend="scipy"))
    assert fit.findings["transport_length"].value == pytest.approx(0.7, rel=0.03)
    assert fit.findings["transport_strength"].value == pytest.approx(0.2, rel=0.03)


@pytest.mark.parametrize(
    ("changes", "inputs"),
    [
        ({"n_neurons": 9, "layout": "sheet", "coupling": 0.05}, (1.0, 0.2, 0.6, 0.1, 0.4, 0.3, 0.8, 0.0, 0.5)),
        ({"n_neurons": 4, "n_pre": 5}, (1.0, 0.2, 0.6, 0.1, 0.4, 0.3, 0.8, 0.0, 0.5)),
    ],
)
def test_transport_is_found_on_sheets_and_in_feed_forward_networks(changes, inputs):
    """The default length of 1 grid step to 3 %."""
    parameters = MacroParameters(**changes)
    fit = fit_attention(simulate_macro(parameters, stp_cycles(3, 45.0, 15.0, inputs), backend="scipy"))
    assert fit.findings["transport_length"].value == pytest.approx(1.0, rel=0.03)
    assert fit.findings["transport_strength"].value == pytest.approx(parameters.coupling, rel=0.03)


def test_no_transport_no_transport_length():
    fit = fit_attention(simulate_macro(MacroParameters(coupling=0.0), backend="scipy"))
    assert not any(name.startswith("transport") for name in fit.findings)


def _without_space(recording: xr.Dataset) -> xr.Dataset:
    changed = recording.copy(deep=True)
    changed["p_short"][:] = 0.2
    return changed


def test_recordings_without_a_kernel_are_refused(macro, make):
    with pytest.raises(InputError, match=r"p_short.*range"):
        fit_attention(_without_space(macro))
    spoiled = macro.copy(deep=True)
    spoiled["p_short"][500, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"p_short.*cycle 6"):
        fit_attention(spoiled)
    two = macro.isel(neuron=slice(2), post=slice(2), pre=slice(2))
    with pytest.raises(InputError, match="neurons: got 2"):
        fit_attention(two)
    with pytest.raises(InputError, match="variable named p_short"):
        fit_attention(macro.drop_vars("p_short"))
    with pytest.raises(InputError, match="macro, for the spatial kernel"):
        fit_attention(macro.assign_attrs(model="tripartite"))
    with pytest.raises(InputError, match="protocol"):
        fit_attention(macro.assign_attrs(protocol=json.dumps({"kind": "constant"})))
