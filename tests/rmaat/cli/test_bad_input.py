"""Bad input ends in one line that names the field and the value, exit code 2, and no file left behind."""

import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from astro_sim import save_recording, simulate_macro
from rmaat.cli.app import main
from rmaat.config import RMAATConfig
from rmaat.heads import RMAATForSequenceClassification
from rmaat_bridge import BioParameters


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that must be refused."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_recording(simulate_macro(backend="scipy"), tmp_path_factory.mktemp("recording") / "macro.nc")


def test_unknown_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "simulate", "--model", "micro", "--out", tmp_path / "x.nc")
    assert "micro" in line and "macro" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "tripartite", "--set", "U_0_star=2"), "U_0_star: got 2.0, expected a finite number > 0 and <= 1"),
        (("--model", "network", "--set", "n_excitatory=1e12"), "n_excitatory.* at most 1e.08 of each"),
        (("--set", "protocol=spike_times", "--set", "times_s=;;"), "times_s.* at least one spike"),
        (("--plot",), "--out: .* another ending"),
    ],
)
def test_simulations_that_cannot_be(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(said, refusal(capsys, "simulate", *arguments, "--out", tmp_path / "x.png"))
    assert not list(tmp_path.iterdir())


def test_output_that_cannot_be_written(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").touch()
    assert "folder" in refusal(capsys, "fit", recording, "--out", tmp_path / "folder")
    assert "file" in refusal(capsys, "fit", recording, "--out", tmp_path / "file" / "bio.toml")
    assert "/proc" in refusal(capsys, "fit", recording, "--out", "/proc/bio.toml")
    assert (tmp_path / "file").read_text() == "kept"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["kept"]


@pytest.mark.parametrize(
    "command",
    [
        ("simulate",),
        ("sweep", "macro", "--set", "tau_p_long=1,2"),
        ("fit", "absent.nc"),
        ("evaluate", "absent"),
        ("train", "--task", "text"),
        ("data", "prepare", "listops"),
        ("data", "inspect", "listops"),
        ("deploy", "absent"),
        ("demo",),
        ("figures", "absent"),
        ("bench", "lra"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_an_output_below_a_file_is_refused_before_any_work(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What else is wrong, missing inputs among it, would be found only later."""
    (tmp_path / "file").write_text("kept")
    line = refusal(capsys, *command, "--out", tmp_path / "file" / "new" / "name")
    assert re.search("--out: got '.*file/new/name', expected a path that can be written; .*file is no folder", line)
    assert (tmp_path / "file").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that takes no files")
@pytest.mark.parametrize("command", [("train", "--task", "listops"), ("evaluate", "absent")], ids=lambda c: c[0])
def test_an_output_where_nothing_can_be_put_is_refused_before_any_work(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, *command, "--out", "/proc/new/name")
    assert "--out: got '/proc/new/name', expected a path that can be written; nothing can be put into /proc" in line


@pytest.mark.parametrize(
    "command", [("simulate",), ("train", "--task", "text"), ("data", "prepare", "listops"), ("figures", "runs")]
)
def test_a_default_output_that_cannot_be_is_refused_too(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RMAAT_DATA", raising=False)
    for name in ("runs", "data"):
        Path(name).write_text("kept")
    assert re.search("--out: got '(runs|data)/.* is no folder", refusal(capsys, *command))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"kept"}


@pytest.mark.parametrize(
    ("command", "holds"),
    [
        (("data", "prepare", "listops"), "."),
        (("data", "prepare", "listops"), "train"),
        (("deploy", "absent"), "deployment"),
    ],
)
def test_a_folder_of_other_things_is_refused_before_any_work(
    command: tuple[str, ...], holds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / holds).mkdir(exist_ok=True)
    (tmp_path / holds / "notes").write_text("kept")
    if command[0] == "deploy":
        (tmp_path / "agreement.json").write_text('{"target": "numpy", "equal_to_numpy": true}')  # of before
    assert re.search("it holds 'notes'", refusal(capsys, *command, "--out", tmp_path))
    assert (tmp_path / holds / "notes").read_text() == "kept"


@pytest.mark.parametrize(
    ("command", "mark"),
    [(("demo",), "demo.json"), (("deploy", "absent"), "agreement.json")],
)
@pytest.mark.parametrize("content", ["mine", "{}", '{"versions": ["1.0"], "recipe": "pancakes"}', "[" * 100_000])
def test_a_file_of_the_same_name_is_not_this_commands(
    command: tuple[str, ...], mark: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / mark).write_text(content)
    assert f"a folder without {mark}, which" in refusal(capsys, *command, "--out", tmp_path)
    assert (tmp_path / mark).read_text() == content and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ('task = "listops"\nkind = "floor"', "model: got 'floor', expected one of rmaat"),
        ('task = "listops"\nkind = "transformer"', "mixer: got 'softmax', expected 'astromorphic', for a model to be"),
        ('task = "listops"\nobjective = "masked"', "model: got 'RMAATForMaskedLM', expected an RMAATForSequence"),
        ('task = "listops"\nmodel.segment_length = 2048\nmodel.stem_layers = 6', "state: got '18432 bytes', expected"),
        ('task = "language"', "data: got 'data/language', expected a cache"),
        ('task = "foo"', "task: got 'foo', expected one of"),
    ],
)
def test_a_demo_of_what_cannot_be_deployed_is_refused_before_any_work(
    entries: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RMAAT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(entries)
    assert said in refusal(capsys, "demo", "--config", tmp_path / "own.toml", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_in_a_file_of_options_is_not_the_current_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.toml").write_text('out = ""')
    assert "own.toml: out: got ''" in refusal(capsys, "deploy", "absent", "--config", tmp_path / "own.toml")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("train", "--data", ""), "--data"), (("train", "--data="), "--data"), (("evaluate", ""), "evaluate")],
)
def test_nothing_is_not_the_current_folder(
    arguments: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, *arguments) == f"error: {named}: got '', expected a value that is not empty"


def test_a_model_that_no_memory_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """10^10 channels want petabytes: the allocation fails at once, and takes nothing from anybody."""
    sizes = [f"--set=data.{split}=40" for split in ("train", "validation", "test")]
    line = refusal(
        capsys, "train", *sizes, "--set=data.curriculum=[]", "--set=model.dim=10000000000", "--out", tmp_path
    )
    assert line.startswith("error: memory: ") and line.endswith("a smaller model, batch or length needs less")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cycle-s", "nan"), "cycle_s: got nan, expected at least two recorded intervals, .* and at most"),
        (("--cycle-s", "inf"), "cycle_s: got inf"),
        (("--activity-range", "5", "1"), r"activity_range: got \(5.0, 1.0\), expected .* the lower first"),
        (("--activity-range", "nan", "nan"), r"activity_range: got \(nan, nan\)"),
        (("--activity-range", "-1", "5"), r"activity_range: got \(-1.0, 5.0\)"),
    ],
)
def test_fits_that_cannot_be(
    arguments: tuple[str, ...], said: str, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(said, refusal(capsys, "fit", recording, *arguments, "--out", tmp_path / "bio.toml"))
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_read_is_not_replaced(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = recording.read_bytes()
    assert "--out" in refusal(capsys, "fit", recording, "--out", recording)
    assert recording.read_bytes() == before
    weights = tmp_path / "run" / "checkpoint" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    for checkpoint in (tmp_path / "run", weights.parent):
        assert "--out" in refusal(capsys, "evaluate", checkpoint, "--out", weights)
    for checkpoint in (tmp_path / "run", weights.parent):
        assert "--out" in refusal(capsys, "evaluate", checkpoint, "--out", tmp_path / "run" / "result.json")
    assert "--out" in refusal(capsys, "deploy", tmp_path / "run", "--out", weights.parent)
    options = tmp_path / "options.toml"
    options.write_text("seed = 1")
    for command in (("simulate",), ("sweep",), ("fit", recording)):
        assert "--out" in refusal(capsys, *command, "--config", options, "--out", options)
    assert options.read_text() == "seed = 1"
    assert weights.read_bytes() == b"weights"


def test_outputs_that_are_no_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "there is a device" in refusal(capsys, "evaluate", "absent", "--out", "/dev/null")
    assert "a link to nothing" in refusal(capsys, "evaluate", "absent", "--out", tmp_path / "link")
    assert "a link to nothing" in refusal(capsys, "train", "--out", tmp_path / "link")


def test_unknown_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "train", "--task", "listopts", "--out", tmp_path / "x")
    assert "--task" in line and "listopts" in line and "listops" in line
    for command in ("prepare", "inspect"):
        assert "TASK: got 'listopts', expected one of listops" in refusal(capsys, "data", command, "listopts")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tasks", "listopts"), "--tasks: got 'listopts', expected one of listops, "),
        (("--tasks", "image", "--config", "mine.toml"), "'--config'.*'mine.toml' is not one of 'small', 'paper'"),
        (("--tasks", "image", "--models", "rmaatt"), "--models: got 'rmaatt', expected one of rmaat, "),
    ],
)
def test_tables_that_cannot_be(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(said, refusal(capsys, "bench", "lra", *arguments, "--out", tmp_path / "x"))
    assert not list(tmp_path.iterdir())


def test_missing_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "fit", tmp_path / "absent.nc", "--out", tmp_path / "bio.toml")
    assert "absent.nc" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_truncated_recording(recording: Path, share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = recording.read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: int(share * len(whole))])
    line = refusal(capsys, "fit", tmp_path / "cut.nc", "--out", tmp_path / "bio.toml")
    assert "cut.nc" in line
    assert [path.name for path in tmp_path.iterdir()] == ["cut.nc"]


def test_negative_time_constant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = BioParameters.reference().save(tmp_path / "bio.toml")
    value = BioParameters.reference().retention.parameters["tau_p_long"].value
    text = path.read_text()
    assert str(value) in text
    path.write_text(re.sub(rf"^value = {value}$", f"value = -{value}", text, count=1, flags=re.MULTILINE))
    line = refusal(capsys, "train", "--task", "listops", "--bio", path, "--out", tmp_path / "run")
    assert "tau_p_long" in line and f"-{value:.2f}"[:5] in line
    assert [path.name for path in tmp_path.iterdir()] == ["bio.toml"]


def test_checkpoint_of_another_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = RMAATForSequenceClassification(RMAATConfig(vocab_size=16, num_labels=10, dim=16, layers=1))
    model.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "recipe.json").write_text('{"task": "listops"}')
    weights = safetensors.torch.load_file(tmp_path / "checkpoint" / "model.safetensors")
    weights["classifier.bias"] = torch.zeros(7)
    safetensors.torch.save_file(weights, tmp_path / "checkpoint" / "model.safetensors")
    arguments = ("deploy", tmp_path, "--target", "numpy", "--out", tmp_path / "deployed")
    line = refusal(capsys, *arguments)
    assert "classifier.bias" in line and "7" in line and "10" in line
    assert not (tmp_path / "deployed").exists()
