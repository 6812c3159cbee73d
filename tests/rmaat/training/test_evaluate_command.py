"""`rmaat evaluate` from the command line: the score of a run, again and on other data."""

import json
from dataclasses import replace

import pytest
import typer
from training_runs import rmaat
from typer.testing import CliRunner

from rmaat.cli.evaluate import evaluate
from rmaat.data.listops import decode
from rmaat.data.splits import load_splits
from rmaat.training.recipe import load_recipe

evaluate_app = typer.Typer()
evaluate_app.command()(evaluate)


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


def test_more_classes_than_the_checkpoint_has_are_refused(recipe_file, tmp_path, capsys):
    assert rmaat("train", "--config", recipe_file, "--out", tmp_path / "run") == 0
    splits = load_splits("listops", load_recipe(recipe_file).data, 0)
    for split in ("train", "validation", "test"):
        data = getattr(splits, split)
        replace(data, labels=data.labels + 10 - data.labels.max(), num_labels=11).save(tmp_path / split)
    assert rmaat("evaluate", tmp_path / "run" / "checkpoint", "--data", tmp_path) == 2
    assert "model.num_labels: got 10, expected at least 11, the classes of the data" in capsys.readouterr().err
