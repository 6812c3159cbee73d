"""`rmaat train` from the command line: what it writes, and what bad input does."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from rmaat.cli.app import main
from rmaat.cli.evaluate import evaluate
from rmaat.data.listops import decode
from rmaat.data.sequences import Sequences
from rmaat.data.splits import load_splits
from rmaat.training.folder import held
from rmaat.training.log import read_curves
from rmaat.training.recipe import load_recipe
from rmaat_bridge import BioParameters

evaluate_app = typer.Typer()
evaluate_app.command()(evaluate)

TINY = """
task = "listops"
[data]
train = 8
validation = 4
test = 8
[model]
dim = 8
layers = 1
heads = 2
segment_length = 256
memory_tokens = 2
[optimisation]
steps = 2
batch_size = 4
evaluate_every = 1
save_every = 1
"""


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def rmaat(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0


def test_a_run_leaves_checkpoint_curves_and_result(recipe_file, tmp_path, capsys):
    out = tmp_path / "run"
    assert rmaat("train", "--task", "listops", "--config", recipe_file, "--seed", 3, "--out", out) == 0
    said = capsys.readouterr().out
    result = json.loads((out / "result.json").read_text())
    names = {path.name for path in (out / "checkpoint").iterdir()}
    assert names == {"config.json", "model.safetensors", "recipe.json"}
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "metrics.csv").read_text().count("validation") == 2
    assert result["recipe"]["seed"] == 3 and result["test"]["n"] == 8
    assert set(result["floors"]) == {"majority class", "root operator", "root operator and its digits"}
    assert f"{result['floors']['root operator']:.1%}" in said and str(out) in said
    curves = read_curves(out / "metrics.csv")  # the floors, fitted after the training, have no part in its memory
    assert result["peak_memory_mib"] == pytest.approx(max(float(row["peak_memory_mib"]) for row in curves), abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "task", "folder"),
    [
        ((), "listops", "listops"),
        (("--config", "text-small"), "text", "text"),
        (("--task", "text"), "text", "text"),
        (("--config", "image-small", "--objective", "masked"), "image", "image-masked"),
    ],
)
def test_the_task_is_the_recipes_unless_it_is_named(monkeypatch, arguments, task, folder):
    run = Mock()
    monkeypatch.setattr("rmaat.training.run.train", run)
    assert rmaat("train", *arguments) == 0
    (recipe, _, out), _ = run.call_args
    assert recipe.task == task and out == Path("runs") / folder


def test_another_bio_file_is_another_model(recipe_file, tmp_path):
    reference = BioParameters.reference()
    reference.save(tmp_path / "a.toml")
    content = reference.model_dump(mode="json")
    tau = content["retention"]["parameters"]["tau_p_long"]
    tau["value"] = tau["lower"] = tau["upper"] = tau["value"] / 4
    BioParameters.model_validate(content).save(tmp_path / "b.toml")
    losses = []
    for name in ("a", "b"):
        bio, out = tmp_path / f"{name}.toml", tmp_path / name
        assert rmaat("train", "--config", recipe_file, "--bio", bio, "--out", out) == 0
        losses.append(json.loads((out / "result.json").read_text())["test"]["loss"])
        config = json.loads((out / "checkpoint" / "config.json").read_text())
        assert config["bio"]["retention"]["parameters"]["tau_p_long"]["value"] == pytest.approx(
            BioParameters.load(bio).retention.parameters["tau_p_long"].value
        )
    assert losses[0] != losses[1]


def test_an_unfinished_run_is_not_overwritten_and_resumes(recipe_file, tmp_path, capsys):
    out = tmp_path / "run"
    assert rmaat("train", "--config", recipe_file, "--out", out) == 0
    finished = (out / "checkpoint" / "model.safetensors").read_bytes()
    (out / "result.json").unlink()
    assert rmaat("train", "--config", recipe_file, "--out", out) == 2
    assert "--resume" in capsys.readouterr().err
    assert rmaat("train", "--config", recipe_file, "--out", out, "--resume", "--seed", 1) == 2
    assert "(recipe.seed is 0 there and 1 here)" in capsys.readouterr().err
    noted = (out / "run.json").read_bytes()
    (out / "run.json").write_bytes(noted[:40])
    assert rmaat("train", "--config", recipe_file, "--out", out, "--resume") == 2
    assert "(run.json cannot be read)" in capsys.readouterr().err
    (out / "run.json").write_bytes(noted)
    assert rmaat("train", "--config", recipe_file, "--out", out, "--resume") == 0
    assert (out / "checkpoint" / "model.safetensors").read_bytes() == finished


def test_a_run_is_replaced_only_if_asked_for(recipe_file, tmp_path, capsys):
    """The finished one and the unfinished one alike; what is refused leaves every byte of the folder."""
    out = tmp_path / "run"
    run = ("train", "--config", recipe_file, "--out", out)
    assert rmaat(*run) == 0
    for said in ("a finished run (--overwrite replaces", "an unfinished run (--resume continues, --overwrite replaces"):
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        capsys.readouterr()
        assert rmaat(*run, "--seed", 1) == 2
        error = capsys.readouterr().err
        assert said in " ".join(error.split()) and error.count("\n") == 1
        assert rmaat(*run, "--resume", "--overwrite") == 2
        assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        (out / "result.json").unlink(missing_ok=True)
    old = out / "tensorboard" / "events.old"  # TensorBoard would show the curves of both runs
    old.parent.mkdir(exist_ok=True)
    old.touch()
    assert rmaat(*run, "--seed", 1, "--overwrite") == 0
    assert not old.exists()
    assert json.loads((out / "result.json").read_text())["recipe"]["seed"] == 1
    assert (out / "metrics.csv").read_text().count("validation") == 2


def test_two_processes_do_not_write_one_run(recipe_file, tmp_path, capsys):
    """A run that ended while another waited is no reason to replace it."""
    out = tmp_path / "run"
    run = ("train", "--config", recipe_file, "--out", out)
    with held(out):
        assert rmaat(*run) == 2
        error = capsys.readouterr().err
        assert "--out" in error and "no other process trains into" in " ".join(error.split())
    assert list(out.iterdir()) == []
    assert rmaat(*run) == 0
    whole = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with held(out):
        assert rmaat(*run, "--overwrite") == 2 and rmaat(*run, "--resume") == 2
    assert whole == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_evaluate_gives_the_score_of_the_run_again(recipe_file, tmp_path):
    """On the run's own data, and on the same expressions in the official layout."""
    assert rmaat("train", "--config", recipe_file, "--out", tmp_path / "run") == 0
    known = json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    folder = tmp_path / "official"
    folder.mkdir()
    splits = load_splits("listops", load_recipe(recipe_file).data, 0)
    for name, data in (("train", splits.train), ("val", splits.validation), ("test", splits.test)):
        rows = (f"( {decode(data[i])} )\t{data.labels[i]}\n" for i in range(len(data)))
        (folder / f"basic_{name}.tsv").write_text("Source\tTarget\n" + "".join(rows))
    for place in ((), ("--data", folder)):
        runner = CliRunner().invoke(
            evaluate_app,
            [
                str(tmp_path / "run" / ("checkpoint" if place else "")),
                *map(str, place),
                "--out",
                str(tmp_path / "score.json"),
            ],
        )
        assert runner.exit_code == 0, runner.exception
        score = json.loads((tmp_path / "score.json").read_text())
        assert score["accuracy"] == known["accuracy"] and score["loss"] == pytest.approx(known["loss"], rel=1e-5)


def test_evaluate_does_not_write_into_what_it_reads_nor_seed_it(recipe_file, tmp_path, capsys):
    cache = tmp_path / "cache"
    few = ("--train", 8, "--validation", 8, "--test", 8)
    assert rmaat("data", "prepare", "listops", *few, "--out", cache) == 0
    assert rmaat("train", "--config", recipe_file, "--data", cache, "--out", tmp_path / "run") == 0
    before = (cache / "test" / "labels.npy").read_bytes()
    assert rmaat("evaluate", tmp_path / "run", "--out", cache / "test" / "labels.npy") == 2
    assert f"another path than what is read, {cache}" in capsys.readouterr().err
    assert rmaat("evaluate", tmp_path / "run", "--split", "train") == 0  # on which trivial models are fitted
    assert "floor" not in capsys.readouterr().out
    assert rmaat("evaluate", tmp_path / "run", "--seed", 3) == 2
    assert f"--seed: got 3, expected none for examples that are read, from {cache}" in capsys.readouterr().err
    assert (cache / "test" / "labels.npy").read_bytes() == before


def test_a_source_that_would_not_be_read_is_refused(recipe_file, tmp_path, capsys, monkeypatch):
    """Beside generated examples, a cache of another source, and in `evaluate` without `--data`."""
    assert rmaat("train", "--config", recipe_file, "--out", tmp_path / "run") == 0
    checkpoint = tmp_path / "run" / "checkpoint"
    train = ("train", "--config", recipe_file, "--source", "20news", "--out", tmp_path / "other")
    refused = [train, ("evaluate", checkpoint, "--source", "20news")]
    for arguments in refused:
        assert rmaat(*arguments) == 2
    splits = load_splits("listops", load_recipe(recipe_file).data, 0)
    for split in ("train", "validation", "test"):
        data = getattr(splits, split)
        data.about["source"] = "lra"
        data.save(tmp_path / "data" / "listops" / split)
    monkeypatch.setenv("RMAAT_DATA", str(tmp_path / "data"))
    assert rmaat(*train) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all("--source: got '20news', expected none" in line for line in said)
    assert "none without --data" in said[1] and "'lra'" in said[2]
    assert not (tmp_path / "other").exists()
    assert rmaat("train", "--config", recipe_file, "--source", "lra", "--out", tmp_path / "other") == 0


def test_files_that_no_run_wrote_are_kept(recipe_file, tmp_path, capsys):
    """Also where the run is asked to go on, or its bio-parameters lie where it would write."""
    mine = tmp_path / "mine"
    BioParameters.reference().save(mine / "bio.toml")
    before = (mine / "bio.toml").read_bytes()
    run = ("train", "--config", recipe_file, "--out", mine)
    for options in ((), ("--resume",), ("--bio", mine / "bio.toml"), ("--bio", mine / "bio.toml", "--overwrite")):
        assert rmaat(*run, *options) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4 and all("--out: got" in line for line in said)
    assert "without bio.toml" in said[0] and "without bio.toml" in said[1] and "that of --bio" in said[3]
    assert [path.name for path in mine.iterdir()] == ["bio.toml"] and (mine / "bio.toml").read_bytes() == before
    assert rmaat(*run, "--overwrite") == 0 and (mine / "result.json").exists()


def test_more_classes_than_the_checkpoint_has_are_refused(recipe_file, tmp_path, capsys):
    assert rmaat("train", "--config", recipe_file, "--out", tmp_path / "run") == 0
    splits = load_splits("listops", load_recipe(recipe_file).data, 0)
    for split in ("train", "validation", "test"):
        data = getattr(splits, split)
        replace(data, labels=data.labels + 10 - data.labels.max(), num_labels=11).save(tmp_path / split)
    assert rmaat("evaluate", tmp_path / "run" / "checkpoint", "--data", tmp_path) == 2
    assert "model.num_labels: got 10, expected at least 11, the classes of the data" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["transformer", "rlt", "floor"])
def test_baselines_and_floors_train_like_the_model(recipe_file, tmp_path, kind):
    out = tmp_path / "run"
    assert rmaat("train", "--config", recipe_file, "--model", kind, "--out", out) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["recipe"]["kind"] == kind
    assert "root operator" in result["floors"] and ("test" in result) == (kind != "floor")


def test_a_model_of_the_whole_sequence_holds_the_longest_of_the_test_set(tmp_path):
    """A second segment would know nothing of the first: these models have no memory."""
    rng = np.random.default_rng(0)
    for split, longest in (("train", 20), ("validation", 20), ("test", 30)):
        rows = [rng.integers(1, 257, longest - i) for i in range(8)]
        Sequences.from_list(rows, [0, 1] * 4, 257, 2).save(tmp_path / "data" / split)
    tiny = ("--set=model.dim=8", "--set=model.heads=2", "--set=optimisation.batch_size=4", "--steps", 1)
    run = ("train", "--task", "text", "--model", "transformer", *tiny, "--data", tmp_path / "data", "--overwrite")
    for most, held_at_once in (("", 30), ("--set=data.max_length=25", 25)):
        assert rmaat(*run, *filter(None, [most]), "--out", tmp_path / "run") == 0
        config = json.loads((tmp_path / "run" / "checkpoint" / "config.json").read_text())
        assert config["segment_length"] == held_at_once


def test_a_setting_that_a_baseline_has_anyhow_may_be_given(recipe_file, tmp_path):
    """Also where false stands for off."""
    run = ("train", "--config", recipe_file, "--model", "rmt", "--out", tmp_path / "run")
    assert rmaat(*run, "--set=model.retention=false", "--set=model.backprop=bptt") == 0


def test_floors_see_what_the_model_sees(tmp_path, capsys):
    """Two classes that only their last byte tells apart: nothing is left of them in the 20 bytes before."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 400), ("validation", 40), ("test", 200)):
        labels = np.arange(n) % 2
        rows = [np.append(rng.integers(1, 100, 20), 200 + label) for label in labels]
        Sequences.from_list(rows, labels.tolist(), 257, 2).save(tmp_path / "data" / split)
    scores = {}
    for longest in (20, 21):
        run = ("train", "--task", "text", "--model", "floor", "--data", tmp_path / "data", "--out", tmp_path / "run")
        assert rmaat(*run, f"--set=data.max_length={longest}", "--overwrite") == 0
        scores[longest] = json.loads((tmp_path / "run" / "result.json").read_text())["floors"]
    assert scores[21]["byte histogram"] == 1 and scores[20]["byte histogram"] < 0.65
    assert "byte 1- to 4-grams" in scores[21] and "that take minutes" not in capsys.readouterr().out
    tiny = ("--steps", 1, "--set=model.dim=8", "--set=model.heads=2")
    assert rmaat("train", "--task", "text", *tiny, "--data", tmp_path / "data", "--out", tmp_path / "other") == 0
    how = "floors that take minutes (byte bigrams, byte 1- to 4-grams): train with --model floor"
    assert how in " ".join(capsys.readouterr().out.split())
    result = json.loads((tmp_path / "other" / "result.json").read_text())
    rows = read_curves(tmp_path / "other" / "metrics.csv")
    best = max(float(row["accuracy"]) for row in rows if row["split"] == "validation")
    assert result["validation"] == {"accuracy": best, "n": 40} and "byte bigrams" not in result["floors"]


def test_two_devices_are_taken_when_torchrun_says_so_alone(tmp_path, monkeypatch):
    """Else the command would be started again for the second of them."""
    monkeypatch.setattr("lightning.fabric.accelerators.cpu.CPUAccelerator.auto_device_count", lambda *_: 2)
    started = Mock(side_effect=AssertionError("a second process"))
    monkeypatch.setattr("lightning.fabric.strategies.launchers.subprocess_script.subprocess.Popen", started)
    few = [f"--set=data.{split}=8" for split in ("train", "validation", "test")]
    tiny = ["--set=data.curriculum=[]", "--set=optimisation.batch_size=4", "--set=model.dim=8", "--set=model.heads=2"]
    assert rmaat("train", "--task", "listops", "--config", "demo", "--steps", 1, *few, *tiny, "--out", tmp_path) == 0
    assert not started.called


def test_pairs_and_language_models_train(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        rows = [rng.integers(1, 257, 20 + i) for i in range(16)]
        pairs = Sequences.from_list(rows, [0, 1] * 4, 257, 2, parts=2)
        pairs.save(tmp_path / "pairs" / split)
        Sequences.from_list([row[:20] for row in rows], [0] * 16, 257, 257).save(tmp_path / "windows" / split)
    tiny = [f"--set=model.{key}={value}" for key, value in {"dim": 8, "heads": 2, "segment_length": 8}.items()]
    for task, folder in (("retrieval", "pairs"), ("language", "windows")):
        out = tmp_path / task
        options = ("--set=optimisation.batch_size=4", "--steps", 3, "--data", tmp_path / folder)
        assert rmaat("train", "--task", task, *tiny, *options, "--out", out) == 0
        assert np.isfinite(json.loads((out / "result.json").read_text())["test"]["loss"])
    assert rmaat("train", "--task", task, *tiny, *options, "--set=model.causal=false", "--out", tmp_path / "no") == 2
    assert "model.causal: got False, expected true, for language" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", "chess"), "chess"),
        (("--bio", "absent.toml"), "absent.toml"),
        (("--config", "absent.toml"), "absent.toml"),
        (("--start", "absent"), "--start: got 'absent', expected the checkpoint of a run"),
        (
            ("--model", "rmt", "--set", "model.retention=fitted"),
            "model.retention: got 'fitted', expected 'off', for --model rmt",
        ),
        (
            ("--model", "linear", "--set", "model.segment_length=64"),
            "model.segment_length: got 64, expected none: it holds the whole sequence, for --model linear",
        ),
        (("--model", "perceptron"), "--model: got 'perceptron', expected one of rmaat, "),
        (("--set", "model.input_kind=features"), "model.input_kind: got 'features', expected tokens or levels"),
        (("--set", "model.width=3"), "width"),
        (("--set", "model.dim"), "--set: got 'model.dim', expected name=value"),
        (("--set", "=5"), "--set: got '=5', expected name=value"),
        (("--set", "model.dim=nan"), "model.dim: got nan"),
        (("--set", "model.self=3"), "model.self: got 3, expected one of vocab_size"),
        (("--set", "optimisation.learning_rate=1e300"), "learning_rate: got 1e+300"),
        (("--seed", "99999999999999999999"), "seed: got 99999999999999999999"),
        (("--set", "data.folder=absent"), "data: got 'absent', expected an existing path"),
        (("--set", "optimisation.batch_size=9"), "batch_size"),
        (("--set", "parameters=100"), "parameters"),
        (("--task", "image"), "--task: got 'image', expected 'listops', the task of "),
        (
            ("--set", "data.curriculum=[{steps=1000000000000,batch_size=4,min_length=30,max_length=128}]"),
            "data.curriculum.0.steps: got 1000000000000, expected less than or equal to 10000000",
        ),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_2(recipe_file, tmp_path, capsys, arguments, said):
    out = tmp_path / "out"
    assert rmaat("train", "--config", recipe_file, *arguments, "--out", out) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not out.exists()


def test_a_stem_of_another_width_than_the_pictures_is_refused(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        rows = [rng.integers(1, 257, 64) for _ in range(32)]
        Sequences.from_list(rows, [0, 1] * 16, 257, 2).save(tmp_path / "small" / split)
    options = ("--task", "image", "--data", tmp_path / "small", "--steps", 1, "--out", tmp_path / "out")
    stem = {"picture_width": 4, "stem_layers": 1, "stem_stride": 4, "segment_length": 16}
    arguments = [f"--set=model.{name}={value}" for name, value in stem.items()]
    assert rmaat("train", *options, *arguments) == 2
    error = capsys.readouterr().err
    assert "picture_width" in error and "8, the width of the pictures" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert rmaat("train", *options, *arguments, "--set=model.picture_width=8") == 0
    for split in ("train", "validation", "test"):
        Sequences.from_list([rng.integers(1, 257, 256)] * 4, [0, 1] * 2, 257, 2).save(tmp_path / "large" / split)
    assert rmaat("evaluate", tmp_path / "out", "--data", tmp_path / "large") == 2
    assert "model.picture_width: got 8, expected 16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.num_labels=2", "model.num_labels: got 2, expected at least"),
        ("model.vocab_size=5", "model.vocab_size: got 5, expected 16, the token ids of the data"),
        ("model.bio={}", "model.bio: got {}, expected none: --bio names the file"),
    ],
)
def test_a_setting_that_the_data_decide_is_refused_before_training(recipe_file, tmp_path, capsys, setting, said):
    assert rmaat("train", "--config", recipe_file, "--set", setting, "--out", tmp_path / "out") == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
