"""Slow plasticity: the closed form of p_long, an independent integration of rho, and the astrocytic gate."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from astro_sim import AstrocyteParameters, InputError, SynapseParameters, TripartiteModel
from astro_sim.slow_plasticity import (
    PlasticityModel,
    PlasticityParameters,
    equivalent_tau,
    retention,
    simulate_plasticity,
)

CYCLES = {"n_cycles": 4, "cycle_s": 5.0, "on_s": 2.0, "record_dt": 0.5}
OPEN = PlasticityModel(plasticity=PlasticityParameters(g_A=0.0, tau_p_long=10.0, tau_rho=30.0))


@pytest.fixture(scope="module")
def recording():
    return simulate_plasticity(OPEN, rate_hz=4.0, train="regular", trials=1, **CYCLES)


def test_increments_of_p_long_shrink_by_their_closed_form(recording) -> None:
    """Equal cycles: p_{k+1} = a p_k + b with a = exp(−γˡ T/τ), so every ratio is a. 1 %: s outlasts its pulse."""
    factors = retention(recording.p_long, 4, 5.0)
    assert factors.sum() == pytest.approx(1)
    assert factors[1:] / factors[:-1] == pytest.approx(np.exp(-5 / 10), rel=1e-2)
    assert equivalent_tau(factors, 5.0) == pytest.approx(10, rel=0.01)


def test_rho_against_an_independent_integration(recording) -> None:
    """Calcium by a filter of the spikes, rho by Euler at 0.1 ms: 2 %, as thresholds are met to a 2 ms step."""
    p, s, dt = OPEN.plasticity, OPEN.tripartite.synapse, 1e-4
    steps = round(20 / dt)
    jumps = np.zeros(steps)
    u, x, last = 0.0, 1.0, 0.0
    for spike in (cycle * 5 + k / 4 for cycle in range(4) for k in range(1, 9)):
        if spike - 5 * int(spike / 5) >= 2:
            continue
        u, x = u * np.exp(-s.Omega_f * (spike - last)), 1 - (1 - x) * np.exp(-s.Omega_d * (spike - last))
        u += s.U_0_star * (1 - u)
        jumps[round((spike + 0.014) / dt)] += p.jump_at_presynaptic * u * x / s.U_0_star
        jumps[round((spike + 0.010) / dt)] += p.jump_at_postsynaptic
        x, last = x * (1 - u), spike
    calcium = lfilter([1], [1, -np.exp(-dt / p.tau_Ca)], jumps)
    up, down = p.gamma_p * (calcium > p.theta_p), p.gamma_d * (calcium > p.theta_d)
    rho, ends = 0.0, [0.0]
    for step in range(steps):
        drift = -rho * (1 - rho) * (p.rho_star - rho) + up[step] * (1 - rho) - down[step] * rho
        rho += dt * drift / p.tau_rho
        if (step + 1) % round(5 / dt) == 0:
            ends.append(rho)
    ours = recording.rho.sel(time=np.arange(5) * 5.0, method="nearest").values[:, 0]
    assert ends[-1] > 0.2
    assert ours == pytest.approx(ends, rel=0.02, abs=1e-6)


def test_both_accounts_retain_less_in_each_cycle(recording) -> None:
    for name in ("rho", "p_long"):
        factors = retention(recording[name], 4, 5.0)
        assert np.all(factors > 0)
        assert np.all(np.diff(factors) < 0)


def test_potentiation_needs_astrocytic_calcium() -> None:
    """Calcium clamped at rest blocks it; D-serine (no gate) rescues it; an active astrocyte allows it."""
    silent = AstrocyteParameters(O_beta=0.0, O_delta=0.0)
    cut = TripartiteModel(SynapseParameters(O_G=0.0), silent)

    def final(model: PlasticityModel) -> float:
        options = {"rate_hz": 4.0, "train": "regular", "trials": 1, "n_cycles": 1, "cycle_s": 6.0, "on_s": 6.0}
        return float(simulate_plasticity(model, record_dt=0.5, **options).rho[-1, 0])

    gated = replace(OPEN.plasticity, g_A=1.0)
    clamped, rescued = final(PlasticityModel(cut, gated)), final(PlasticityModel(cut, OPEN.plasticity))
    active = final(replace(OPEN, plasticity=gated))
    assert clamped < 0.01 * rescued
    assert active > 0.3 * rescued


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: PlasticityModel(plasticity=PlasticityParameters(g_A=1.5)), "g_A"),
        (lambda: PlasticityModel(lag_s=-1.0), "lag_s"),
        (lambda: simulate_plasticity(on_s=50.0), "on_s"),
        (lambda: simulate_plasticity(train="bursts"), "train"),
        (lambda: simulate_plasticity(trials=0), "trials"),
    ],
)
def test_bad_input_names_the_field(make: object, field: str) -> None:
    with pytest.raises(InputError) as error:
        make()  # type: ignore[operator]
    assert error.value.field == field
