"""The table of tasks, models and seeds: restartable, and equal to what the runs say."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from astro_sim.errors import InputError
from rmaat.cli.bench import app

FEW = {
    "data.train": 8,
    "data.validation": 4,
    "data.test": 8,
    "data.curriculum": [],
    "model.dim": 8,
    "model.layers": 1,
    "model.heads": 2,
    "model.segment_length": 256,
    "optimisation.steps": 1,
    "optimisation.batch_size": 4,
}


def bench(out, *more):
    changes = [f"--set={name}={value}" for name, value in FEW.items()]
    return CliRunner().invoke(app, ["lra", "--tasks", "listops", "--out", str(out), *changes, *more])


def test_table_of_models_and_seeds(tmp_path):
    first = bench(tmp_path, "--models", "rmaat", "--seeds", "1")
    assert first.exit_code == 0, first.exception
    results = {path: path.read_bytes() for path in tmp_path.glob("*/*/*/result.json")}
    whole = bench(tmp_path, "--models", "rmaat,rlt,no-retention", "--seeds", "2")
    assert whole.exit_code == 0, whole.exception
    assert all(path.read_bytes() == content for path, content in results.items())
    with (tmp_path / "table.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert set(rows) >= {"rmaat", "rlt", "no-retention", "floor: majority class", "floor: root operator"}
    for model in ("rmaat", "rlt"):
        scores = [
            json.loads((tmp_path / "listops" / model / f"seed-{seed}" / "result.json").read_text())["test"]
            for seed in (0, 1)
        ]
        accuracies = [score["accuracy"] for score in scores]
        assert float(rows[model]["accuracy"]) == pytest.approx(np.mean(accuracies))
        assert float(rows[model]["std"]) == pytest.approx(np.std(accuracies, ddof=1))
    assert (tmp_path / "table.md").read_text().count("\n") == len(rows) + 2
    assert (tmp_path / "table.tex").read_text().startswith(r"\begin{tabular}")
    config = tmp_path / "listops" / "no-retention" / "seed-1" / "checkpoint" / "config.json"
    assert json.loads(config.read_text())["retention"] == "off"


def test_unknown_names_are_refused_before_anything_runs(tmp_path):
    for wrong in (("--models", "rmaat,gpt"), ("--tasks", "chess")):
        refused = bench(tmp_path / "out", *wrong)
        assert isinstance(refused.exception, InputError)
    assert not (tmp_path / "out").exists()
