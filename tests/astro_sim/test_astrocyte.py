"""The G-ChI and Li-Rinzel astrocytes against LSODA, published peaks and NEST."""

import csv
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.signal import find_peaks

from astro_sim import (
    AstrocyteParameters,
    GliotransmissionParameters,
    LiRinzelModel,
    SynapseParameters,
    TripartiteModel,
    simulate_li_rinzel,
    simulate_tripartite,
)
from astro_sim.errors import InputError
from astro_sim.li_rinzel import RelaxationParameters
from astro_sim.presets import TRIPARTITE

FOLDER = Path(__file__).parents[1] / "oracles"
ORACLES = tomllib.loads((FOLDER / "biophysics.toml").read_text())
EVERY_2_S = np.arange(2, 30, 2.0)


def peaks(recording: xr.Dataset, cell: int = 0, prominence: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Times and heights of the calcium peaks of one cell that are the highest within 3 s."""
    trace = recording.calcium.values[:, cell]
    apart = round(3 / float(recording.time[1] - recording.time[0]))
    found = find_peaks(trace, prominence=prominence, distance=apart)[0]
    return recording.time.values[found], trace[found]


@pytest.fixture(scope="module")
def figure_2() -> xr.Dataset:
    return simulate_tripartite(
        model=TRIPARTITE["stimberg-2019-fig2"], spike_times=[EVERY_2_S], duration=30, dt=2e-3, record_dt=2e-3
    )


def test_figure_2_against_lsoda(figure_2: xr.Dataset) -> None:
    """0.5 % of every peak, 20 ms of its time."""
    oracle = ORACLES["figure_2"]
    times, heights = peaks(figure_2, prominence=0.01)
    assert times == pytest.approx(oracle["peak_time"], abs=0.02)
    assert heights == pytest.approx(oracle["peak_calcium"], rel=5e-3)
    assert float(figure_2.ip3.max()) == pytest.approx(oracle["max_ip3"], rel=0.01)
    assert float(figure_2.bound_astrocytic.max()) == pytest.approx(oracle["max_bound"], rel=5e-3)


def test_figure_2_against_the_published_arrays(figure_2: xr.Dataset) -> None:
    """6 % and 0.15 s: the published run takes Euler steps of 1 ms with the neurotransmitter held in each."""
    oracle = ORACLES["figure_2"]
    times, heights = peaks(figure_2, prominence=0.01)
    assert times[:4] == pytest.approx(oracle["published_peak_time"], abs=0.15)
    assert heights[:4] == pytest.approx(oracle["published_peak_calcium"], rel=0.06)


def test_figure_2_locks_to_every_second_spike(figure_2: xr.Dataset) -> None:
    times, _ = peaks(figure_2, prominence=0.01)
    assert np.diff(times)[-2:] == pytest.approx(4.0, abs=0.02)


@pytest.mark.slow
def test_figure_2_with_channel_noise() -> None:
    """By distribution: 20 cells, each with its own noise on h, against the published six peaks in 30 s."""
    oracle = ORACLES["figure_2_stochastic"]
    cells = 20
    recording = simulate_tripartite(
        model=TRIPARTITE["stimberg-2019-fig2-stochastic"],
        spike_times=[EVERY_2_S] * cells,
        duration=30,
        dt=1e-3,
        record_dt=1e-2,
        seed=790824,
    )
    found = [peaks(recording, cell, prominence=0.2)[0] for cell in range(cells)]
    counts = np.array([len(times) for times in found])
    first = np.array([times[0] for times in found])
    assert np.median(first) == pytest.approx(oracle["first_peak_time"], abs=0.15)
    assert abs(counts.mean() - oracle["n_peaks"]) <= 1.5
    assert first.std() > 0.005  # the cells differ: there is noise
    assert recording.calcium.values.std(axis=1).max() > 0.1


def test_noise_depends_on_the_seed_alone() -> None:
    def run(seed: int) -> np.ndarray:
        model = TRIPARTITE["stimberg-2019-fig2-stochastic"]
        recording = simulate_tripartite(model=model, spike_times=[[0.5]], duration=1.5, dt=1e-3, seed=seed)
        return recording.calcium.values

    assert np.array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


def constant_ip3(k_p: float, ip3: list[float], start: float) -> xr.Dataset:
    model = LiRinzelModel(AstrocyteParameters(K_P=k_p), RelaxationParameters(tau_I=1e9), calcium=0.0, h=0.9)
    recording = simulate_li_rinzel(model, ip3=ip3, duration=start + 150, dt=0.02, record_dt=0.02)
    return recording.sel(time=slice(start, None))


def test_spikes_and_rests_can_be_simulated_again_from_the_recording() -> None:
    first = simulate_li_rinzel(ip3=[0.2, 0.4], spike_times=[[], [0.3]], duration=1.0)
    assert first.rest_of_ip3.values.tolist() == [0.2, 0.4] and first.rest_of_ip3.attrs["units"] == "umol/l"
    times = json.loads(first.attrs["protocol"])["times_s"]
    again = simulate_li_rinzel(ip3=first.rest_of_ip3.values, spike_times=times, duration=1.0)
    assert np.array_equal(first.ip3, again.ip3) and float(first.ip3[-1, 1]) > 1


@pytest.mark.parametrize(("k_p", "table"), [(0.05, "pump_0_05"), (0.1, "pump_0_1")])
def test_calcium_at_constant_ip3(k_p: float, table: str) -> None:
    """Rest to its printed 3 digits, period to 1 %, peak to 1 %."""
    oracle = ORACLES["constant_ip3"][table]
    n_rest = len(oracle["rest_ip3"])
    recording = constant_ip3(k_p, oracle["rest_ip3"] + oracle["oscillating_ip3"], start=150)
    calcium = recording.calcium.values
    assert calcium[-1, :n_rest] == pytest.approx(oracle["rest_calcium"], abs=1.5e-3)
    assert np.ptp(calcium[-1000:, :n_rest], axis=0).max() < 5e-3
    for number, (period, height) in enumerate(zip(oracle["period"], oracle["peak_calcium"], strict=True)):
        times, heights = peaks(recording, n_rest + number)
        assert np.diff(times).mean() == pytest.approx(period, rel=0.01)
        assert heights.mean() == pytest.approx(height, rel=0.01)


def nest_trace(tmp_path: Path) -> tuple[str, Path]:
    """A trace made now where NEST can be imported ($NEST_PYTHON names its interpreter), else the stored one."""
    python, fresh = os.environ.get("NEST_PYTHON", sys.executable), tmp_path / "trace.csv"
    made = subprocess.run([python, FOLDER / "nest_trace.py", fresh], capture_output=True, timeout=120)
    return ("live", fresh) if made.returncode == 0 else ("stored", FOLDER / "nest_trace.csv")


@pytest.mark.slow
def test_agrees_with_nest(tmp_path: Path) -> None:
    """Both integrate with error far below 1e-12 at 0.1 ms and put a spike on the same step: 1e-9 umol/l."""
    _, path = nest_trace(tmp_path)
    with open(path) as file:
        next(file)
        spikes = np.array(next(file).split(":")[1].split(), dtype=float) * 1e-3 + 1e-3
        rows = np.array(
            [[float(row[name]) for name in ("time_ms", "calcium", "ip3", "h")] for row in csv.DictReader(file)]
        )
    model = LiRinzelModel(relaxation=RelaxationParameters(delta_I=0.2))
    recording = simulate_li_rinzel(model, spike_times=[spikes], duration=60, dt=1e-4, record_dt=0.1)
    ours = np.column_stack([recording[name].values[:, 0] for name in ("calcium", "ip3", "h")])
    assert rows[:600, 0] * 1e-3 == pytest.approx(recording.time.values[1:601])
    assert ours[:, 0].max() > 0.5  # it oscillates: agreement at rest would show little
    assert np.abs(ours[1:601] - rows[:600, 1:]).max() < 1e-9


def test_agrees_with_the_stored_nest_trace_at_a_coarser_step() -> None:
    """The same at 1 ms, where RK4 itself errs by some 1e-9: 1e-7 umol/l."""
    rows = np.loadtxt(FOLDER / "nest_trace.csv", delimiter=",", skiprows=3)[:350]
    spikes = np.array([1000.0, 1500.0, 2000.0, 12000.0, 13000.0, 30000.0, 30500.0, 31000.0, 31500.0]) * 1e-3 + 1e-3
    model = LiRinzelModel(relaxation=RelaxationParameters(delta_I=0.2))
    recording = simulate_li_rinzel(model, spike_times=[spikes], duration=35, dt=1e-3, record_dt=0.1)
    ours = np.column_stack([recording[name].values[1:351, 0] for name in ("calcium", "ip3", "h")])
    assert np.abs(ours - rows[:, 1:]).max() < 1e-7


def test_the_order_of_convergence_is_four() -> None:
    """Between events the error of RK4 against LSODA falls with the fourth power of the step."""
    model = TripartiteModel(
        SynapseParameters(Omega_c=1.0, O_G=0.0),  # slow, so that the steps below resolve everything
        gliotransmission=GliotransmissionParameters(C_Theta=10.0, Omega_e=1.0),
        calcium=0.2,
        ip3=0.8,
    )

    def calcium(dt: float, backend: str) -> np.ndarray:
        recording = simulate_tripartite(
            model=replace(model, astrocyte=replace(model.astrocyte, O_N=0.0)),
            spike_times=[[]],
            duration=4.0,
            dt=dt,
            record_dt=0.4,
            backend=backend,
        )
        return recording.calcium.values[:, 0]

    exact = calcium(0.01, "scipy")
    steps = np.array([0.04, 0.02, 0.01])
    errors = [np.abs(calcium(dt, "brian2") - exact).max() for dt in steps]
    assert errors[-1] < 1e-7
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(4, abs=0.2)


@pytest.mark.parametrize(("ip3", "trains"), [(0.3, [[0.1], [0.2]]), ([0.2, 0.3], [[0.1]])])
def test_as_many_rests_as_trains(ip3: object, trains: list[list[float]]) -> None:
    with pytest.raises(InputError, match=r"^ip3: got '\d values', expected \d, one for each of spike_times"):
        simulate_li_rinzel(ip3=ip3, spike_times=trains, duration=1.0)
