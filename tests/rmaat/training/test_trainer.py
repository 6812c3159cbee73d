"""The training loop: its schedule, exact resumption, accumulation, what it refuses."""

import math
import shutil
from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file, save_file

from astro_sim.errors import InputError
from rmaat.baselines import baseline_config
from rmaat.data.listops import Grammar, generate
from rmaat.data.sequences import Sequences
from rmaat.data.tasks import StageExamples
from rmaat.heads import RMAATForSequenceClassification, RMAATForSequencePairClassification
from rmaat.training.evaluation import TotalScore, evaluate, renew_trace_statistics
from rmaat.training.log import read_curves
from rmaat.training.models import load_checkpoint
from rmaat.training.recipe import DataRecipe, Recipe
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
        seen[share] = trainer._stage_of_batch().reshape(4, 1000)
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


def test_peak_memory_is_that_of_the_whole_training(make_model, make_recipe, splits, tmp_path, monkeypatch):
    """Before the break it was larger than after it."""
    monkeypatch.setattr("rmaat.training.trainer.peak_memory_mib", lambda: 500.0)
    with pytest.raises(KeyboardInterrupt):
        run(make_model, make_recipe(), splits, tmp_path, stop_at=9)
    monkeypatch.setattr("rmaat.training.trainer.peak_memory_mib", lambda: 100.0)
    assert run(make_model, make_recipe(), splits, tmp_path, resume=True).peak_memory_mib == 500.0


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


def run(make_model, recipe, splits, out, stop_at=None, resume=False):
    """Train; `stop_at` breaks the run off as a crash would, in the middle of that step."""
    model = make_model()
    if stop_at is not None:
        calls = iter(range(10**6))

        def crash(*_):
            if next(calls) == stop_at * recipe.optimisation.accumulate:
                raise KeyboardInterrupt

        model.register_forward_pre_hook(crash)
    trainer = Trainer(recipe, splits, model, out)
    trainer.fit(resume)
    return trainer


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(("trace_norm", "rehearsal"), [(False, 0), (True, 0), (False, 0.6)])
@pytest.mark.parametrize("stop_at", [2, 7, 16])
def test_a_broken_off_run_ends_bit_for_bit_like_an_undisturbed_one(
    make_model, make_recipe, splits, tmp_path, stop_at, trace_norm, rehearsal
):
    """Broken off before the first state, inside the last stage (it ends between two states), after it.

    A stage that is not read any more is not drawn again. With rehearsal all three are read by turns after the break.
    """
    stages = [(1, 4), (2, 6), (4, 4)]
    few = [{"steps": n, "batch_size": size, "min_length": 10, "max_length": 30} for n, size in stages]
    data = DataRecipe(curriculum=few, rehearsal=rehearsal)
    recipe = make_recipe().model_copy(update={"data": data})
    short = generate(60, 9, Grammar(max_depth=4, min_length=10, max_length=30))
    draws = [Mock(return_value=short.select(np.arange(i, i + 20))) for i in (0, 20, 40)]
    splits = replace(splits, stages=tuple(StageExamples(20, draw) for draw in draws))
    make = partial(make_model, trace_norm=trace_norm)
    whole = run(make, recipe, splits, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(make, recipe, splits, tmp_path / "cut", stop_at)
    torch.manual_seed(99)
    before = [draw.call_count for draw in draws]
    resumed = run(make, recipe, splits, tmp_path / "cut", resume=True)
    drawn = [draw.call_count - n for draw, n in zip(draws, before, strict=True)]
    rest = set(whole._stage_of_batch()[{2: 0, 7: 8, 16: 16}[stop_at] :])
    assert drawn == [int(stage in rest) for stage in range(3)]
    assert stop_at != 7 or len(rest) == (3 if rehearsal else 1)
    assert same(whole.model, resumed.model) and same(whole.average, resumed.average)
    weights = [(tmp_path / name / "checkpoint" / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]  # the trace's statistics with them
    curves = [read_curves(tmp_path / name / "metrics.csv") for name in ("whole", "cut")]
    assert [row["step"] for row in curves[0]] == [row["step"] for row in curves[1]]
    other = run(lambda: make(seed=5), recipe, splits, tmp_path / "other")
    assert not same(whole.model, other.model)


def damage(state, harm):
    """Harm a training state as a full disk or a person might."""
    weights, progress = state / "state.safetensors", state / "progress.json"
    if harm == "truncate":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif harm == "unlink":
        weights.unlink()
    elif harm.startswith("{"):
        progress.write_text(harm)
    else:
        tensors = load_file(weights)
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(harm)}
        assert len(kept) < len(tensors)
        if harm == "model/classifier.bias":
            kept[harm] = torch.full_like(tensors[harm], torch.nan)
        save_file(kept, weights)


WHOLE = '{"step": 12, "best": 0.5, "elapsed": 1.0, "tokens_seen": 9}'
HARMS = [
    "truncate",
    "unlink",
    "{",
    "{}",
    WHOLE.replace("12", "1200"),
    WHOLE.replace("0.5", "Infinity"),
    WHOLE.replace("1.0", "NaN"),
    "model/classifier.bias",
    "average/",
    "optimizer/",
    "random/cpu",
]


@pytest.mark.parametrize("harm", HARMS)
def test_a_broken_newest_state_is_skipped_with_a_warning(make_model, make_recipe, splits, tmp_path, caplog, harm):
    recipe = make_recipe()
    whole = run(make_model, recipe, splits, tmp_path / "run")
    states = sorted((tmp_path / "run" / "states").iterdir())
    assert [path.name for path in states] == ["step-00000008", "step-00000012"]
    damage(states[-1], harm)
    resumed = run(make_model, recipe, splits, tmp_path / "run", resume=True)
    assert "step-00000012" in caplog.text and "step-00000008" not in caplog.text
    assert same(whole.model, resumed.model)


@pytest.mark.parametrize("harm", ["model.safetensors", "recipe.json", "all", "another recipe"])
def test_a_broken_checkpoint_is_replaced_by_what_is_restored(make_model, make_recipe, splits, tmp_path, caplog, harm):
    """Whatever validation said before: the run then has a checkpoint to test, that of the state or a later one."""
    whole = run(make_model, make_recipe(), splits, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint"
    if harm == "all":
        shutil.rmtree(checkpoint)
    elif harm == "another recipe":
        wide = make_model(dim=16)
        wide.save_pretrained(checkpoint)
        recipe = make_recipe().model_copy(update={"model": wide.config.model_dump(mode="json")})
        (checkpoint / "recipe.json").write_text(recipe.model_dump_json())
    else:
        (checkpoint / harm).write_bytes(b"{")
    resumed = run(make_model, make_recipe(), splits, tmp_path / "run", resume=True)
    assert "weights of step 12 take the place of the best ones, which cannot be used: " in caplog.text
    assert same(whole.average, resumed.average) and 0 <= resumed.best <= whole.best
    assert same(load_checkpoint(checkpoint)[0], whole.average.module)


@pytest.mark.parametrize("harm", ["average/", "optimizer/"])
def test_of_broken_states_alone_nothing_is_loaded(make_model, make_recipe, splits, tmp_path, caplog, harm):
    """The run starts again as if it were new, with the weights that it began with."""
    recipe = make_recipe()
    whole = run(make_model, recipe, splits, tmp_path / "run")
    for state in (tmp_path / "run" / "states").iterdir():
        damage(state, harm)
    resumed = run(make_model, recipe, splits, tmp_path / "run", resume=True)
    assert caplog.text.count("skipping the broken training state") == 2
    assert same(whole.model, resumed.model) and same(whole.average, resumed.average)


def test_accumulated_small_batches_equal_one_large_batch(make_model, splits):
    """The mean of the gradients of two halves is the gradient of the whole, to the rounding of float32."""
    model = make_model(dropout=0.0)
    ids, lengths = (torch.from_numpy(array) for array in splits.train.padded(np.arange(16)))
    labels = torch.from_numpy(splits.train.labels[:16])
    joint = torch.autograd.grad(model(ids, lengths, labels).loss, list(model.parameters()))
    halves = [
        torch.autograd.grad(model(ids[part], lengths[part], labels[part]).loss / 2, list(model.parameters()))
        for part in (slice(0, 8), slice(8, 16))
    ]
    for whole, first, second in zip(joint, *halves, strict=True):
        assert torch.allclose(whole, first + second, atol=1e-6)


def test_the_checkpoint_is_the_best_on_validation(make_model, make_recipe, splits, tmp_path):
    trainer = run(make_model, make_recipe(average=0.0), splits, tmp_path)
    rows = [row for row in read_curves(tmp_path / "metrics.csv") if row["split"] == "validation"]
    best = max(float(row["accuracy"]) for row in rows)
    model = RMAATForSequenceClassification.from_pretrained(tmp_path / "checkpoint")
    scores = evaluate(model, splits.validation, 8, None, trainer.fabric)
    assert len(rows) == 3
    assert scores.accuracy == pytest.approx(best, abs=1e-6) and trainer.best == pytest.approx(best)


def test_trace_statistics_of_a_checkpoint_are_those_of_its_weights(make_model, make_recipe, splits, tmp_path):
    """The reference: `np.polyfit` of degree 2 in the logarithm of the length, to the plain traces of all examples."""
    run(lambda: make_model(trace_norm=True), make_recipe(learning_rate=0.05), splits, tmp_path)
    model = RMAATForSequenceClassification.from_pretrained(tmp_path / "checkpoint").eval()
    norm, model.trace_norm, traces = model.trace_norm, None, []
    model.classifier.register_forward_pre_hook(lambda _, inputs: traces.append(inputs[0].numpy()))
    with torch.no_grad():
        ids, lengths = (torch.from_numpy(array) for array in splits.train.padded(np.arange(64)))
        model(ids, lengths)
        found = norm(torch.zeros(64, 16), lengths) * -(norm.running_var + norm.eps).sqrt()  # mean(N)
    plain, logs = traces[0].astype(float), np.log(lengths.numpy())
    expected = np.vander(logs, 3) @ np.polyfit(logs, plain, 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # float32
    np.testing.assert_allclose(norm.running_var, (plain - expected).var(0), rtol=1e-3)


def test_trace_statistics_of_pairs_are_those_of_their_documents(make_model, splits):
    """As if each document were an example of its own."""
    data = splits.train
    pairs = Sequences(data.tokens, data.offsets, data.labels[::2], data.vocab_size, data.num_labels, parts=2)
    single = make_model(trace_norm=True)
    pair = RMAATForSequencePairClassification(single.config)
    pair.model.load_state_dict(single.model.state_dict())
    renew_trace_statistics(single, data, 64, None, Fabric(accelerator="cpu"))
    renew_trace_statistics(pair, pairs, 32, None, Fabric(accelerator="cpu"))
    for name, value in single.trace_norm.state_dict().items():
        torch.testing.assert_close(pair.trace_norm.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_trace_statistics_do_not_depend_on_the_size_of_the_batch(make_model):
    """With 1,024 examples a batch, all lengths are still seen: the statistics of 4 a batch, to float32's rounding."""
    data = generate(3000, 2, Grammar(max_depth=5, min_length=20, max_length=120))
    found = []
    for batch_size in (4, 1024):
        model = make_model(trace_norm=True)
        renew_trace_statistics(model, data, batch_size, None, Fabric(accelerator="cpu"))
        found.append(model.trace_norm.state_dict())
    shortest, longest = found[0]["log_lengths"].exp()
    assert shortest.round() <= np.quantile(data.lengths, 0.01) and longest.round() >= np.quantile(data.lengths, 0.99)
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("training", [False, True])
def test_renewing_changes_nothing_but_the_statistics(make_model, splits, training):
    model = make_model(trace_norm=True, dropout=0.5).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    renew_trace_statistics(model, splits.train, 8, None, Fabric(accelerator="cpu"))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"trace_norm.{name}" for name in ("running_mean", "running_var", "slopes", "log_lengths")}
    assert model.training == model.trace_norm.training == training


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


def test_resuming_without_a_state_starts_from_the_beginning(make_model, make_recipe, splits, tmp_path):
    recipe = make_recipe(steps=4)
    first = run(make_model, recipe, splits, tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "states")
    second = run(make_model, recipe, splits, tmp_path / "a", resume=True)
    assert same(first.model, second.model)


def test_resumed_processes_drop_out_different_entries(make_model, make_recipe, splits, tmp_path):
    """What the generator draws in front of the first step after the break, in each of three processes."""
    recipe, drawn = make_recipe(), []
    run(make_model, recipe, splits, tmp_path)
    for rank in (0, 1, 2, 1):
        shutil.rmtree(tmp_path / "states" / "step-00000012", ignore_errors=True)
        process, model = type("Process", (Fabric,), {"global_rank": rank}), make_model()
        first: list[torch.Tensor] = []
        model.register_forward_pre_hook(lambda *_, first=first: first.append(torch.get_rng_state()))
        Trainer(recipe, splits, model, tmp_path, process(accelerator="cpu", devices=1)).fit(resume=True)
        drawn.append(torch.Generator().set_state(first[0]))
    masks = [torch.rand(64, generator=generator) for generator in drawn]
    assert torch.equal(masks[1], masks[3])  # of one process, always the same
    assert len({tuple(mask.tolist()) for mask in masks}) == 3


@pytest.mark.parametrize("batch_size", [1, 8, 32, 33])
def test_a_score_does_not_depend_on_the_batches(make_model, batch_size):
    """Of 33 examples, the last batch holds another number of them; the reference is one plain mean over all."""
    data, fabric = generate(33, 5, Grammar(max_depth=5, min_length=20, max_length=60)), Fabric(accelerator="cpu")
    model = make_model().eval()
    ids, lengths = data.padded(np.arange(33))
    with torch.no_grad():
        logits = model(torch.from_numpy(ids), torch.from_numpy(lengths)).logits
    labels = torch.from_numpy(np.asarray(data.labels))
    scores = evaluate(model, data, batch_size, None, fabric)
    assert scores.predictions == 33
    assert scores.accuracy == pytest.approx(logits.argmax(1).eq(labels).double().mean().item(), abs=1e-7)  # float32
    assert scores.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
