"""`rmaat simulate`: what it writes, and the one line and exit code of what it refuses."""

import numpy as np
import pytest

from astro_sim.errors import InputError
from astro_sim.experiment import MACRO_PRESETS, Experiment
from astro_sim.recording import load_recording
from rmaat.cli.app import main


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *words])
    return int(ended.value.code or 0)


def test_simulate_writes_a_recording_and_a_picture(tmp_path, capsys):
    out = tmp_path / "a.nc"
    code = run("--out", str(out), "--plot", "--set", "tau_p_long=5min", "--set", "n_cycles=1", "--set", "cycle_s=20")
    assert code == 0 and str(out) in capsys.readouterr().out
    recording = load_recording(out)
    assert '"tau_p_long": 300.0' in recording.attrs["parameters"]
    assert recording.time.values[-1] == 20.0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_config_file_sets_what_flags_override(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('settings = ["n_cycles=1", "cycle_s=0.5 min"]\nseed = 3\nbackend = "scipy"\n')
    assert run("--config", str(config), "--seed", "4", "--out", str(tmp_path / "a.nc")) == 0
    recording = load_recording(tmp_path / "a.nc")
    assert (recording.attrs["seed"], recording.attrs["backend"]) == (4, "scipy")
    assert recording.time.values[-1] == 30.0


@pytest.mark.filterwarnings("ignore::astro_sim.macro_parameters.LatchingWarning")
def test_a_run_that_diverges_says_so_and_keeps_its_rows(tmp_path, capsys):
    unstable = ["--set", "psi=identity", "--set", "coupling=3", "--set", "tau_p_short=0.5s"]
    assert run(*unstable, "--out", str(tmp_path / "d.nc")) == 1
    assert "diverged at" in capsys.readouterr().out
    assert load_recording(tmp_path / "d.nc").sizes["time"] > 2


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--set", "tau_n=-1 s"], "tau_n"),
        (["--set", "tau_n=3 mV"], "tau_n"),
        (["--set", "n_cycles=0"], "n_cycles"),
        (["--set", "dt=1 s"], "dt"),
        (["--set", "nonsense=1"], "nonsense"),
        (["--set", "tau_n"], "--set"),
        (["--preset", "absent"], "demo"),
        (["--model", "micro"], "tripartite"),
        (["--backend", "neuron"], "backend"),
        (["--config", "absent.toml"], "--config"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_and_leaves_nothing(words, named, tmp_path, capsys):
    assert run("--out", str(tmp_path / "x.nc"), *words) == 2
    error = capsys.readouterr().err.strip()
    assert named in error and len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("preset", MACRO_PRESETS)
def test_every_macro_preset_runs(preset):
    run = Experiment("macro", preset, {"n_cycles": "1", "cycle_s": "2", "on_s": "1"}).run()
    assert np.isfinite(run.p_short).all() and float(run.p_short.max()) > 0


@pytest.mark.parametrize("protocol", ["poisson", "ramp"])
def test_other_protocols_run(protocol):
    run = Experiment("macro", None, {"protocol": protocol, "duration_s": "4 s"}, seed=2).run()
    assert run.sizes["time"] == 9 and float(run.x.max()) > 0


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InputError, match=r"^protocol: "):
        Experiment("macro", None, {"protocol": "chirp"}).run()
