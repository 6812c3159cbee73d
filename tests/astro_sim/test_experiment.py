"""`rmaat simulate`: what it writes, and the one line and exit code of what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest

from astro_sim.errors import InputError
from astro_sim.experiment import MACRO_PRESETS, MICRO, MODELS, Experiment
from astro_sim.recording import load_recording
from rmaat.cli.app import main
from rmaat.cli.simulate import parse_settings


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
        (["--set", "n_neurons=100000000"], "n_neurons"),
        (["--set", "dt=1 s"], "dt"),
        (["--set", "nonsense=1"], "nonsense"),
        (["--set", "seed=3"], "--seed"),
        (["--model", "ring", "--set", "backend=scipy"], "--backend"),
        (["--model", "network", "--set", "seed=3"], "--seed"),
        (["--set", "out=a.nc"], "--out"),
        (["--set", "initial=1"], "initial"),
        (["--set", "parameters=1"], "--set parameters"),
        (["--set", "n_neurons=1e400"], "n_neurons: got '1e400', expected a whole number"),
        (["--model", "self-repair", "--set", "trials=1e400"], "trials"),
        (["--model", "tripartite", "--set", "trials=1e30"], "trials: got 1"),
        (["--model", "self-repair", "--set", "dt=0"], "dt: got 0.0"),
        (["--model", "tripartite", "--set", "rate_hz=1;2,3"], "rate_hz"),
        (["--model", "tripartite", "--set", "rate_hz=1;2"], "rate_hz"),
        (["--model", "tripartite", "--set", "train=regular", "--set", "rate_hz=600"], "rate_hz: got 600.0"),
        (["--model", "tripartite", "--set", "duration=5", "--set", "record_dt=6"], "record_dt: got 6.0, expected at"),
        *((["--model", model, "--set", "duration=2", "--set", "record_dt=3"], "record_dt") for model in MICRO),
        (["--model", "tripartite", "--set", "synapse=1"], "synapse"),
        (["--set", "protocol=poisson", "--set", "amplitude=1,2"], "amplitude"),
        (["--set", "protocol=spike_times", "--set", "times_s=1,2,3"], "protocol"),
        (["--model", "ring", "--set", "shape=2.5"], "shape"),
        (["--model", "ring", "--set", "dt=1", "--set", "record_dt=1"], "dt"),
        (["--model", "network", "--set", "dt=100ms"], "dt"),
        *((["--model", model, "--set", "dt=10s"], "dt: got 10.0") for model in MODELS),
        (["--model", "working-memory", "--set", "astrocyte_dt=20ms"], "astrocyte_dt"),
        (["--model", "working-memory", "--set", "patterns=1"], "patterns"),
        (["--model", "working-memory", "--set", "learned=0123456789"], "cue_from"),
        (["--model", "working-memory", "--set", "cue_noise=2"], "cue_noise"),
        (["--model", "network", "--set", "astrocyte_dt=2s", "--set", "record_dt=2s"], "astrocyte_dt"),
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


def test_spike_times_and_arrays_are_rows_apart_by_semicolons():
    """Every neuron fires when its row says, within the 0.5 s that are recorded; an empty row is silent."""
    common = {"n_neurons": "3", "record_dt": "0.1 s", "gain": "0"}
    spikes = {"protocol": "spike_times", "times_s": "1 s,3;500 ms;", "duration_s": "4"}
    x = Experiment("macro", None, common | spikes).run().x.values
    assert [np.argmax(x[:, neuron]) * 0.1 for neuron in range(2)] == pytest.approx([1.0, 0.5], abs=0.11)
    assert x[29, 0] < x[31, 0] and not x[:, 2].any()
    rows = {"protocol": "array", "values": "1,0,0;0,2,0", "interval_s": "2 s"}
    x = Experiment("macro", None, common | rows).run().x.values
    assert x[19] == pytest.approx([1, 0, 0], abs=1e-9) and x[-1] == pytest.approx([0, 2, 0], abs=1e-9)


def test_spikes_of_a_tripartite_synapse_are_one_row_or_several():
    """Counted as they come, on either side of each; what stands between semicolons is a synapse of its own."""
    for text, expected in {"1,1.5": [[0], [1], [2]], "1,1.5;;500 ms": [[0, 0, 1], [1, 0, 1], [2, 0, 1]]}.items():
        run = Experiment("tripartite", None, {"spike_times": text, "duration": "2 s"}).run()
        at = run.n_spikes.sel(time=[0.9, 1.4, 1.9], method="nearest")
        assert at.values.tolist() == expected


def test_tables_of_one_row():
    assert Experiment("macro", None, {"n_neurons": "3", "protocol": "array", "values": "1,0,0"}).run().sizes["time"] > 1
    memories = {
        "n_neurons": "3",
        "coupling_kernel": "memories",
        "memories": "1,-1,1",
        "coupling": "0.01",
        "duration_s": "2",
    }
    run = Experiment("macro", None, memories | {"protocol": "ramp"}).run()
    assert json.loads(run.attrs["parameters"])["memories"] == [[1.0, -1.0, 1.0]]


def test_a_backend_that_a_model_does_not_have_is_refused_before_the_run():
    with pytest.raises(InputError, match=r"^backend: got 'scipy', expected one of brian2, brian2-standalone$"):
        Experiment("ring", backend="scipy").prepare()


def test_scipy_takes_steps_of_its_own():
    """So the step that Brian2 could not take is no reason to refuse the run, nor a fact about it."""
    settings = {"tau_n": "5ms", "n_cycles": "1", "cycle_s": "2", "on_s": "1", "record_dt": "0.3"}
    run = Experiment("macro", None, settings, "scipy").run()
    assert "dt_s" not in run.attrs and np.allclose(run.time, np.arange(7) * 0.3)
    with pytest.raises(InputError, match=r"^dt: "):
        Experiment("macro", None, settings).run()


def test_a_name_is_set_once(tmp_path, capsys):
    assert run("--set", "tau_p_long=100s", "--set", "tau_p_long=300s", "--out", str(tmp_path / "a.nc")) == 2
    assert "--set: got 'tau_p_long=300s', expected each name once" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"^--over: got 'gain=2', expected each name once; gain is 1 before"):
        parse_settings(["gain=1", "gain=2"], "--over")


def test_pictures_of_runs_whose_names_have_a_point(tmp_path):
    short = ("--set", "n_cycles=1", "--set", "cycle_s=2", "--set", "on_s=1", "--plot")
    for name in ("tau0.5", "tau0.6"):
        assert run(*short, "--out", str(tmp_path / name)) == 0
    assert {path.name for path in tmp_path.glob("*.png")} == {"tau0.5.png", "tau0.6.png"}


@pytest.mark.parametrize(("protocol", "field"), [("spike_times", "--set times_s"), ("array", "--set values")])
def test_protocols_that_lack_their_rows_are_refused(protocol, field):
    with pytest.raises(InputError, match=f"^{field}: "):
        Experiment("macro", None, {"protocol": protocol}).run()


MICRO_RUNS = {
    "tripartite": ("no-feedback", ["rate_hz=2,8", "duration=1 s"], ("time", "synapse"), (11, 2)),
    "ring": ("sheet", ["shape=3,4", "duration=5 s"], ("time", "astrocyte"), (11, 12)),
    "network": (
        "stimberg-2019-fig1",
        ["n_excitatory=80", "n_inhibitory=20", "n_astrocytes=16", "duration=100 ms"],
        ("time", "astrocyte"),
        (2, 16),
    ),
    "working-memory": (
        "gordleeva-2021",
        ["astrocytes_a_side=5", "learned=T", "learn_from=10 ms", "duration=100 ms"],
        ("time", "astrocyte"),
        (3, 25),
    ),
}


@pytest.mark.parametrize("model", MICRO_RUNS)
def test_every_model_runs_from_the_command_line(model, tmp_path):
    preset, settings, dims, shape = MICRO_RUNS[model]
    words = [word for setting in settings for word in ("--set", setting)]
    out = tmp_path / "a.nc"
    assert run("--model", model, "--preset", preset, *words, "--seed", "5", "--out", str(out), "--plot") == 0
    recording = load_recording(out)
    assert (recording.attrs["model"], recording.attrs["seed"]) == (model, 5)
    assert recording.calcium.dims == dims and recording.calcium.shape == shape
    assert np.isfinite(recording.calcium).all() and out.with_suffix(".png").exists()


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InputError, match=r"^protocol: "):
        Experiment("macro", None, {"protocol": "chirp"}).run()


def test_a_run_does_not_load_what_it_does_not_need(tmp_path):
    """In a process of its own: Brian2's star import of pylab, its tests, xarray's cluster cost a third of the start."""
    code = "import sys; from rmaat.cli.app import main\ntry: main(sys.argv[1:])\nfinally: print(sorted(sys.modules))"
    words = ["simulate", "--model", "ring", "--set", "duration=1s", "--out", str(tmp_path / "a.nc")]
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True, timeout=240)
    loaded = done.stdout.splitlines()[-1]
    assert "'brian2'" in loaded and (tmp_path / "a.nc").exists()
    for module in ("matplotlib.pyplot", "pylab", "_pytest", "distributed", "torch", "scipy.optimize"):
        assert f"'{module}'" not in loaded
