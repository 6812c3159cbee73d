"""`rmaat deploy` from a training run to the printed agreement."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from rmaat.cli.app import main
from rmaat.config import RMAATConfig
from rmaat.data import listops
from rmaat.data.sequences import Sequences
from rmaat.heads import RMAATForSequenceClassification, RMAATForSequencePairClassification
from rmaat.training.evaluation import to_tensors
from rmaat_lava import Deployment, run, trial
from rmaat_lava.child import LavaError
from rmaat_lava.shim import LAVA_VERSION, lava_version


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """What `rmaat train` leaves, with a model that has not learnt anything."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    config = RMAATConfig(
        vocab_size=16, num_labels=10, dim=16, heads=2, layers=1, ffn_dim=16, segment_length=500, memory_tokens=2
    )
    RMAATForSequenceClassification(config).save_pretrained(folder / "checkpoint")
    data = {"train": 10, "validation": 4, "test": 6}
    (folder / "checkpoint" / "recipe.json").write_text(json.dumps({"task": "listops", "data": data}))
    return folder


@pytest.fixture
def deploy(capsys):
    """Runs the command: exit code, standard output, lines of standard error."""

    def call(*arguments: object) -> tuple[int, str, list[str]]:
        with pytest.raises(SystemExit) as ended:
            main(["deploy", *map(str, arguments)])
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err.strip().splitlines()

    return call


@pytest.mark.parametrize(
    "target",
    [
        "numpy",
        pytest.param(
            "lava",
            marks=[
                pytest.mark.needs_lava,
                pytest.mark.skipif(lava_version() != LAVA_VERSION, reason=f"lava-nc {LAVA_VERSION} is not installed"),
            ],
        ),
    ],
)
def test_deploys_a_run(run_folder, tmp_path, deploy, target):
    out = tmp_path / "deploy"
    code, printed, errors = deploy(run_folder, "--target", target, "--out", out, "--sequences", 1, "--held-out", 4)
    assert code == 0, errors
    assert f"target {target}" in printed and "equal to those of NumPy" in printed
    found = json.loads((out / "agreement.json").read_text())
    assert found["target"] == target and found["equal_to_numpy"] and found["held_out"] == 4
    outputs = np.load(out / "outputs.npz", allow_pickle=False)
    exponent = Deployment.load(out / "deployment").logit_exponent
    np.testing.assert_array_equal(outputs["scaled_logits"], outputs["integer_logits"] * 2.0**-exponent)
    agree = outputs["float_logits"].argmax(1) == outputs["integer_logits"].argmax(1)
    assert found["predictions_agree"] == agree.mean()


@pytest.mark.parametrize("error", [LavaError("Traceback\n  File x\nRuntimeError: no board"), TimeoutError("no board")])
def test_a_target_that_fails_is_one_line(run_folder, tmp_path, deploy, monkeypatch, error):
    def failing(deployment, inputs, target, lengths):
        if target == "lava":
            raise error
        return run(deployment, inputs, target, lengths=lengths)

    monkeypatch.setattr(trial, "choose_target", lambda name: name)
    monkeypatch.setattr(trial, "run", failing)
    out = tmp_path / "deploy"
    code, _, errors = deploy(run_folder, "--target", "lava", "--out", out, "--held-out", 4)
    assert code == 2 and len(errors) == 1 and not out.exists()
    assert "target: got 'lava'" in errors[0] and errors[0].endswith("no board")


def test_other_data_are_not_of_the_source_of_the_training(run_folder, tmp_path, deploy):
    """`--data` names expressions in the official layout; the run was trained on those of another source."""
    run = shutil.copytree(run_folder, tmp_path / "run")
    recipe = json.loads((run / "checkpoint" / "recipe.json").read_text())
    recipe["data"]["source"] = "20news"
    (run / "checkpoint" / "recipe.json").write_text(json.dumps(recipe))
    for name, n in (("train", 2), ("val", 4), ("test", 6)):
        data = listops.generate(n, 0, listops.Grammar(min_length=20, max_length=60))
        rows = (f"( {listops.decode(data[i])} )\t{data.labels[i]}\n" for i in range(n))
        (tmp_path / f"basic_{name}.tsv").write_text("Source\tTarget\n" + "".join(rows))
    code, _, errors = deploy(run, "--target", "numpy", "--data", tmp_path, "--out", tmp_path / "out")
    assert code == 0, errors


def test_deploys_a_run_of_pairs(tmp_path, deploy):
    """As `rmaat train --task retrieval` leaves it: validation pairs of its cache calibrate, test pairs are compared."""
    rng = np.random.default_rng(0)
    for split, n in {"train": 2, "validation": 6, "test": 5}.items():
        documents = [rng.integers(1, 256, rng.integers(5, 90)) for _ in range(2 * n)]
        Sequences.from_list(documents, (np.arange(n) % 2).tolist(), 257, 2, parts=2).save(tmp_path / "data" / split)
    torch.manual_seed(0)
    config = RMAATConfig(vocab_size=257, dim=16, heads=2, layers=1, ffn_dim=16, segment_length=20, memory_tokens=2)
    model = RMAATForSequencePairClassification(config)
    model.save_pretrained(tmp_path / "run" / "checkpoint")
    recipe = {"task": "retrieval", "data": {"folder": str(tmp_path / "data"), "max_length": 70}}
    (tmp_path / "run" / "checkpoint" / "recipe.json").write_text(json.dumps(recipe))
    out = tmp_path / "deploy"
    code, printed, errors = deploy(tmp_path / "run", "--target", "numpy", "--out", out, "--sequences", 2, "--report")
    assert code == 0, errors
    assert "of 5 unseen pairs" in printed and "integers of 2 unseen pairs" in printed
    outputs = np.load(out / "outputs.npz", allow_pickle=False)
    test = Sequences.open(tmp_path / "data" / "test")
    ids, lengths, labels = to_tensors(test, np.arange(5), 70, torch.device("cpu"))
    with torch.no_grad():
        real = model.eval()(ids, lengths).logits.numpy()
    order = [int(np.abs(real - row).sum(1).argmin()) for row in outputs["float_logits"]]  # as the seed draws them
    assert sorted(order) == list(range(5)) and outputs["labels"].tolist() == labels[order].tolist()
    np.testing.assert_allclose(outputs["float_logits"], real[order], atol=1e-5)
    np.testing.assert_allclose(outputs["scaled_logits"], real[order], atol=0.1 * np.abs(real).max())
    assert Deployment.load(out / "deployment").program.documents == 2


def _truncated(folder):
    path = folder / "checkpoint" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


def _other_shape(folder):
    path = folder / "checkpoint" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dim": 32}))


def _foreign(folder):
    (folder / "checkpoint" / "config.json").write_text("not JSON")


def _no_recipe(folder):
    (folder / "checkpoint" / "recipe.json").unlink()


@pytest.mark.parametrize("damage", [_truncated, _other_shape, _foreign, _no_recipe])
def test_unusable_checkpoint_is_one_line_and_exit_2(run_folder, tmp_path, deploy, damage):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    damage(folder)
    code, _, errors = deploy(folder, "--target", "numpy", "--out", tmp_path / "deploy")
    assert code == 2 and len(errors) == 1, errors
    assert not (tmp_path / "deploy").exists()


def test_data_may_lie_elsewhere(run_folder, tmp_path, deploy):
    """Accuracies are those of the examples in the folder that `--data` names, and a missing folder is one line."""
    for split, (n, label) in {"train": (2, 1), "validation": (4, 2), "test": (5, 3)}.items():
        data = listops.generate(n, seed=n)
        dataclasses.replace(data, labels=np.full(n, label)).save(tmp_path / "data" / split)
    out = tmp_path / "deploy"
    code, _, errors = deploy(run_folder, "--target", "numpy", "--data", tmp_path / "data", "--out", out)
    assert code == 0, errors
    found, outputs = json.loads((out / "agreement.json").read_text()), np.load(out / "outputs.npz")
    assert found["held_out"] == 5 and outputs["labels"].tolist() == [3] * 5
    code, _, errors = deploy(run_folder, "--target", "numpy", "--data", tmp_path / "none", "--out", tmp_path / "other")
    assert code == 2 and len(errors) == 1 and "none" in errors[0]
    assert not (tmp_path / "other").exists()


def test_missing_target_is_one_line_and_exit_2(run_folder, tmp_path, deploy):
    code, _, errors = deploy(run_folder, "--target", "loihi2", "--out", tmp_path / "deploy")
    assert code == 2 and len(errors) == 1 and "loihi2" in errors[0]
    assert not (tmp_path / "deploy").exists()
