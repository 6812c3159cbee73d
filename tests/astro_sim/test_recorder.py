"""Streaming: rows in the file are the rows in memory, for every model; memory does not grow; SIGTERM keeps the file."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
import xarray as xr

from astro_sim import load_recording, simulate_network, simulate_ring, simulate_tripartite
from astro_sim.network_model import NetworkModel
from astro_sim.neurons import NeuronParameters
from astro_sim.recorder import recorder, recording_of

ACTIVE = NetworkModel(
    neurons=NeuronParameters(I_ex=150e-12), n_excitatory=80, n_inhibitory=20, n_astrocytes=16, drive=(1.0,)
)
RUNS = {
    "tripartite": lambda **out: simulate_tripartite(rate_hz=[2.0, 8.0], duration=2.0, record_dt=0.02, seed=1, **out),
    "ring": lambda **out: simulate_ring(duration=20.0, **out),
    "network": lambda **out: simulate_network(ACTIVE, duration=0.2, record_dt=0.01, seed=1, **out),
}


@pytest.mark.parametrize("model", RUNS)
def test_the_file_is_the_recording_in_memory(model, tmp_path, monkeypatch):
    """Blocks of some 2 kB, so that many are appended and the last is partial."""
    monkeypatch.setattr("astro_sim.recorder.BLOCK_BYTES", 2000)
    RUNS[model](out=tmp_path / "s.nc").close()
    held, streamed = RUNS[model](), load_recording(tmp_path / "s.nc")
    held.attrs["created"] = streamed.attrs["created"]
    xr.testing.assert_identical(streamed, held)
    assert streamed.sizes["time"] >= 21 and os.listdir(tmp_path) == ["s.nc"]


def test_rates_of_the_network_count_its_spikes():
    """Mean rate times population and interval, summed, are the spikes up to the last row."""
    run = RUNS["network"]()
    count = float((run.rate_excitatory * 80 + run.rate_inhibitory * 20).sum()) * 0.01
    assert count == pytest.approx(int((run.spike_time < 0.2 - 1e-9).sum()), abs=1e-6) and count > 100


def template(cells: int) -> xr.Dataset:
    return xr.Dataset(
        {"v": (("time", "cell"), np.empty((0, cells)))}, {"time": ("time", np.empty(0))}, {"model": "ring"}
    )


def test_memory_does_not_grow_with_the_run(tmp_path):
    """160 MB of rows through blocks of 4 MiB: the peak stays below four blocks."""
    cells, rows = 1000, 20_000
    tracemalloc.start()
    try:
        with recorder(template(cells), tmp_path / "s.nc") as into:
            row = np.random.default_rng(0).random(cells).round(2)
            for k in range(rows):
                into.add(float(k), {"v": row})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**22
    with recording_of(into, tmp_path / "s.nc") as streamed:
        assert streamed.v.shape == (rows, cells) and np.array_equal(streamed.v[-1], row)


@pytest.mark.parametrize("streamed", [False, True])
def test_rows_end_before_the_first_that_is_not_finite(streamed, tmp_path):
    """Also where only the row at time 0 is left: the file can be read."""
    path = tmp_path / "s.nc" if streamed else None
    with pytest.warns(RuntimeWarning, match="v not finite at 1 s"), recorder(template(3), path) as into:
        for k, value in enumerate([1.0, np.nan, 2.0]):
            into.add(float(k), {"v": np.full(3, value)})
    with recording_of(into, path) as kept:
        assert kept.time.values.tolist() == [0.0] and "not finite" in kept.attrs["stopped"]


CODE = """
import sys
from astro_sim import simulate_ring
from astro_sim.recorder import Recorder
add = Recorder.add
def told(self, time, row):
    if time == 5: print("running", flush=True)
    add(self, time, row)
Recorder.add = told
simulate_ring(duration=2900, out=sys.argv[1])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_readable_file_and_nothing_else(number, tmp_path):
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", CODE, tmp_path / "s.nc"], stdout=subprocess.PIPE)
    assert process.stdout is not None and b"running" in process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(number)
    process.communicate(timeout=60)
    kept = load_recording(tmp_path / "s.nc")
    assert "interrupted" in kept.attrs["stopped"] and 10 < kept.sizes["time"] < 5801
    assert os.listdir(tmp_path) == ["s.nc"]
