"""The table of tasks, models and seeds: restartable, and equal to what the runs say."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from astro_sim.errors import InputError
from rmaat.baselines import BASELINES
from rmaat.cli.bench import app
from rmaat.training import benchmark
from rmaat.training.benchmark import ABLATIONS, Cell
from rmaat.training.benchmark_table import collect, model_name, read_result, write_tables

FEW = {
    "data.train": 8,
    "data.validation": 4,
    "data.test": 8,
    "data.curriculum": [],
    "model.dim": 8,
    "model.layers": 1,
    "model.heads": 2,
    "model.segment_length": 256,
    "optimisation.batch_size": 4,
}


def bench(out, *more):
    changes = [f"--set={name}={value}" for name, value in FEW.items()]
    options = ["--tasks", "listops", "--steps", "1", "--out", str(out), *changes]
    return CliRunner().invoke(app, ["lra", *options, *more])


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
    other = bench(tmp_path, "--models", "rmaat", "--seeds", "1", "--steps", "2")
    assert isinstance(other.exception, InputError) and "steps is 1 there and 2 here" in str(other.exception)


@pytest.mark.parametrize(
    "content",
    [
        '{"recipe": ',
        "[]",
        '{"recipe": {"task": "listops"}}',
        '{"recipe": 1, "floors": {}}',
        '{"recipe": {"task": "listops"}, "floors": {"majority class": "x"}}',
        '{"recipe": {"task": "listops"}, "floors": {}, "test": {}}',
        '{"recipe": {"task": "listops"}, "floors": {}, "test": {"accuracy": NaN}}',
        '{"recipe": {"task": "listops", "model": {"width": 3}}, "floors": {}}',
        '{"recipe": "' + "long" * 1000 + '"}',
    ],
)
@pytest.mark.parametrize("models", ["rmaat", "rlt"])
def test_a_damaged_result_is_named(content, models, tmp_path):
    """Before any cell is run, also where it is of none of the cells that are asked for."""
    path = tmp_path / "listops" / "rmaat" / "seed-0" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    refused = bench(tmp_path, "--models", models, "--seeds", "1").exception
    assert isinstance(refused, InputError) and str(path) in str(refused) and len(str(refused)) < 1000
    assert [path.name for path in (tmp_path / "listops").iterdir()] == ["rmaat"]
    assert path.read_text() == content and [*tmp_path.glob("table.*")] == []


def test_a_result_that_is_no_json_says_where_it_ends(tmp_path):
    path = tmp_path / "result.json"
    path.write_text('{"recipe": 1')
    with pytest.raises(InputError, match=r"\(result.json: got 'another text', expected JSON \(EOF .* column 12\)\)"):
        read_result(path)


def test_seeds_of_other_recipes_are_no_spread(tmp_path):
    for seed, steps in ((0, 4), (1, 8)):
        recipe = {"task": "listops", "seed": seed, "optimisation": {"steps": steps}}
        path = tmp_path / "listops" / "rmaat" / f"seed-{seed}" / "result.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"recipe": recipe, "floors": {}, "test": {"accuracy": 0.5}}))
    said = r"listops/rmaat', expected a folder whose seeds were run by one recipe \(optimisation.steps is 4 there and 8"
    with pytest.raises(InputError, match=said):
        collect(tmp_path)


def test_another_recipe_than_that_of_the_other_seeds_is_refused_before_it_is_run(tmp_path):
    options = ("--models", "linear", "--seeds", "2")
    assert bench(tmp_path, *options).exit_code == 0
    shutil.rmtree(tmp_path / "listops" / "linear" / "seed-0")
    refused = bench(tmp_path, *options, "--set", "optimisation.clip=2.0").exception
    assert "optimisation.clip is 1.0 there and 2.0 here" in str(refused)
    assert not (tmp_path / "listops" / "linear" / "seed-0").exists()
    assert bench(tmp_path, *options).exit_code == 0


def test_an_unfinished_seed_of_another_recipe_is_refused_before_the_others_are_run(tmp_path):
    options = ("--models", "linear", "--seeds", "2")
    assert bench(tmp_path, *options).exit_code == 0
    cells = tmp_path / "listops" / "linear"
    shutil.rmtree(cells / "seed-0")
    (cells / "seed-1" / "result.json").unlink()
    noted = cells / "seed-1" / "run.json"
    noted.write_text(noted.read_text().replace('"clip": 1.0', '"clip": 3.0'))
    refused = bench(tmp_path, *options).exception
    assert isinstance(refused, InputError) and "optimisation.clip is 3.0 there and 1.0 here" in str(refused)
    assert not (cells / "seed-0").exists()


def test_floors_of_other_data_have_a_row_of_their_own(tmp_path):
    cells = {model: ({"curriculum": []}, 0.5) for model in ("rmaat", "rlt", "rmt")}
    for model in ("linear", "rmaat,data.max_length=40"):  # cut by a later `--set`, or by `--models`
        cells[model] = {"max_length": 40}, 0.3
    for model, (data, floor) in cells.items():
        path = tmp_path / "listops" / model / "seed-0" / "result.json"
        path.parent.mkdir(parents=True)
        content = {"recipe": {"task": "listops", "data": data}, "floors": {"root": floor}, "test": {"accuracy": 0.6}}
        path.write_text(json.dumps(content))
    floors = {row["model"]: row["accuracy"] for row in collect(tmp_path) if row["model"].startswith("floor")}
    assert floors == {"floor: root": 0.5, "floor: root (data.max_length=40)": 0.3}


def test_tables_of_somebody_else_are_kept(tmp_path):
    (tmp_path / "table.csv").write_text("kept")
    refused = bench(tmp_path, "--models", "rmaat", "--seeds", "1").exception
    assert isinstance(refused, InputError) and "a folder without table.csv" in str(refused)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    (tmp_path / "my" / "own" / "seed-1").mkdir(parents=True)
    (tmp_path / "my" / "own" / "seed-1" / "plants.json").write_text('{"rose": 1}')
    assert isinstance(bench(tmp_path, "--models", "rmaat", "--seeds", "1").exception, InputError)


def test_latex_has_its_own_signs_escaped(tmp_path):
    row = {"task": "a_b", "model": r"x&y#1\2~{z}^$", "accuracy": 0.5, "std": 0.1, "seeds": 2}
    line = write_tables([row], tmp_path)[1].read_text(encoding="utf-8").splitlines()[4]
    expected = r"a\_b & x\&y\#1\textbackslash{}2\textasciitilde{}\{z\}\textasciicircum{}\$ & 50.0 $\pm$ 10.0 & 2 &"
    assert line.startswith(expected)


@pytest.mark.parametrize(
    ("send", "number", "before"),
    [
        (os.killpg, signal.SIGINT, ""),
        (os.kill, signal.SIGTERM, ""),
        (os.kill, signal.SIGTERM, "trap '' INT; "),
        (os.kill, signal.SIGKILL, ""),
    ],
)
def test_ctrl_c_or_kill_ends_the_whole_table(send, number, before, tmp_path):
    """In the first of two cells that would take hours: SIGINT to the group, as from a terminal, or SIGTERM to one.

    The shell of a script ignores SIGINT for what it runs in the background.
    """
    changes = [f"--set={name}={value}" for name, value in (FEW | {"optimisation.save_every": 10}).items()]
    options = ["--tasks=listops", "--models=rmaat", "--seeds=2", "--steps=1000000", f"--out={tmp_path}", *changes]
    code = f"from rmaat.cli.app import main; main({['bench', 'lra', *options]!r})"
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    command = ["bash", "-c", before + 'exec "$@"', "bench", sys.executable, "-c", code]
    with subprocess.Popen(command, **pipes, start_new_session=True) as bench:
        first = tmp_path / "listops" / "rmaat" / "seed-0"
        while not list(first.glob("states/*/*")):
            assert bench.poll() is None, bench.stderr.read()
            time.sleep(0.05)
        send(bench.pid, number)
        error = bench.communicate(timeout=20)[1].decode()
    if number != signal.SIGKILL:
        assert bench.returncode == 130 and error.splitlines()[-1].startswith("interrupted")
    with pytest.raises(ProcessLookupError):  # soon nobody of the group is left
        for _ in range(200):
            os.killpg(bench.pid, 0)
            time.sleep(0.05)
    assert not first.with_name("seed-1").exists() and not list(tmp_path.rglob("result.json"))


def test_a_killed_cell_is_one_line_that_says_so(tmp_path):
    """As the system does where memory ends."""
    changes = [f"--set={name}={value}" for name, value in (FEW | {"optimisation.save_every": 10}).items()]
    options = ["--tasks=listops", "--models=rmaat", "--seeds=1", "--steps=1000000", f"--out={tmp_path}", *changes]
    code = f"from rmaat.cli.app import main; main({['bench', 'lra', *options]!r})"
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as bench:
        while not list(tmp_path.glob("listops/rmaat/seed-0/states/*/*")):
            assert bench.poll() is None, bench.stderr.read()
            time.sleep(0.05)
        cell = max(psutil.Process(bench.pid).children(recursive=True), key=lambda child: child.cpu_times().user)
        cell.kill()
        error = bench.communicate(timeout=60)[1].decode()
    assert bench.returncode == 2
    assert error.splitlines()[-1].startswith("error: --workers: got 1, expected processes that are left to end")


SETTINGS = "rmaat:segment_length=64;retention=random;optimisation.clip=2.0"


@pytest.mark.parametrize(("workers", "threads"), [(1, 8), (3, 2), (16, 1)])
def test_cells_at_the_same_time_share_the_threads(workers, threads, tmp_path, monkeypatch):
    seen, before = [], torch.get_num_threads()
    monkeypatch.setattr("rmaat.training.run.train", lambda *_, **__: seen.append(torch.get_num_threads()))
    monkeypatch.setattr(benchmark, "_end_with", lambda _: None)
    cell = Cell("listops", "rmaat", 0)
    try:
        torch.set_num_threads(8)
        benchmark._run(cell, cell.recipe("small", {}), tmp_path, workers)
    finally:
        torch.set_num_threads(before)
    assert seen == [threads]


def test_a_cell_with_settings_of_its_own(tmp_path):
    for _ in range(2):
        done = bench(tmp_path, "--models", f"rmaat,{SETTINGS}", "--seeds", "1", "--steps", "2")
        assert done.exit_code == 0, done.exception
    folders = {path.name for path in (tmp_path / "listops").iterdir()}
    assert folders == {"rmaat", "rmaat,segment_length=64,retention=random,optimisation.clip=2.0"}
    recipe = json.loads((Cell("listops", SETTINGS, 0).folder(tmp_path) / "result.json").read_text())["recipe"]
    assert recipe["model"]["segment_length"] == 64 and recipe["model"]["retention"] == "random"
    assert recipe["optimisation"]["clip"] == 2.0 and recipe["optimisation"]["steps"] == 2
    with (tmp_path / "table.csv").open() as file:
        assert {row["model"] for row in csv.DictReader(file)} >= {"rmaat", SETTINGS}
    assert SETTINGS in (tmp_path / "table.md").read_text()


def test_models_of_equal_size(tmp_path):
    """A unit of a feed-forward layer has 2 dim + 1 = 17 parameters, so that half of that can be missed."""
    done = bench(tmp_path, "--models", "rmaat,transformer,linear,rmt,rlt", "--seeds", "1", "--set=parameters=40000")
    assert done.exit_code == 0, done.exception
    results = [json.loads(path.read_text()) for path in tmp_path.glob("*/*/*/result.json")]
    assert len(results) == 5 and all(abs(result["parameters"] - 40_000) <= 17 / 2 for result in results)
    configs = [json.loads(path.read_text()) for path in tmp_path.glob("*/*/*/checkpoint/config.json")]
    assert len({config["ffn_dim"] for config in configs}) > 1


NAMES = st.sampled_from([*BASELINES, *ABLATIONS, "floor"])
ENTRIES = st.lists(st.text(st.characters(exclude_characters=",;:", exclude_categories=["Cs"]), min_size=1))


@given(NAMES, ENTRIES)
def test_a_model_is_read_back_from_a_safe_folder_name(name, settings):
    model = f"{name}:{';'.join(settings)}" if settings else name
    folder = Cell("listops", model, 0).folder(Path("out")).relative_to(Path("out") / "listops").parts[0]
    assert re.fullmatch(r"[\w.,=%~-]+", folder, re.ASCII) and model_name(folder) == model


def test_a_start_may_be_a_setting():
    recipe = Cell("listops", "rmaat:start=runs/pre/checkpoint", 3).recipe("small", FEW)
    assert (recipe.start, recipe.seed, recipe.kind) == ("runs/pre/checkpoint", 3, "rmaat")


def test_alpha_1_stays_1():
    """Also where the others' exponents are trained."""
    recipe = Cell("listops", "alpha-1", 0).recipe("small", FEW | {"model.learn_alpha": True})
    assert recipe.model["presynaptic"] == "linear" and recipe.model["learn_alpha"] is False


@pytest.mark.parametrize(
    "wrong",
    [
        ("--models", "rmaat,gpt"),
        ("--tasks", "chess"),
        ("--models", "rmaat,rmaat:segments=4"),
        ("--models", "rmaat:segment_length"),
        ("--models", "rmaat:dim=8;model.dim=16"),
        ("--steps", "5", "--set", "optimisation.steps=7"),
        ("--tasks", "listops,text"),  # whose data are not there
        ("--models", "rmaat:segment_length=0"),
        ("--models", "rmt:retention=uniform"),
        ("--models", "transformer:model.segment_length=64"),
        ("--models", "no-astrocyte:astrocytic=true"),
        ("--models", "rmaat:seed=4"),
        ("--models", "rmaat:"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(tmp_path, wrong, monkeypatch):
    monkeypatch.setenv("RMAAT_DATA", str(tmp_path / "nothing"))
    refused = bench(tmp_path / "out", *wrong)
    assert isinstance(refused.exception, InputError)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("page", "column"),
    [
        ("README.md", "text"),
        ("README.md", "listops"),
        ("README.md", "listops-whole"),
        ("README.md", "pathfinder"),
        ("README.md", "image-whole"),
        ("results/lra/README.md", "listops-one-segment"),
        ("docs/decisions/ablations.md", "text-ablation"),
        ("docs/decisions/listops.md", "listops-narrow"),
        ("docs/decisions/ablations.md", "image-ablation"),
    ],
)
def test_the_readmes_command_goes_on_with_the_committed_column(page, column, tmp_path):
    """Every cell is there, so nothing is trained: a cell of before a setting existed counts it at its default."""
    root = Path(__file__).parents[3]
    readme = (root / page).read_text(encoding="utf-8")
    shared = dict(re.findall(r'^ *([A-Z])="([^"]*)"', readme, re.MULTILINE))
    commands = re.findall(rf"^ *rmaat bench (lra .*) --out results/lra/columns/{column}$", readme, re.MULTILINE)
    assert commands
    shutil.copytree(root / "results" / "lra" / "columns" / column, tmp_path / column)
    for command in commands:
        words = shlex.split(re.sub(r"\$([A-Z])", lambda name: shared[name[1]], command))
        result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / column)])
        assert result.exit_code == 0, result.exception
    for name in ("table.csv", "table.md", "table.tex"):
        made = (tmp_path / column / name).read_bytes()
        assert made == (root / "results" / "lra" / "columns" / column / name).read_bytes()


@pytest.mark.parametrize(("field", "option"), [("task", "--tasks"), ("kind", "--models"), ("seed", "--seeds")])
def test_what_names_a_cell_is_not_set_for_all(field, option):
    with pytest.raises(InputError, match=f"--set: got '{field}=image', expected another entry: {option}"):
        Cell("listops", "rmaat", 0).recipe("small", {field: "image"})
