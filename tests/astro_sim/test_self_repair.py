"""Self-repair against its mean-rate balance, with controls, and the astrocyte's slow loop against SciPy."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from astro_sim import InputError, SelfRepairModel, load_recording, simulate_self_repair
from astro_sim.self_repair import RepairParameters

ORACLE = tomllib.loads((Path(__file__).parents[1] / "oracles" / "biophysics.toml").read_text())["self_repair"]

# The same balance in a tenth of the time: amounts and time constants change, their products stay.
QUICK = SelfRepairModel(
    repair=RepairParameters(tau_AG=1.0, delta_AG=8e-3, tau_eSP=2.0, tau_I=1.0, r_I=3.5), n_synapses=10, fault_s=10.0
)


def settled(recording: xr.Dataset, start: float, stop: float, n_neurons: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Rate and release probability of the first to the last neuron, means over time and astrocytes."""
    count = recording.n_spikes.sel(time=stop) - recording.n_spikes.sel(time=start)
    rates = count.values / (stop - start)
    probability = recording.probability.sel(time=slice(start, stop)).mean("time").values
    return tuple(values.reshape(-1, n_neurons).mean(axis=0) for values in (rates, probability))  # type: ignore[return-value]


def test_the_balance_is_the_one_worked_out_by_hand() -> None:
    """To the digits printed."""
    model = SelfRepairModel()
    assert model.n_silent == ORACLE["faulty_synapses"]
    assert model.balance() == pytest.approx((ORACLE["rate_hz"], ORACLE["probability"]), rel=2e-3)
    faulty = model.balance(10 - ORACLE["faulty_synapses"])
    assert faulty == pytest.approx((ORACLE["faulty_rate_hz"], ORACLE["faulty_probability"]), rel=3e-3)
    assert QUICK.balance() == pytest.approx(model.balance(), rel=1e-9)


def test_healthy_synapses_stand_in_for_silent_ones() -> None:
    """20 astrocytes: rates and probabilities within 5 % of the balance (sampling 2 %, releases that coincide 2 %)."""
    recording = simulate_self_repair(QUICK, trials=20, duration=20, seed=2)
    whole, left = QUICK.balance(), QUICK.balance(3)
    rates, probability = settled(recording, 6.0, 10.0)
    assert rates == pytest.approx([whole[0]] * 2, rel=0.05)
    assert probability == pytest.approx([whole[1]] * 2, rel=0.05)
    rates, probability = settled(recording, 15.0, 20.0)
    assert rates == pytest.approx([whole[0], left[0]], rel=0.05)
    assert probability == pytest.approx([whole[1], left[1]], rel=0.05)
    unrepaired = 3 * QUICK.rate_hz * whole[1]
    assert rates[1] > 1.6 * unrepaired
    assert float(recording.calcium.sel(time=slice(6, None)).min()) > QUICK.repair.C_Theta


def test_without_2_ag_nothing_is_repaired() -> None:
    """The control: K_AG = 0 leaves every probability at its clip or rest, whatever falls silent."""
    model = replace(QUICK, repair=replace(QUICK.repair, K_AG=0.0, m_eSP=0.0), fault_s=2.0)
    recording = simulate_self_repair(model, trials=20, duration=6, seed=3)
    assert recording.probability.values == pytest.approx(0.3)
    rates, _ = settled(recording, 2.5, 6.0)
    assert rates[1] == pytest.approx(model.balance(3)[0], rel=0.08)
    assert rates[1] == pytest.approx(0.3 * rates[0], rel=0.15)


@pytest.mark.slow
def test_the_published_constants_repair_in_400_s(tmp_path: Path) -> None:
    """10 astrocytes over 50 s: 3 %; e-SP to 1 %."""
    path = tmp_path / "repair.nc"
    simulate_self_repair(trials=10, backend="brian2-standalone", seed=1, out=path)
    recording = load_recording(path)
    rates, probability = settled(recording, 350.0, 400.0)
    assert rates == pytest.approx([ORACLE["rate_hz"], ORACLE["faulty_rate_hz"]], rel=0.03)
    assert probability == pytest.approx([ORACLE["probability"], ORACLE["faulty_probability"]], rel=0.03)
    late = float(recording.potentiation.sel(time=slice(350, 400)).mean())
    assert late == pytest.approx(ORACLE["potentiation_percent"], rel=0.01)
    before, _ = settled(recording, 150.0, 200.0)
    assert before == pytest.approx([ORACLE["rate_hz"]] * 2, rel=0.03)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: SelfRepairModel(silent=1.5), "silent"),
        (lambda: SelfRepairModel(n_neurons=0), "n_neurons"),
        (lambda: SelfRepairModel(rate_hz=float("nan")), "rate_hz"),
        (lambda: simulate_self_repair(dt=0.1, record_dt=0.5), "dt"),
        (lambda: simulate_self_repair(dt=7e-3, record_dt=0.7), "dt"),
        (lambda: simulate_self_repair(trials=0), "trials"),
    ],
)
def test_bad_input_names_the_field(make: object, field: str) -> None:
    with pytest.raises(InputError) as error:
        make()  # type: ignore[operator]
    assert error.value.field == field
