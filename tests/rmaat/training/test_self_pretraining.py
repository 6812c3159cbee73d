"""Training on hidden tokens first, on labels then: `--objective masked` and `--start`."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from astro_sim.errors import InputError
from astro_sim.provenance import file_sha256
from rmaat.config import RMAATConfig
from rmaat.data.sequences import Sequences
from rmaat.data.splits import Splits, load_splits
from rmaat.masked_lm import RMAATForMaskedLM
from rmaat.training.models import build
from rmaat.training.recipe import load_recipe
from rmaat.training.run import score_checkpoint, train
from rmaat.training.trainer import Trainer
from rmaat_bridge import BioParameters


@pytest.fixture
def recipe(recipe_file):
    return lambda **changes: load_recipe(recipe_file, {"model.stem_layers": 1, "optimisation.average": 0.5} | changes)


@pytest.fixture
def pretrained(recipe, tmp_path):
    train(recipe(objective="masked"), None, tmp_path / "pre")
    return tmp_path / "pre" / "checkpoint"


def test_masked_training_leaves_a_checkpoint_with_its_floor(recipe, pretrained, tmp_path):
    result = json.loads((tmp_path / "pre" / "result.json").read_text())
    assert result["recipe"]["objective"] == "masked" and "start" not in result
    data = load_splits("listops", recipe().data, 0)
    ids, counts = np.unique(data.train.tokens, return_counts=True)
    assert result["floors"] == {"commonest token": np.mean(data.test.tokens == ids[counts.argmax()])}
    again = score_checkpoint(pretrained, None, None, "test", 4, None, None)
    assert again["loss"] == pytest.approx(result["test"]["loss"], rel=1e-5)
    assert again["accuracy"] == pytest.approx(result["test"]["accuracy"], abs=1e-6)


def test_examples_of_which_nothing_is_hidden_are_named(recipe, pretrained, tmp_path):
    """Not the learning rate, for a mean over no tokens, nor a checkpoint of which nobody knows how good it is."""
    nothing = recipe(objective="masked", **{"model.mask_share": 1e-30})
    with pytest.raises(InputError, match=r"the batches up to step 1.* next or hidden"):
        train(nothing, None, tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoint").exists()
    settings = pretrained / "config.json"
    settings.write_text(settings.read_text().replace('"mask_share": 0.15', '"mask_share": 1e-30'))
    with pytest.raises(InputError, match=r"data: got '8 examples'.* next or hidden"):
        score_checkpoint(pretrained, None, None, "test", 4, None, None)


def test_a_start_gives_every_weight_but_the_heads(recipe, pretrained, tmp_path):
    """What is trained first changes weights; the classifier begins with exactly these."""
    free = {"dropout": 0.1, "backprop": "bptt", "trace_norm": True, "embedding_std": 0.1}
    chosen = recipe(start=str(pretrained), **{f"model.{field}": value for field, value in free.items()})
    data = load_splits("listops", chosen.data, 0).train
    torch.manual_seed(5)
    model = build(chosen, data, BioParameters.reference())
    saved = load_file(pretrained / "model.safetensors")
    own = model.state_dict()
    assert {name for name in own if name.startswith("model.")} == saved.keys() - {
        "head.linear.weight",
        "head.linear.bias",
    }
    assert all(torch.equal(own[name], saved[name]) for name in own if name.startswith("model."))
    torch.manual_seed(5)
    fresh = build(chosen.model_copy(update={"start": None}), data, BioParameters.reference())
    assert not torch.equal(fresh.model.embedding.weight, model.model.embedding.weight)
    assert torch.equal(fresh.classifier.weight, model.classifier.weight)

    result = train(chosen, None, tmp_path / "run")
    assert result["start"] == {
        "checkpoint": str(pretrained),
        "sha256": file_sha256(pretrained / "model.safetensors"),
    }
    assert json.loads((tmp_path / "run" / "run.json").read_text())["start"] == result["start"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.dim": 16}, "--start: dim"),
        ({"model.stem_layers": 0}, "--start: stem_layers"),
        ({"model.segment_length": 128}, "--start: segment_length"),
        ({"model.retention": "random"}, "--start: retention"),
        ({"kind": "rlt"}, "--start: presynaptic"),
        ({"start": "absent"}, "absent"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_by_field(recipe, pretrained, tmp_path, changes, said):
    with pytest.raises((InputError, OSError)) as refused:
        train(recipe(**{"start": str(pretrained)} | changes), None, tmp_path / "run")
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_other_bio_parameters_and_the_own_folder_are_refused(recipe, pretrained, tmp_path):
    chosen = recipe(start=str(pretrained))
    bio = BioParameters.reference()
    tau = bio.retention.parameters["tau_p_long"]
    tau.value = tau.lower = tau.upper = tau.value / 4
    bio.save(tmp_path / "bio.toml")
    with pytest.raises(InputError, match="--start: bio"):
        train(chosen, tmp_path / "bio.toml", tmp_path / "run")
    with pytest.raises(InputError, match="--out"):
        train(chosen, None, tmp_path / "pre")
    assert (pretrained / "model.safetensors").is_file()


def test_a_run_is_not_continued_from_another_start(recipe, pretrained, tmp_path):
    chosen, out = recipe(start=str(pretrained)), tmp_path / "run"
    train(chosen, None, out)
    (out / "result.json").unlink()
    train(recipe(objective="masked", seed=1), None, tmp_path / "other")
    weights = pretrained / "model.safetensors"
    weights.write_bytes((tmp_path / "other" / "checkpoint" / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match="--resume"):
        train(chosen, None, out, resume=True)


@pytest.mark.parametrize("crash_at", [3, 16, 23])
def test_a_broken_off_masked_run_ends_bit_for_bit_like_an_undisturbed_one(make_recipe, splits, tmp_path, crash_at):
    """Masks come from the generator whose state is kept; broken off before a state, in a step, in validation."""
    chosen = make_recipe().model_copy(update={"objective": "masked"})

    def run(out, crash_at=None, resume=False):
        torch.manual_seed(0)
        fields = {"dim": 8, "layers": 1, "heads": 2, "segment_length": 16, "memory_tokens": 2, "dropout": 0.1}
        model = RMAATForMaskedLM(RMAATConfig(vocab_size=16, num_labels=10, stem_stride=2, **fields))
        calls = iter(range(10**6))

        def crash(*_):
            if next(calls) == crash_at:
                raise KeyboardInterrupt

        model.register_forward_pre_hook(crash)
        trainer = Trainer(chosen, splits, model, out)
        trainer.fit(resume)
        return trainer

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", crash_at)
    resumed = run(tmp_path / "cut", resume=True)
    for first, second in ((whole.model, resumed.model), (whole.average, resumed.average)):
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_trainer_lowers_the_loss_of_hidden_tokens(make_recipe, tmp_path):
    """Rows that count upwards modulo 10: validation names more than twice what chance does."""
    rng = np.random.default_rng(0)
    rows = [(rng.integers(10) + np.arange(16)) % 10 + 1 for _ in range(96)]
    some = Sequences.from_list(rows, [0] * 96, 11, 2)
    data = Splits(some.select(np.arange(64)), some.select(np.arange(64, 96)), some.select(np.arange(64, 96)))
    options = {"steps": 120, "accumulate": 1, "batch_size": 32, "learning_rate": 1e-2, "evaluate_every": 120}
    torch.manual_seed(0)
    config = RMAATConfig(vocab_size=11, dim=16, layers=1, heads=2, segment_length=8, memory_tokens=2, stem_layers=1)
    trainer = Trainer(make_recipe(**options), data, RMAATForMaskedLM(config), tmp_path)
    trainer.fit()
    assert trainer.best > 0.2
