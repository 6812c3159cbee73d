"""The whole road with a tiny model, and the report that it leaves."""

import json
import math
import re
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astro_sim import load_recording
from astro_sim.errors import InputError
from rmaat.cli.app import main
from rmaat.report.run_report import sections, write_report
from rmaat.training.folder import held
from rmaat.training.log import read_curves
from rmaat_bridge import BioParameters
from rmaat_lava.trial import deploy_run

RECIPE = """
task = "listops"
[data]
train = 64
validation = 64
test = 64
[model]
dim = 16
layers = 1
heads = 2
segment_length = 128
memory_tokens = 4
[optimisation]
steps = 4
batch_size = 16
evaluate_every = 2
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `rmaat demo` wrote with a model of a few steps."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "tiny.toml").write_text(RECIPE)
    out = folder / "run"
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--config", str(folder / "tiny.toml"), "--target", "numpy", "--out", str(out), "--seed", "5"])
    assert not exit_.value.code
    return out


@contextmanager
def holding(path: Path, content: str) -> Iterator[None]:
    """The file with another content, for a while: the tests share one run."""
    kept = path.read_bytes()
    path.write_text(content)
    try:
        yield
    finally:
        path.write_bytes(kept)


def test_every_stage_leaves_its_artefact_and_the_seed(run: Path) -> None:
    recording = load_recording(run / "macro.nc")
    assert recording.attrs["seed"] == 5
    assert BioParameters.load(run / "bio.toml").provenance.seed == 5
    assert json.loads((run / "train" / "result.json").read_text())["recipe"]["seed"] == 5
    assert json.loads((run / "deploy" / "agreement.json").read_text())["seed"] == 5


def test_the_model_was_trained_on_the_fitted_file(run: Path) -> None:
    config = json.loads((run / "train" / "checkpoint" / "config.json").read_text())
    fitted = BioParameters.load(run / "bio.toml").retention.parameters["tau_p_long"].value
    assert config["bio"]["retention"]["parameters"]["tau_p_long"]["value"] == fitted


def test_the_page_says_what_the_artefacts_say(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    result = json.loads((run / "train" / "result.json").read_text())
    assert f"{result['test']['accuracy']:.1%}" in html
    assert f"{result['floors']['majority class']:.1%}" in html
    agreement = json.loads((run / "deploy" / "agreement.json").read_text())
    assert f"{agreement['predictions_agree']:.1%}" in html
    assert html.count("data:image/png;base64,") == len(sections(run)) == 6


def test_an_edited_artefact_changes_the_page(run: Path) -> None:
    path = run / "backprop_memory.json"
    measured = json.loads(path.read_text())
    measured["peak_bytes"]["amrb"][-1] = measured["peak_bytes"]["bptt"][-1] / 3
    with holding(path, json.dumps(measured)):
        assert "1 / 3.0" in write_report(run).read_text(encoding="utf-8")


def test_the_training_is_that_of_the_result(run: Path) -> None:
    path = run / "train" / "result.json"
    result = json.loads(path.read_text())
    result["recipe"] |= {"task": "mnist"}
    result["recipe"]["data"] |= {"curriculum": []}
    config = run / "train" / "checkpoint" / "config.json"  # which says it also where the kind of the model decides
    trained = json.loads(config.read_text()) | {"backprop": "bptt"}
    with holding(path, json.dumps(result)), holding(config, json.dumps(trained)):
        page = write_report(run).read_text(encoding="utf-8")
    assert "The task mnist, trained by BPTT; validation" in page and "mnist, unseen" in page
    with holding(run / "deploy" / "outputs.npz", ""), pytest.raises(InputError, match=r"outputs\.npz"):
        write_report(run)


@pytest.mark.parametrize("artefact", ["macro.nc", "bio.toml", "train/result.json", "deploy/outputs.npz"])
def test_a_missing_artefact_is_named(run: Path, artefact: str) -> None:
    path = run / artefact
    aside = path.with_suffix(".aside")
    path.rename(aside)
    try:
        with pytest.raises(InputError, match=path.name):
            write_report(run)
    finally:
        aside.rename(path)


@pytest.mark.parametrize(
    ("artefact", "entries", "said"),
    [
        ("train/result.json", {"test": {}}, "result.json.*accuracy included"),
        ("train/result.json", {"test": {"accuracy": 53.0}}, "result.json.*a share from 0 to 1 as accuracy; it is 53.0"),
        ("train/result.json", {"test": {"accuracy": math.nan}}, r"result.json.*\(NaN is no number"),
        ("train/result.json", {"seconds": math.inf}, r"result.json.*\(Infinity is no number"),
        ("deploy/agreement.json", {"accuracy_float": "high"}, "artefacts as `rmaat demo` writes them"),
    ],
)
def test_an_artefact_with_other_entries_is_refused(run: Path, artefact: str, entries: dict, said: str) -> None:
    """Entries within entries, and values of other kinds."""
    changed = json.dumps(json.loads((run / artefact).read_text()) | entries)
    with holding(run / artefact, changed), pytest.raises(InputError, match=said):
        write_report(run)


def test_a_number_too_large_for_a_float_is_refused(run: Path) -> None:
    path = run / "deploy" / "agreement.json"
    changed = re.sub(r'"predictions_agree": [\d.]+', '"predictions_agree": 1e999', path.read_text())
    with holding(path, changed), pytest.raises(InputError, match=r"agreement.json.*\(1e999 is no number"):
        write_report(run)


def test_curves_that_are_none_are_named(run: Path) -> None:
    path = run / "train" / "metrics.csv"
    with holding(path, "garbage\n" + path.read_text()), pytest.raises(InputError, match=r"metrics.csv: got 'garbage'"):
        write_report(run)


@pytest.mark.parametrize(
    "artefact", ["demo.json", "train/result.json", "backprop_memory.json", "deploy/agreement.json"]
)
@pytest.mark.parametrize("content", ["{}", "[]"])
def test_an_artefact_without_its_entries_is_named(run: Path, artefact: str, content: str) -> None:
    path = run / artefact
    with holding(path, content), pytest.raises(InputError, match=f"{path.name}.* (included|a JSON object)"):
        write_report(run)


@pytest.mark.parametrize("name", ["macro.nc", "bio.toml", "report.html", "train"])
def test_what_no_demo_wrote_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / name).write_text("kept")
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--target", "numpy", "--out", str(tmp_path)])
    assert exit_.value.code == 2
    assert f"expected a folder without {name}, which this command would replace" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "kept"


def test_integers_that_differ_are_an_error_after_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def differing(*arguments: Any, **options: Any) -> dict[str, Any]:
        return deploy_run(*arguments, **options) | {"equal_to_numpy": False}

    monkeypatch.setattr("rmaat_lava.trial.deploy_run", differing)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--config", str(tmp_path / "tiny.toml"), "--target", "numpy", "--out", str(tmp_path / "run")])
    assert exit_.value.code == 1 and "DIFFERENT from" in capsys.readouterr().out
    assert (tmp_path / "run" / "report.html").is_file()


def test_one_demo_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held(tmp_path), pytest.raises(SystemExit) as exit_:
        main(["demo", "--target", "numpy", "--out", str(tmp_path)])
    assert exit_.value.code == 2 and "no other process" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_figures_are_written_as_pictures(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["figures", str(run), "--out", str(tmp_path)])
    pictures = sorted(tmp_path.iterdir())
    assert [path.name[0] for path in pictures] == list("123456")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_amrb_memory_falls_behind_bptt_as_segments_grow(run: Path) -> None:
    peak = json.loads((run / "backprop_memory.json").read_text())["peak_bytes"]
    ratios = np.array(peak["amrb"]) / np.array(peak["bptt"])
    assert (np.diff(ratios) < 0).all()


def test_the_picture_of_the_road_shows_every_stage(run: Path) -> None:
    draw = runpy.run_path(str(Path(__file__).parents[3] / "figures" / "road.py"))["draw"]
    cell, memory, learning, chip = draw(run).axes
    assert [line.get_label() for line in cell.get_lines()] == ["STP", "LTP"]
    assert [sum(line.get_ydata()) for line in memory.get_lines()] == pytest.approx([1.0] * 4, abs=1e-6)
    logged = [row for row in read_curves(run / "train" / "metrics.csv") if row["split"] == "train"]
    assert len(learning.get_lines()[0].get_ydata()) == len(logged)
    assert len(chip.get_lines()[0].get_xdata()) > 0
