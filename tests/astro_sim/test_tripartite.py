"""Tripartite synapses: Brian2 against SciPy, the published figures, the sweep over rates, and what stops a run."""

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import find_peaks

from astro_sim import (
    AstrocyteParameters,
    InputError,
    SynapseParameters,
    TripartiteModel,
    load_recording,
    save_recording,
    simulate_tripartite,
)
from astro_sim.experiment import Experiment
from astro_sim.mean_field import poisson_release
from astro_sim.presets import TRIPARTITE

ORACLES = tomllib.loads((Path(__file__).parents[1] / "oracles" / "biophysics.toml").read_text())


def test_brian2_agrees_with_scipy() -> None:
    """Irregular trains with feedback: calcium to 1e-4 umol/l at 2 ms; crossings are placed to within a step."""
    rng = np.random.default_rng(4)
    trains = [np.unique(np.rint(rng.uniform(0, 9, count) / 2e-3)) * 2e-3 for count in (3, 8, 15)]
    arguments = {"spike_times": trains, "duration": 10.0, "record_dt": 0.05}
    ours = simulate_tripartite(**arguments)
    exact = simulate_tripartite(**arguments, backend="scipy")
    assert float(ours.n_events.max()) > 0  # the feedback is at work
    tolerances = {"calcium": 1e-4, "ip3": 5e-4, "h": 5e-5, "bound_astrocytic": 5e-4, "released": 1e-3}
    for name, tolerance in tolerances.items():
        assert float(np.abs(ours[name] - exact[name]).max()) < tolerance, name
    assert np.array_equal(ours.n_spikes, exact.n_spikes)
    assert np.array_equal(ours.n_events, exact.n_events)


def test_calcium_that_begins_above_its_threshold_has_not_risen_through_it() -> None:
    """The first release is that of the next rise, on either backend."""
    above = {"calcium": "0.8 uM", "spike_times": "0.3", "duration": "0.5"}
    for backend in ("brian2", "scipy"):
        run = Experiment("tripartite", None, above, backend).run()
        assert run.calcium.values[0] > 0.5 and run.n_events.values[-1] == 0


def test_the_reference_records_at_the_times_of_brian2() -> None:
    """A second of rows every 0.3 s ends at 0.9 s; the values there are those of a run of 0.9 s (1e-9)."""
    arguments = {"spike_times": [[0.1, 0.5]], "record_dt": 0.3}
    exact, ours = (simulate_tripartite(**arguments, duration=1.0, backend=name) for name in ("scipy", "brian2"))
    assert exact.time.values == pytest.approx([0.0, 0.3, 0.6, 0.9]) and np.array_equal(exact.time, ours.time)
    whole = simulate_tripartite(**arguments, duration=0.9, backend="scipy")
    assert exact.ip3.values == pytest.approx(whole.ip3.values, rel=1e-9)


@pytest.mark.parametrize("backend", ["brian2", "scipy"])
def test_figure_3(backend: str) -> None:
    """Crossings to 5 ms, maxima to 1e-4, and the probability that the test train meets at 16.5 s to 1 %.

    The published script holds G_A for each step of 1 ms, which binds more receptors (its 0.1392 and 0.0451); the
    converged values are met here at a step of 2 ms, because G_A decays inside the step.
    """
    oracle = ORACLES["figure_3"]
    for number, name in enumerate(("stimberg-2019-fig3-weak", "stimberg-2019-fig3-strong")):
        model = TRIPARTITE[name]
        recording = simulate_tripartite(
            model=model, spike_times=[[16.5]], duration=16.6, record_dt=2e-3, backend=backend
        )
        events = recording.n_events.values[:, 0]
        crossings = recording.time.values[1:][np.diff(events) > 0]
        assert crossings == pytest.approx(oracle["crossings"][number], abs=5e-3)
        assert float(recording.calcium.max()) == pytest.approx(oracle["max_calcium"][number], abs=1e-4)
        bound = float(recording.bound_presynaptic.sel(time=16.5, method="nearest")[0])
        s = model.synapse
        probability = (1 - bound) * s.U_0_star + bound * s.alpha
        assert probability == pytest.approx(oracle["probability"][number], rel=0.01)
        assert float(recording.released[-1, 0]) == pytest.approx(probability, rel=1e-6)
        assert abs(probability - oracle["probability_held_1_ms"][number]) > 0.001


@pytest.mark.slow
def test_figure_3_in_the_long_run() -> None:
    """Periods to their two decimals, found between rows 20 ms apart (0.02 s); a strong drive dies out (1e-3)."""
    oracle = ORACLES["figure_3_long_run"]

    def maxima(level: float) -> tuple[np.ndarray, np.ndarray]:
        model = TRIPARTITE["stimberg-2019-fig3-weak"]
        model = replace(model, astrocyte=replace(model.astrocyte, I_bias=level))
        recording = simulate_tripartite(model=model, spike_times=[[]], duration=150, record_dt=0.02, backend="scipy")
        calcium = recording.calcium.values[:, 0]
        found = find_peaks(calcium, prominence=0.01)[0]
        return recording.time.values[found], calcium[found]

    for level, period in zip(oracle["I_bias"], oracle["period"], strict=True):
        times, _ = maxima(level)
        assert np.diff(times)[-3:] == pytest.approx(period, abs=0.021)
    _, heights = maxima(oracle["decaying_I_bias"])
    assert heights[:3] == pytest.approx(oracle["decaying_peaks"], abs=1e-3)


def test_held_gliotransmitter_reproduces_the_published_bias() -> None:
    """Summing G_A over steps of 1 ms instead of integrating it: 1.339 umol s/l and a bound fraction of 0.866."""
    decay = np.exp(-60 * 1e-3)
    held = 78 * 1e-3 / (1 - decay)
    assert held == pytest.approx(1.339, abs=6e-4)
    assert 1 - np.exp(-1.5 * held) == pytest.approx(0.866, abs=6e-4)


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["figure_4", "figure_2"])
def test_mean_calcium_against_rate(figure: str) -> None:
    """20 trials of 120 s, as the oracle; its own sampling error at 0.1 Hz is some 10 %, elsewhere 2 %."""
    oracle = ORACLES["calcium_against_rate"]
    model = TripartiteModel(SynapseParameters(O_G=0.0))
    if figure == "figure_2":
        model = TripartiteModel(SynapseParameters(O_G=0.0), TRIPARTITE["stimberg-2019-fig2"].astrocyte)
    recording = simulate_tripartite(model=model, rate_hz=oracle["rate_hz"], trials=20, duration=120, seed=7)
    means = recording.calcium.mean("time").groupby("rate_hz").mean().values
    assert means[0] == pytest.approx(oracle[figure][0], rel=0.15)
    assert means[1:] == pytest.approx(oracle[figure][1:], rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["figure_4", "figure_2"])
def test_releases_against_rate(figure: str) -> None:
    """Releases per minute: the peak to 10 %, its place to the nearest rates, silence where calcium stays above C_Θ.

    20 trials of 120 s, as the oracle: some 14 releases a trial, so that the mean has an error of a few per cent.
    """
    oracle = ORACLES["releases_against_rate"]
    astrocyte = TRIPARTITE["stimberg-2019-fig2"].astrocyte if figure == "figure_2" else AstrocyteParameters()
    rates = np.array([0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 5.0, 10.0])
    recording = simulate_tripartite(
        SynapseParameters(O_G=0.0), astrocyte, rate_hz=rates, trials=20, duration=120, seed=7
    )
    per_minute = recording.n_events[-1].groupby("rate_hz").mean().values / 2
    assert per_minute.max() == pytest.approx(oracle[f"{figure}_peak_per_min"], rel=0.1)
    at = oracle[f"{figure}_peak_rate_hz"]
    assert np.min(at) * 0.7 <= rates[np.argmax(per_minute)] <= np.max(at) * 1.45
    if figure == "figure_4":  # one first crossing is all
        assert (per_minute[rates > oracle["figure_4_silent_above_hz"]] < 1.5).all()


def test_calcium_grows_with_the_presynaptic_rate() -> None:
    """What the presynaptic fit reads: one recording, one column a synapse, calcium that rises with its rate."""
    rates = np.geomspace(0.1, 30, 6)
    recording = simulate_tripartite(SynapseParameters(O_G=0.0), rate_hz=rates, trials=4, duration=15, seed=1)
    assert recording.calcium.dims == ("time", "synapse")
    assert recording.calcium.attrs["units"] == "umol/l"
    means = recording.calcium.mean("time").groupby("rate_hz").mean()
    assert means.rate_hz.values == pytest.approx(rates)
    assert np.all(np.diff(means.values) > 0)


@pytest.mark.slow
def test_figure_4_scenarios_merge_at_high_rate() -> None:
    """Release with and without gliotransmission: far apart at 0.5 Hz, both near Omega_d/rate at 100 Hz."""
    released = {}
    for name in ("closed", "none"):
        recording = simulate_tripartite(
            model=TRIPARTITE[f"stimberg-2019-fig4-{name}"], rate_hz=[0.5, 100], trials=30, duration=40, seed=2
        )
        late = recording.sel(time=slice(20, None))
        total = (late.isel(time=-1) - late.isel(time=0)).groupby("rate_hz").sum()
        released[name] = (total.released / total.n_spikes).values
    assert released["closed"][0] < 0.8 * released["none"][0]
    assert released["closed"][1] == pytest.approx(released["none"][1], rel=0.15)
    assert released["none"][1] == pytest.approx(float(poisson_release(SynapseParameters(), 100)), rel=0.03)


def test_one_seed_fixes_a_run_and_survives_the_file(tmp_path: Path) -> None:
    def run(seed: int):
        return simulate_tripartite(rate_hz=[2.0, 8.0], trials=2, duration=1.0, seed=seed)

    first, again, other = run(1), run(1), run(2)
    assert first.drop_attrs().identical(again.drop_attrs())
    assert not np.array_equal(first.n_spikes, other.n_spikes)
    save_recording(first, tmp_path / "tripartite.nc")
    assert np.array_equal(load_recording(tmp_path / "tripartite.nc").calcium, first.calcium)


def test_given_spikes_can_be_simulated_again_from_the_recording() -> None:
    first = simulate_tripartite(spike_times=[[0.3, 0.1], [], [0.7]], duration=1.0)
    made = json.loads(first.attrs["protocol"])
    assert (made["kind"], made["duration_s"]) == ("spike_times", 1.0)
    assert made["times_s"] == [pytest.approx([0.1, 0.3]), [], pytest.approx([0.7])]
    again = simulate_tripartite(spike_times=made["times_s"], duration=made["duration_s"])
    assert np.array_equal(first.ip3, again.ip3)


def test_divergence_keeps_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pump that runs away: the run is refused, and without that check ends at the first value that is not finite."""
    model = TripartiteModel(astrocyte=AstrocyteParameters(O_P=1e5, K_P=1e-3), calcium=0.5, ip3=0.5)
    with pytest.raises(InputError, match=r"^dt: "):
        simulate_tripartite(model=model, rate_hz=[5.0], duration=2.0, record_dt=2e-3)
    monkeypatch.setattr(TripartiteModel, "check_step", lambda self, dt: None)
    recording = simulate_tripartite(model=model, rate_hz=[5.0], duration=2.0, record_dt=2e-3)
    assert 0 < recording.sizes["time"] < 1000
    assert np.isfinite(recording.calcium).all()
    assert re.search(r"not finite at 0\.\d+ s: try a step below 0\.002 s", recording.attrs["stopped"])


INTERRUPTED = """
import signal, sys
import numpy as np
from astro_sim import brian_backend, save_recording, simulate_tripartite

class Interrupting:
    calls = 0

    @classmethod
    def isfinite(cls, values):
        cls.calls += 1
        if cls.calls == 3:
            signal.raise_signal(signal.SIGINT)
        return np.isfinite(values)

brian_backend.np = Interrupting
save_recording(simulate_tripartite(rate_hz=[5.0], duration=2.0, record_dt=0.02), sys.argv[1])
"""


def test_ctrl_c_leaves_a_readable_recording(tmp_path: Path) -> None:
    """In a process of its own; the signal comes during the run, from the check at every hundredth step."""
    path = tmp_path / "interrupted.nc"
    subprocess.run([sys.executable, "-c", INTERRUPTED, path], check=True, capture_output=True, timeout=240)
    recording = load_recording(path)
    assert "interrupted" in recording.attrs["stopped"]
    assert 10 < recording.sizes["time"] < 100
    assert np.isfinite(recording.calcium).all()


def test_the_reference_refuses_noise() -> None:
    with pytest.raises(InputError, match="noise"):
        simulate_tripartite(
            astrocyte=AstrocyteParameters(noise=1.0), rate_hz=[1.0], duration=1.0, dt=1e-3, backend="scipy"
        )
