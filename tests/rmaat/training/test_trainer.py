"""The training loop: its schedule, its clock, accumulation, what decays, what it refuses."""

import math
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from training_runs import run

from astro_sim.errors import InputError
from rmaat.baselines import baseline_config
from rmaat.data.splits import StageExamples
from rmaat.heads import RMAATForSequenceClassification
from rmaat.training.evaluation import TotalScore, evaluate
from rmaat.training.log import read_curves
from rmaat.training.recipe import Recipe
from rmaat.training.trainer import Trainer, learning_rate_share


def test_learning_rate_closed_form():
    assert learning_rate_share(0.05, 0.1) == pytest.approx(0.5)
    assert learning_rate_share(0.1, 0.1) == 1.0
    assert learning_rate_share(0.55, 0.1) == pytest.approx(0.5)
    assert learning_rate_share(0.325, 0.1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert learning_rate_share(1.0, 0.0) == pytest.approx(0.0)


def test_a_stage_scales_the_learning_rate(make_model, splits, tmp_path):
    """Each step's rate is the closed form times the stage's factor."""
    few = {"min_length": 20, "max_length": 60, "batch_size": 8}
    stages = [few | {"steps": 2, "rate": 0.5}, few | {"steps": 3, "rate": 3.0}]
    options = {"steps": 8, "batch_size": 8, "warmup": 0.25, "learning_rate": 0.01}
    recipe = Recipe(task="listops", data={"curriculum": stages}, optimisation=options)
    train = splits.train
    splits = replace(splits, stages=2 * (StageExamples(len(train), lambda: train),))
    trainer = Trainer(recipe, splits, make_model(), tmp_path)
    found: list[float] = []
    trainer.optimizer.optimizer.register_step_pre_hook(lambda adam, *_: found.append(adam.param_groups[0]["lr"]))
    trainer.fit()
    factors = [0.5, 0.5, 3, 3, 3, 1, 1, 1]
    expected = [0.01 * learning_rate_share(step / 8, 0.25) * factor for step, factor in enumerate(factors)]
    assert found == pytest.approx(expected)


def test_rehearsed_batches_come_from_one_of_the_two_stages_before(make_model, splits, tmp_path):
    """Shares within four standard deviations of a binomial."""
    few = {"min_length": 20, "max_length": 60, "batch_size": 8, "steps": 1000}
    examples = StageExamples(len(splits.train), lambda: splits.train)
    seen = {}
    for share in (0.0, 0.5):
        recipe = Recipe(task="listops", data={"curriculum": [few] * 4, "rehearsal": share})
        trainer = Trainer(recipe, replace(splits, stages=4 * (examples,)), make_model(), tmp_path)
        seen[share] = trainer.batches.stage_of_batch().reshape(4, 1000)
    assert (seen[0.0] == np.arange(4)[:, None]).all()
    for stage in (2, 3):
        counts = np.bincount(seen[0.5][stage], minlength=4)
        assert counts.sum() == counts[stage - 2 : stage + 1].sum()
        assert counts[stage - 2 : stage + 1] == pytest.approx([250, 250, 500], abs=4 * 16)
    assert set(seen[0.5][0]) == {0} and set(seen[0.5][1]) == {0, 1}


def test_drawing_a_stage_does_not_count_as_training(make_model, splits, tmp_path, monkeypatch):
    """Drawing moves the clock by 1,000 s, looking at it by 1 ms: `minutes` does not end the training."""
    clock = [0.0]

    def advance(seconds):
        clock[0] += seconds
        return clock[0]

    def draw():
        advance(1000)
        return splits.train

    monkeypatch.setattr("rmaat.training.trainer.time.monotonic", lambda: advance(0.001))
    stages = [{"steps": 2, "batch_size": 8, "min_length": 20, "max_length": 60}] * 2
    options = {"steps": 6, "batch_size": 8, "minutes": 1}
    recipe = Recipe(task="listops", data={"curriculum": stages}, optimisation=options)
    splits = replace(splits, stages=2 * (StageExamples(len(splits.train), draw),))
    trainer = Trainer(recipe, splits, make_model(), tmp_path)
    trainer.fit()
    assert clock[0] > 2000 and trainer.elapsed < 1
    assert read_curves(tmp_path / "metrics.csv")[-1]["step"] == "6"


def test_tokens_per_second_are_those_of_the_steps(make_model, splits, tmp_path, monkeypatch):
    """A step takes 1 s and a validation 1,000 s of a clock that nothing else moves: seconds hold both, rates the first.

    Broken off after the second validation, in the middle of a step, and continued.
    """
    clock = [0.0]

    def advance(seconds, result=None):
        clock[0] += seconds
        return result

    monkeypatch.setattr("rmaat.training.trainer.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("rmaat.training.trainer.evaluate", lambda *_: advance(1000, TotalScore(2.0, 0.1, 8)))
    options = {"steps": 9, "batch_size": 8, "evaluate_every": 2, "save_every": 2}
    recipe = Recipe(task="listops", optimisation=options)
    steps, model = [], make_model()
    hook = model.register_forward_pre_hook(lambda *_: steps.append(1 / (len(steps) != 4)))  # the fifth step fails
    model.register_forward_pre_hook(lambda *_: advance(1))
    with pytest.raises(ZeroDivisionError):
        Trainer(recipe, splits, model, tmp_path).fit()
    hook.remove()
    trainer = Trainer(recipe, splits, model, tmp_path)
    trainer.fit(resume=True)
    rows = [row for row in read_curves(tmp_path / "metrics.csv") if row["split"] == "train"]
    assert [int(row["step"]) for row in rows] == list(range(1, 10))
    assert sum(float(row["tokens_per_s"]) for row in rows) == pytest.approx(trainer.tokens_seen)
    assert trainer.tokens_per_s == pytest.approx(trainer.tokens_seen / 9)
    assert trainer.elapsed == 9 + 5 * 1000


@pytest.mark.parametrize(
    ("model", "kept"),
    [({"learn_alpha": True}, {"log_alpha"}), ({"kind": "ssm"}, {"log_dt", "log_decay", "frequency"})],
)
def test_what_decay_would_move_elsewhere_does_not_decay(model, kept, tmp_path, splits):
    """0 is alpha = 1 for the logarithm of alpha, another time scale for those of a state space."""
    fields = {"dim": 8, "layers": 1, "heads": 2, "vocab_size": 16, "num_labels": 10}
    changes = {name: value for name, value in model.items() if name != "kind"}
    network = RMAATForSequenceClassification(baseline_config(model.get("kind", "rmaat"), 64, **fields | changes))
    names = {id(p): name for name, p in network.named_parameters()}
    trainer = Trainer(Recipe(task="listops", optimisation={"batch_size": 8}), splits, network, tmp_path)
    decays = [{names[id(p)] for p in group["params"]} for group in trainer.optimizer.param_groups]
    assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == [0.01, 0]
    assert set.union(*decays) == set(names.values())
    still = {name for name in decays[1] if network.get_parameter(name).ndim > 1}
    assert {name.rpartition(".")[2] for name in still} == kept


def test_the_astrocyte_learns_at_a_rate_of_its_own(make_model, splits, tmp_path):
    """The first step of Adam is the learning rate, whatever the gradient; up to its eps of 1e-8 beside the gradient."""
    model = make_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    options = {
        "steps": 1,
        "batch_size": 8,
        "warmup": 0,
        "weight_decay": 0,
        "learning_rate": 0.01,
        "astrocyte_rate": 0.1,
    }
    Trainer(Recipe(task="listops", optimisation=options), splits, model, tmp_path).fit()
    moved = {name: (p - before[name]).abs().median().item() for name, p in model.named_parameters()}
    name = "model.blocks.0.attention."
    assert moved[name + "astro_weight"] == pytest.approx(0.001, rel=0.01)
    assert moved[name + "qkv.weight"] == pytest.approx(0.01, rel=0.01)


def test_accumulated_small_batches_equal_one_large_batch(make_model, make_recipe, splits, tmp_path):
    """The mean of the gradients of two halves is the gradient of the whole, to the rounding of float32."""
    model = make_model(dropout=0.0)
    ids, lengths = (torch.from_numpy(array) for array in splits.train.padded(np.arange(16)))
    labels = torch.from_numpy(splits.train.labels[:16])
    joint = torch.autograd.grad(model(ids, lengths, labels).loss, list(model.parameters()))
    halves = [(ids[part], lengths[part], labels[part]) for part in (slice(0, 8), slice(8, 16))]
    trainer = Trainer(make_recipe(accumulate=2, label_smoothing=0.0, clip=1e6), splits, model, tmp_path)
    updated = Mock()
    trainer.optimizer.step = lambda: updated([p.grad.clone() for p in model.parameters()])
    trainer._step(0, iter(halves))
    (gradients,) = updated.call_args.args
    for whole, both in zip(joint, gradients, strict=True):
        assert torch.allclose(whole, both, atol=1e-6)


def test_the_checkpoint_is_the_best_on_validation(make_model, make_recipe, splits, tmp_path):
    trainer = run(make_model, make_recipe(average=0.0), splits, tmp_path)
    rows = [row for row in read_curves(tmp_path / "metrics.csv") if row["split"] == "validation"]
    best = max(float(row["accuracy"]) for row in rows)
    model = RMAATForSequenceClassification.from_pretrained(tmp_path / "checkpoint")
    scores = evaluate(model, splits.validation, 8, None, trainer.fabric)
    assert len(rows) == 3
    assert scores.accuracy == pytest.approx(best, abs=1e-6) and trainer.best == pytest.approx(best)


def test_it_learns(make_model, make_recipe, splits, tmp_path):
    """64 short expressions are learnt by heart: the training loss falls below half of its first value."""
    recipe = make_recipe(steps=300, accumulate=1, learning_rate=1e-2, evaluate_every=300, label_smoothing=0.0)
    run(lambda: make_model(dim=16, dropout=0.0), recipe, splits, tmp_path)
    losses = [float(row["loss"]) for row in read_curves(tmp_path / "metrics.csv") if row["split"] == "train"]
    assert losses[-1] < 0.5 * losses[0]


def test_minutes_end_a_run_early(make_model, make_recipe, splits, tmp_path):
    trainer = run(make_model, make_recipe(steps=10**6, minutes=0.02), splits, tmp_path)
    rows = read_curves(tmp_path / "metrics.csv")
    assert rows[-1]["split"] == "validation" and int(rows[-1]["step"]) < 10**6
    assert trainer.elapsed >= 1.2
    assert trainer._share_used(0) == pytest.approx(trainer.elapsed / 1.2)


@pytest.mark.parametrize("options", [{"batch_size": 65}, {"learning_rate": 1e30, "steps": 40, "accumulate": 1}])
def test_impossible_options_are_refused(make_model, make_recipe, splits, tmp_path, options):
    with pytest.raises(InputError):
        run(make_model, make_recipe(**options), splits, tmp_path)


def test_minutes_are_refused_of_several_processes(make_model, make_recipe, splits, tmp_path):
    """Each has its own clock: their learning rates would differ, and one could end while another waits for it."""
    for minutes, said in ((2.0, r"minutes: got 2\.0, expected steps alone, with 2 processes"), (None, "batch_size")):
        recipe = make_recipe(minutes=minutes, batch_size=7)
        with pytest.raises(InputError, match=said):
            Trainer(recipe, splits, make_model(), tmp_path / "run", Mock(world_size=2))
    assert not (tmp_path / "run").exists()


def test_a_trace_cannot_be_normalised_over_batches_of_one(make_model, make_recipe, splits, tmp_path):
    with pytest.raises(InputError, match=r"batch_size.*at least 2"):
        run(lambda: make_model(trace_norm=True), make_recipe(batch_size=1), splits, tmp_path)
