"""`rmaat train` from the command line: what it writes, resumes, replaces and keeps."""

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from training_runs import rmaat

from rmaat.data.listops import Grammar, generate
from rmaat.data.sequences import Sequences
from rmaat.training.folder import held
from rmaat.training.log import read_curves
from rmaat_bridge import BioParameters


def test_a_run_leaves_checkpoint_curves_and_result(recipe_file, tmp_path, capsys):
    out = tmp_path / "run"
    assert rmaat("train", "--task", "listops", "--config", recipe_file, "--seed", 3, "--out", out) == 0
    said = capsys.readouterr().out
    result = json.loads((out / "result.json").read_text())
    names = {path.name for path in (out / "checkpoint").iterdir()}
    assert names == {"config.json", "model.safetensors", "recipe.json", "validation.json"}
    reached = json.loads((out / "checkpoint" / "validation.json").read_text())
    assert reached["accuracy"] == result["validation"]["accuracy"] and reached["step"] in (1, 2)
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


def test_a_model_of_the_whole_sequence_holds_the_longest_of_a_stage(recipe_file, tmp_path):
    for split in ("train", "validation", "test"):
        generate(8, 0, Grammar(max_depth=4, min_length=20, max_length=40)).save(tmp_path / "data" / split)
    stage = "--set=data.curriculum=[{steps=1,batch_size=4,min_length=50,max_length=90}]"
    run = ("train", "--config", recipe_file, "--model", "linear", stage, "--data", tmp_path / "data")
    assert rmaat(*run, "--out", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "checkpoint" / "config.json").read_text())["segment_length"] == 89


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


def test_floors_of_masked_pictures_see_what_the_model_sees(tmp_path):
    """Pictures whose first rows are black, and of which nothing else is read."""
    rng = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        rows = [np.append(np.ones(16, int), rng.integers(2, 257, 48)) for _ in range(8)]
        Sequences.from_list(rows, [0, 1] * 4, 257, 2).save(tmp_path / "data" / split)
    run = ("train", "--task", "image", "--model", "floor", "--objective", "masked", "--data", tmp_path / "data")
    assert rmaat(*run, "--set=data.max_length=16", "--out", tmp_path / "run") == 0
    (floor,) = json.loads((tmp_path / "run" / "result.json").read_text())["floors"].values()
    assert floor == 1


def test_floors_of_a_recipe_that_asks_for_a_gpu(recipe_file, tmp_path):
    """They train nothing that could be recorded."""
    options = ("--model", "floor", "--set=optimisation.cuda_graph=true", "--out", tmp_path / "run")
    assert rmaat("train", "--config", recipe_file, *options) == 0


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
