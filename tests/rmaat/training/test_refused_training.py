"""What `rmaat train` and `rmaat evaluate` refuse in one line before anything is trained."""

import numpy as np
import pytest
from training_runs import rmaat

from rmaat.data.sequences import Sequences
from rmaat.data.splits import load_splits
from rmaat.training.recipe import load_recipe


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
        (("--set", "model.dim=8", "--set", "model.dim=16"), "--set: got 'model.dim=16', expected model.dim once"),
        (("--set", "model={dim=16}", "--set", "model.dim=8"), "expected model once; it is given twice"),
        (("--steps", 5, "--set", "optimisation.steps=7"), "expected optimisation.steps once; it is given twice"),
        (("--set", "=5"), "--set: got '=5', expected name=value"),
        (("--set", "model.dim=nan"), "model.dim: got nan"),
        (("--set", "model.self=3"), "model.self: got 3, expected one of vocab_size"),
        (("--set", "optimisation.learning_rate=1e300"), "learning_rate: got 1e+300"),
        (("--seed", "99999999999999999999"), "seed: got 99999999999999999999"),
        (("--set", "data.folder=absent"), "data: got 'absent', expected an existing path"),
        (
            ("--set", "optimisation.batch_size=9"),
            "optimisation.batch_size: got 9, expected a multiple of the 1 processes, at most 8 examples",
        ),
        (
            ("--set", "data.curriculum=[{steps=1,batch_size=9,min_length=10,max_length=30}]"),
            "data.curriculum.0: batch_size: got 9, expected a multiple of the 1 processes, at most 8 examples",
        ),
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
    fitting = [f"--set=model.{name}={value}" for name, value in (stem | {"picture_width": 8}).items()]
    assert rmaat("train", *options, *fitting) == 0
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
