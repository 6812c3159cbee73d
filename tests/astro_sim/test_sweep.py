"""Sweeps: the points they make, one dataset with the parameters as coordinates, restart."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import LocalCluster

from astro_sim.errors import InputError
from astro_sim.experiment import Experiment
from astro_sim.recording import save_recording
from astro_sim.reference import solve_tripartite
from astro_sim.sweep import Sweep, _key
from astro_sim.tripartite_model import TripartiteModel

BASE = Experiment(settings={"n_cycles": "1", "cycle_s": "4 s", "on_s": "2 s"}, backend="scipy", seed=3)


@pytest.fixture(scope="module")
def address():
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs="ERROR"
    ) as cluster:
        yield cluster.scheduler_address


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.02)


def test_grid_is_every_combination():
    sweep = Sweep.grid(BASE, {"gain": "0.1, 0.2", "border": "open,periodic"})
    assert [tuple(point.values()) for point in sweep.points] == [
        ("0.1", "open"),
        ("0.1", "periodic"),
        ("0.2", "open"),
        ("0.2", "periodic"),
    ]


def test_latin_hypercube_has_one_point_in_each_slice_and_is_fixed_by_the_seed():
    sweep = Sweep.latin_hypercube(BASE, {"tau_p_long": "100:300 s", "gain": "0.1:0.2"}, 8)
    for name, low, high in (("tau_p_long", 100, 300), ("gain", 0.1, 0.2)):
        values = np.array([float(point[name].split()[0]) for point in sweep.points])
        assert sorted(((values - low) / (high - low) * 8).astype(int)) == list(range(8))
    assert all(point["tau_p_long"].endswith(" s") for point in sweep.points)
    assert sweep == Sweep.latin_hypercube(BASE, {"tau_p_long": "100:300 s", "gain": "0.1:0.2"}, 8)


def test_one_dataset_with_the_parameters_as_coordinates(tmp_path, address):
    sweep = Sweep.grid(BASE, {"tau_p_long": "60 s,2 min", "gain": "0.1,0.2"})
    told: list[tuple[int, int]] = []
    out = sweep.run(tmp_path / "s.nc", scheduler=address, progress=lambda *pair: told.append(pair))
    result = xr.load_dataset(out, engine="h5netcdf", decode_times=False)
    assert result.p_long.dims == ("point", "time", "post", "pre") and result.sizes["point"] == 4
    assert result.gain.values.tolist() == [0.1, 0.2, 0.1, 0.2]
    assert told == [(k, 4) for k in range(5)]
    for k, point in enumerate(sweep.points):
        alone = sweep.experiment(point).run()
        assert np.array_equal(result.p_long.isel(point=k).values, alone.p_long.values)
    assert list(tmp_path.iterdir()) == [out]


def test_runs_with_different_numbers_of_spikes_are_put_side_by_side(tmp_path):
    few = {"n_excitatory": "80", "n_inhibitory": "20", "n_astrocytes": "16", "duration": "100 ms"}
    sweep = Sweep.grid(Experiment("network", None, few), {"I_ex": "150 pA,250 pA"})
    alone, paths = [sweep.experiment(point).run() for point in sweep.points], [tmp_path / "a.nc", tmp_path / "b.nc"]
    for path, one in zip(paths, alone, strict=True):
        save_recording(one, path)
    assert alone[0].sizes["spike"] != alone[1].sizes["spike"]
    together = sweep._together(paths)
    for k, one in enumerate(alone):
        for name in ("spike_time", "spike_neuron"):
            row, n = together[name].isel(point=k).values, one.sizes["spike"]
            assert np.array_equal(row[:n], one[name].values) and np.isnan(row[n:]).all()
        assert np.array_equal(together.calcium.isel(point=k).values, one.calcium.values)


def test_started_again_it_simulates_only_what_is_missing(tmp_path, address):
    """What a killed sweep leaves is its finished parts; the second start runs the other one only."""
    out, sweep = tmp_path / "s.nc", Sweep.grid(BASE, {"gain": "0.1,0.2,0.3"})

    def killed(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.run(out, scheduler=address, progress=killed)
    parts = {path: path.stat().st_mtime_ns for path in Path(f"{out}.parts").iterdir()}
    assert len(parts) == 2 and not out.exists()
    (notes := Path(f"{out}.parts") / "notes").write_text("mine")
    told: list[tuple[int, int]] = []

    def unchanged(done: int, total: int) -> None:
        told.append((done, total))
        assert all(path.stat().st_mtime_ns == before for path, before in parts.items())

    sweep.run(out, scheduler=address, progress=unchanged)
    assert told == [(2, 3), (3, 3)]
    assert xr.load_dataset(out, engine="h5netcdf", decode_times=False).gain.values.tolist() == [0.1, 0.2, 0.3]
    assert [path.name for path in notes.parent.iterdir()] == ["notes"]


@pytest.mark.slow
def test_a_sweep_that_was_killed_keeps_what_it_had(tmp_path):
    """SIGKILL to the command and its workers once two of eight points are there."""
    out, cycles = tmp_path / "s.nc", {"n_cycles": "2", "cycle_s": "45 s", "on_s": "15 s"}
    over = {"gain": "0.1,0.11,0.12,0.13,0.14,0.15,0.16,0.17"}
    words = [f"--set={name}={value}" for name, value in cycles.items()] + [f"--over=gain={over['gain']}"]
    command = [
        sys.executable,
        "-c",
        "from rmaat.cli.app import main; main()",
        "sweep",
        *words,
        "--workers=1",
        f"--out={out}",
    ]
    parts = Path(f"{out}.parts")
    child = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(parts.glob("*.nc"))) >= 2)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    before = {path: path.stat().st_mtime_ns for path in parts.glob("*.nc")}
    assert 2 <= len(before) < 8 and not out.exists()
    told: list[tuple[int, int]] = []

    def unchanged(done: int, total: int) -> None:
        told.append((done, total))
        assert all(path.stat().st_mtime_ns == then for path, then in before.items())

    Sweep.grid(Experiment(settings=cycles), over).run(out, workers=1, progress=unchanged)
    assert told == [(done, 8) for done in range(len(before), 9)]
    assert xr.load_dataset(out, engine="h5netcdf", decode_times=False).sizes["point"] == 8


@pytest.mark.slow
def test_a_scheduler_elsewhere_is_used_by_its_address(tmp_path):
    """`dask scheduler` and `dask worker` as processes of their own on 127.0.0.1."""
    described = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(described)]
    with ExitStack() as stack:

        def start(*words: str) -> None:
            child = subprocess.Popen(
                [*dask, *words], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(child.wait)
            stack.callback(child.terminate)

        start("scheduler", *options)
        wait_for(described.exists)
        scheduler = json.loads(described.read_text())["address"]
        start("worker", scheduler, "--nthreads", "1", "--preload", "brian2", "--no-dashboard")
        base = Experiment(settings=BASE.settings, backend="brian2")
        out = Sweep.grid(base, {"gain": "0.1,0.2"}).run(tmp_path / "s.nc", scheduler=scheduler)
    result = xr.load_dataset(out, engine="h5netcdf", decode_times=False)
    assert result.sizes["point"] == 2 and float(result.p_long.max()) > 0


@pytest.mark.slow
def test_local_cluster_runs_brian2(tmp_path):
    base = Experiment(settings=BASE.settings, backend="brian2")
    out = Sweep.grid(base, {"gain": "0.1,0.2"}).run(tmp_path / "s.nc", workers=2)
    result = xr.load_dataset(out, engine="h5netcdf", decode_times=False)
    assert result.sizes["point"] == 2 and np.isfinite(result.x).all()


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Sweep.grid(BASE, {}), "over"),
        (lambda: Sweep.grid(BASE, {"gain": "0.1,,0.2"}), "gain"),
        (lambda: Sweep.grid(BASE, {"gain": "0.1:0.2"}), "gain"),
        (lambda: Sweep.latin_hypercube(BASE, {"gain": "0.1"}, 3), "gain"),
        (lambda: Sweep.latin_hypercube(BASE, {"gain": "0.2:0.1"}, 3), "gain"),
        (lambda: Sweep.latin_hypercube(BASE, {"gain": "0.1:0.2"}, 0), "samples"),
    ],
)
def test_sweeps_that_cannot_be_are_refused_by_name(make, field):
    with pytest.raises(InputError, match=rf"^{field}: "):
        make()


def test_a_bad_point_is_refused_by_its_field(tmp_path, address):
    with pytest.raises(InputError, match=r"^tau_n: "):
        Sweep.grid(BASE, {"tau_n": "-1 s"}).run(tmp_path / "s.nc", scheduler=address)


@pytest.mark.parametrize("values", ["50ms,0.1 s", "0.05,100 ms"])
def test_coordinates_are_numbers_in_the_unit_of_their_parameter(tmp_path, address, values):
    out = Sweep.grid(BASE, {"tau_n": values, "border": "open"}).run(tmp_path / "s.nc", scheduler=address)
    result = xr.load_dataset(out, engine="h5netcdf", decode_times=False)
    assert result.tau_n.values == pytest.approx([0.05, 0.1]) and result.tau_n.attrs["units"] == "s"
    assert result.border.values.tolist() == ["open"] * 2


def test_an_initial_state_stands_beside_the_variable_of_its_name(tmp_path, address):
    """The reference integrates each trace from the state that its coordinate says."""
    base = Experiment("tripartite", None, {"spike_times": "0.3", "duration": "0.5"}, backend="scipy")
    sweep = Sweep.grid(base, {"ip3": "0.1,200 nM", "h": "0.8"})
    result = xr.load_dataset(sweep.run(tmp_path / "s.nc", scheduler=address), engine="h5netcdf", decode_times=False)
    assert result.ip3.dims == ("point", "time", "synapse") and result.ip3.attrs["units"] == "umol/l"
    assert result.initial_ip3.dims == ("point",) and result.initial_ip3.attrs["units"] == "umol/l"
    assert result.initial_ip3.values == pytest.approx([0.1, 0.2]) and result.initial_h.values.tolist() == [0.8] * 2
    assert {"initial_ip3", "initial_h"} <= set(result.coords) and {"ip3", "h"} <= set(result.data_vars)
    model = TripartiteModel(ip3=0.2, h=0.8)
    states, _, _ = solve_tripartite([0.3], model, result.time.values)
    assert result.ip3.values[1, :, 0] == pytest.approx(states["I"], rel=1e-9)
    assert result.h.values[:, 0, 0].tolist() == [0.8] * 2


def test_coordinates_of_a_latin_hypercube_are_converted(tmp_path, address):
    sweep = Sweep.latin_hypercube(BASE, {"tau_p_long": "1:3 min", "gain": "0.1:0.2"}, 2)
    result = xr.load_dataset(sweep.run(tmp_path / "s.nc", scheduler=address), engine="h5netcdf", decode_times=False)
    expected = [60 * float(point["tau_p_long"].split()[0]) for point in sweep.points]
    assert result.tau_p_long.values == pytest.approx(expected)
    assert (result.tau_p_long.attrs["units"], result.gain.attrs["units"]) == ("s", "1")


@pytest.mark.parametrize("model", ["macro", "tripartite", "ring", "network"])
def test_a_step_that_cannot_be_is_refused_before_anything_is_started(tmp_path, model):
    with pytest.raises(InputError, match=r"^dt: "):
        Sweep.grid(Experiment(model), {"dt": "5", "record_dt": "5"}).run(tmp_path / "s.nc", scheduler="nowhere")
    assert list(tmp_path.iterdir()) == []


def test_parts_of_other_code_are_not_used(monkeypatch):
    key = _key(BASE)
    assert key == _key(BASE) != _key(Experiment(settings=BASE.settings, backend="scipy", seed=4))
    monkeypatch.setattr("astro_sim.sweep.code_sha256", lambda: "other")
    assert key != _key(BASE)


def test_units_of_nested_constants_are_found():
    assert Experiment("network").unit("O_beta") == "umol/(l s)" and Experiment("ring").unit("duration") == "s"
