"""`rmaat train` from the command line: what it writes, and what bad input does."""

import json

import pytest

from rmaat.cli.app import main
from rmaat_bridge import BioParameters

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
    assert {path.name for path in (out / "checkpoint").iterdir()} == {"config.json", "model.safetensors"}
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "metrics.csv").read_text().count("validation") == 2
    assert result["recipe"]["seed"] == 3 and result["test"]["n"] == 8
    assert set(result["floors"]) == {"majority class", "root operator", "root operator and its digits"}
    assert f"{result['floors']['root operator']:.1%}" in said and str(out) in said


def test_another_bio_file_is_another_model(recipe_file, tmp_path):
    reference = BioParameters.reference()
    reference.save(tmp_path / "a.toml")
    content = reference.model_dump(mode="json")
    tau = content["retention"]["parameters"]["tau_p_long"]
    tau["value"], tau["lower"], tau["upper"] = tau["value"] / 4, None, None
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
    assert rmaat("train", "--config", recipe_file, "--out", out, "--resume") == 0
    assert (out / "checkpoint" / "model.safetensors").read_bytes() == finished


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", "chess"), "chess"),
        (("--bio", "absent.toml"), "absent.toml"),
        (("--config", "absent.toml"), "absent.toml"),
        (("--set", "model.width=3"), "width"),
        (("--set", "model.dim"), "name=value"),
        (("--set", "data.folder=absent"), "basic_train.tsv"),
        (("--set", "optimisation.batch_size=9"), "batch_size"),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_2(recipe_file, tmp_path, capsys, arguments, said):
    out = tmp_path / "out"
    assert rmaat("train", "--config", recipe_file, *arguments, "--out", out) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (out / "checkpoint").exists() and not (out / "result.json").exists()
