"""Tsodyks-Markram release on Lava: against Brian2, against its bound, and in a loop with Lava's LIF and Dense."""

from dataclasses import asdict

import numpy as np
import pytest

from astro_sim import SynapseParameters, simulate_tripartite
from astro_sim.macro_parameters import MacroParameters
from rmaat_lava.child import run_in_child
from rmaat_lava.presynaptic import MESSAGE_EXPONENT, STATE_EXPONENT, Release
from rmaat_lava.shim import LAVA_VERSION, lava_version
from rmaat_lava.tripartite import Unit

NEEDS_LAVA = [
    pytest.mark.needs_lava,
    pytest.mark.skipif(lava_version() != LAVA_VERSION, reason=f"lava-nc {LAVA_VERSION} is not installed"),
]
DT = 2e-3
SECONDS = 8.0
RATES = (10.0, 20.0, 60.0)


@pytest.fixture(scope="module")
def protocol():
    """Spikes (neurons, steps), at most one a step, and their times."""
    spikes = np.random.default_rng(0).random((len(RATES), int(SECONDS / DT))) < np.array(RATES)[:, None] * DT
    return spikes, [np.flatnonzero(row) * DT for row in spikes]


@pytest.fixture(scope="module", params=[0.0, 1.0], ids=["depressing", "facilitating"])
def recording(request, protocol):
    """Brian2's tripartite synapses at every step: the astrocyte binds gliotransmitter and changes the release."""
    synapse = SynapseParameters(alpha=request.param, U_0_star=0.6 if request.param == 0 else 0.15)
    found = simulate_tripartite(synapse, spike_times=protocol[1], duration=SECONDS, dt=DT, record_dt=DT)
    assert found["bound_presynaptic"].max() > 0.1  # there is gliotransmission to follow
    return synapse, found


def _released(recording) -> tuple[np.ndarray, np.ndarray]:
    """Γ before each step and what Brian2 released in it, (neurons, steps)."""
    bound, total = (recording[name].values.T for name in ("bound_presynaptic", "released"))
    return bound[:, :-1], np.diff(total, axis=1)


def _step_by_step(release: Release, spikes: np.ndarray, bound: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    one = 1 << STATE_EXPONENT if kind == "integer" else 1.0
    u, x = np.zeros_like(bound[:, 0]), np.full_like(bound[:, 0], one)
    seen = []
    for fired, gamma in zip(spikes.T, bound.T, strict=True):
        u, x, released = getattr(release, kind)(fired, gamma, u, x)
        seen.append((u, x, released))
    return {name: np.array([row[i] for row in seen]) for i, name in enumerate(("u", "x", "released"))}


def _on_lava(synapse, spikes, bound, tag):
    settings = {"synapse": asdict(synapse), "dt": DT, "tag": tag}
    arrays = {"spikes": spikes.astype(float if tag == "floating_pt" else int), "bound": bound}
    return run_in_child("rmaat_lava.presynaptic:run_release", arrays, settings, 200.0)


@pytest.mark.parametrize("where", ["numpy", pytest.param("lava", marks=[*NEEDS_LAVA, pytest.mark.slow])])
def test_floating_point_follows_brian2(recording, protocol, where):
    synapse, dataset = recording
    bound, expected = _released(dataset)
    spikes = protocol[0][:, : bound.shape[1]]
    if where == "lava":
        found = _on_lava(synapse, spikes, bound, "floating_pt")["released"].T
    else:
        found = _step_by_step(Release(synapse, DT, len(RATES)), spikes, bound, "real")["released"].T
    assert (expected[spikes] > 1e-3).all() and not found[~spikes].any()
    np.testing.assert_allclose(found[spikes], expected[spikes], rtol=1e-3)
    np.testing.assert_allclose(found.sum(1), expected.sum(1), rtol=1e-3)


@pytest.mark.parametrize("where", ["numpy", pytest.param("lava", marks=[*NEEDS_LAVA, pytest.mark.slow])])
def test_fixed_point_is_within_its_stated_bound(recording, protocol, where):
    synapse, dataset = recording
    bound, _ = _released(dataset)
    spikes = protocol[0][:, : bound.shape[1]]
    release = Release(synapse, DT, len(RATES))
    integers = np.rint(bound * 2**MESSAGE_EXPONENT).astype(np.int64)
    exact = _step_by_step(release, spikes, bound, "real")
    found = _step_by_step(release, spikes, integers, "integer")
    if where == "lava":
        lava = _on_lava(synapse, spikes, integers, "fixed_pt")
        for name, values in found.items():
            np.testing.assert_array_equal(lava[name], values, err_msg=name)
    resting = (1 - bound) * synapse.U_0_star + synapse.alpha * bound
    stated = release.error_bound(float(resting.min()))
    for name, exponent in (("u", STATE_EXPONENT), ("x", STATE_EXPONENT), ("released", MESSAGE_EXPONENT)):
        error = np.abs(found[name] * 2.0**-exponent - exact[name]).max()
        assert error <= stated[name] < 0.02 * exact[name].max(), (name, error, stated[name])


@pytest.mark.needs_lava
@NEEDS_LAVA[1]
def test_closed_loop_with_lif_and_dense():
    """Each of our processes computes, from what Lava's LIF and Dense sent it, the integers of its NumPy form."""
    neurons, steps = 3, 300
    macro, synapse = MacroParameters(tau_p_short=0.2, tau_p_long=1.0), SynapseParameters(alpha=1.0, U_0_star=0.2)
    unit, release = Unit(macro, DT), Release(synapse, DT, neurons)
    pre = np.arange(neurons**2) % neurons
    arrays = {
        "current": np.random.default_rng(1).integers(0, 120, (neurons, steps)),
        "weights": np.array([[40, -30, 20], [10, 60, -20], [30, 30, 30]]),
        "drive": np.where(pre[:, None] == np.arange(neurons), 120, 0),
        "mean": np.where(pre == np.arange(neurons)[:, None], 84, 0),
    }
    settings = {
        "synapse": asdict(synapse),
        "macro": asdict(macro),
        "dt": DT,
        "tag": "fixed_pt",
        "lif": {"vth": 300, "du": 4095, "dv": 200},
        "drive_exponent": -4,
        "mean_exponent": -4,
    }
    found = run_in_child("rmaat_lava.presynaptic:run_loop", arrays, settings, 200.0)
    found = {name: values.astype(np.int64) for name, values in found.items()}
    assert found["spikes"].sum() > 20 and found["spikes_after"].sum() > 5
    assert found["bound"].max() > 2**MESSAGE_EXPONENT // 100  # the loop is closed: the astrocyte answers
    expected = _step_by_step(release, found["spikes"].T, found["bound"].T, "integer")
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    state = (np.zeros(neurons**2, np.int64),) * 3
    for step in range(steps):
        *state, _, calcium = unit.integer(found["pair"][step], *state)
        for name, values in zip(("s", "p_short", "p_long", "calcium"), (*state, calcium), strict=True):
            np.testing.assert_array_equal(found[name][step], values, err_msg=f"{name} at step {step}")


@pytest.mark.parametrize("bound", [-3, 1 << MESSAGE_EXPONENT, (1 << 23) - 1, -(1 << 23)])
def test_no_gliotransmitter_message_drives_the_states_out_of_their_range(bound):
    """Γ is a fraction: any 24-bit message acts as 0 or 1 at the nearest."""
    release = Release(SynapseParameters(alpha=1.0, U_0_star=0.15), DT, 3)
    spikes = np.random.default_rng(0).random((3, 300)) < 0.2
    found, near = (
        _step_by_step(release, spikes, np.full((3, 300), value), "integer")
        for value in (bound, min(max(bound, 0), 1 << MESSAGE_EXPONENT))
    )
    for name, values in found.items():
        np.testing.assert_array_equal(values, near[name], err_msg=name)
        assert values.min() >= 0 and values.max() <= 1 << STATE_EXPONENT
