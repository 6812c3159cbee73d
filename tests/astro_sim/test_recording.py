"""Recordings on disk: round trip, streaming, early ends, damaged files."""

import os
import signal
import subprocess
import sys
import time

import brian2  # noqa: F401 - its first import redirects warnings, also those that `pytest.warns` waits for
import numpy as np
import pytest
import xarray as xr

from astro_sim.errors import InputError
from astro_sim.macro import simulate_macro
from astro_sim.macro_parameters import MacroParameters
from astro_sim.protocols import array, stp_cycles
from astro_sim.recording import load_recording, save_recording

SHORT = stp_cycles(1, 6, 2, [1.0, 0.5, 0.25])


@pytest.fixture(scope="module")
def recording():
    return simulate_macro(protocol=SHORT)


def test_round_trip(recording, tmp_path):
    back = load_recording(save_recording(recording, tmp_path / "a.nc"))
    xr.testing.assert_identical(back, recording)


@pytest.mark.parametrize("backend", ["brian2", "scipy"])
def test_streamed_rows_are_the_rows_in_memory(tmp_path, monkeypatch, backend):
    """Blocks of 7 rows, so that several are appended and the last is partial."""
    monkeypatch.setattr("astro_sim.recorder.BLOCK_BYTES", 7 * 8 * 31)
    simulate_macro(protocol=SHORT, out=tmp_path / "s.nc", record_dt=0.1, backend=backend).close()
    held, streamed = simulate_macro(protocol=SHORT, record_dt=0.1, backend=backend), load_recording(tmp_path / "s.nc")
    held.attrs["created"] = streamed.attrs["created"]
    xr.testing.assert_identical(streamed, held)
    assert streamed.sizes["time"] == 61


@pytest.mark.filterwarnings("ignore::astro_sim.macro_parameters.LatchingWarning")
@pytest.mark.parametrize("backend", ["brian2", "scipy"])
def test_divergence_stops_the_run_and_keeps_the_rows_before(tmp_path, backend):
    p = MacroParameters(psi="identity", coupling=3.0, tau_p_short=0.5)
    with pytest.warns(RuntimeWarning, match=r"diverged at .* s: try less input"):
        simulate_macro(p, stp_cycles(1, 40, 5, [1.0] * 3), out=tmp_path / "d.nc", backend=backend).close()
    kept = load_recording(tmp_path / "d.nc")
    assert "diverged" in kept.attrs["stopped"]
    assert 2 < kept.sizes["time"] < 81 and np.isfinite(kept.s).all()


def test_interrupt_leaves_a_readable_file(tmp_path):
    """SIGINT in the middle of a run that would last minutes: the rows so far are in the file."""
    code = (
        "import numpy as np; from astro_sim import simulate_macro; from astro_sim.protocols import stp_cycles;"
        "from astro_sim.recorder import Recorder; add = Recorder.add\n"
        "def told(self, time, state):\n"
        "    if time == 20: print('running', flush=True)\n"
        "    return add(self, time, state)\n"
        "Recorder.add = told\n"
        f"simulate_macro(protocol=stp_cycles(2000, 45, 15, np.ones(3)), out={str(tmp_path / 'i.nc')!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and b"running" in process.stdout.readline()
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    kept = load_recording(tmp_path / "i.nc")
    assert "interrupted" in kept.attrs["stopped"]
    assert 40 < kept.sizes["time"] < 90_000
    assert os.listdir(tmp_path) == ["i.nc"]


def test_bad_input_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError):
        simulate_macro(protocol=SHORT, dt=5.0, out=tmp_path / "x.nc")
    assert os.listdir(tmp_path) == []


def test_damaged_files_are_refused(recording, tmp_path):
    whole = save_recording(recording, tmp_path / "whole.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.nc").write_text("not a recording")
    recording.drop_vars("p_long").to_netcdf(tmp_path / "less.nc", engine="h5netcdf")
    recording.drop_attrs().to_netcdf(tmp_path / "bare.nc", engine="h5netcdf")
    recording.isel(time=[]).to_netcdf(tmp_path / "none.nc", engine="h5netcdf")
    recording.where(recording.time < 1).to_netcdf(tmp_path / "nan.nc", engine="h5netcdf")
    for name in ("cut", "text", "less", "bare", "none", "nan", "absent"):
        with pytest.raises(InputError, match=r"^recording: ") as caught:
            load_recording(tmp_path / f"{name}.nc")
        assert "\n" not in str(caught.value), name


@pytest.mark.parametrize("late", [0.0, -1.0], ids=["repeated", "backwards"])
def test_times_that_do_not_increase_are_refused(recording, tmp_path, late):
    times = recording["time"].values.copy()
    times[2] = times[1] + late
    with pytest.raises(InputError, match=r"^recording: time: got .* expected times that increase"):
        load_recording(save_recording(recording.assign_coords(time=times), tmp_path / "late.nc"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: (-np.arange(len(t))).astype(np.uint32), "times that increase"),
        (lambda t: np.where(t == t[-1], np.inf, t), "got inf, expected finite times"),
        (lambda t: np.where(t == t[0], np.nan, t), "got nan, expected finite times"),
        (lambda t: t.astype(str), "a coordinate time, of numbers"),
        (None, "a coordinate time, of numbers"),
    ],
    ids=["unsigned", "infinite", "not a number", "text", "none"],
)
def test_times_that_are_no_times_are_refused(recording, tmp_path, make, message):
    times = recording["time"].values
    changed = recording.drop_vars("time") if make is None else recording.assign_coords(time=("time", make(times)))
    with pytest.raises(InputError, match=message):
        load_recording(save_recording(changed, tmp_path / "times.nc"))


def test_a_failed_write_leaves_the_old_file(recording, tmp_path):
    path = save_recording(recording, tmp_path / "a.nc")
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_recording(recording.assign_attrs(bad=object()), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.nc"]


def test_row_times_are_multiples_of_the_interval():
    run = simulate_macro(protocol=array(np.ones((1, 3)), 1.1), dt=0.025, record_dt=0.5)
    assert run.time.values.tolist() == [0.0, 0.5, 1.0]
