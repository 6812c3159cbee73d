"""Runs that were broken off end as undisturbed ones do; what is broken on disk is passed over."""

import json
import shutil
from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file, save_file
from training_runs import run, same

from astro_sim.provenance import file_sha256
from rmaat.data.listops import Grammar, generate
from rmaat.data.splits import StageExamples
from rmaat.training.evaluation import TotalScore
from rmaat.training.log import CurveLog, read_curves
from rmaat.training.models import load_checkpoint
from rmaat.training.recipe import DataRecipe
from rmaat.training.trainer import Trainer


def test_peak_memory_is_that_of_the_whole_training(make_model, make_recipe, splits, tmp_path, monkeypatch):
    """Before the break it was larger than after it."""
    monkeypatch.setattr("rmaat.training.trainer.peak_memory_mib", lambda: 500.0)
    with pytest.raises(KeyboardInterrupt):
        run(make_model, make_recipe(), splits, tmp_path, stop_at=9)
    monkeypatch.setattr("rmaat.training.trainer.peak_memory_mib", lambda: 100.0)
    assert run(make_model, make_recipe(), splits, tmp_path, resume=True).peak_memory_mib == 500.0


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
    rest = set(whole.batches.stage_of_batch()[{2: 0, 7: 8, 16: 16}[stop_at] :])
    assert drawn == [int(stage in rest) for stage in range(3)]
    assert stop_at != 7 or len(rest) == (3 if rehearsal else 1)
    assert same(whole.model, resumed.model) and same(whole.average, resumed.average)
    weights = [(tmp_path / name / "checkpoint" / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]  # the trace's statistics with them
    curves = [read_curves(tmp_path / name / "metrics.csv") for name in ("whole", "cut")]
    rows = [[(row["step"], row["split"], row["loss"], row["accuracy"]) for row in curve] for curve in curves]
    assert rows[0] == rows[1]  # also of the row that the break is in
    other = run(lambda: make(seed=5), recipe, splits, tmp_path / "other")
    assert not same(whole.model, other.model)


def test_a_kill_while_the_curves_are_taken_over_leaves_them_as_they_were(tmp_path, monkeypatch):
    CurveLog(tmp_path, 0).write(1, "train", loss=0.5, accuracy=0.25)
    before = (tmp_path / "metrics.csv").read_bytes()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("csv.DictWriter.writerows", Mock(side_effect=KeyboardInterrupt))
        CurveLog(tmp_path, 1)
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_tensorboard_drops_what_the_curves_drop(tmp_path, monkeypatch):
    """Its own reader hides what was written from `purge_step` on."""
    made = Mock()
    monkeypatch.setattr("lightning.fabric.loggers.TensorBoardLogger", made)
    monkeypatch.setattr("rmaat.training.log.find_spec", lambda name: name == "tensorboard")
    CurveLog(tmp_path, 4)
    assert made.call_args.kwargs["purge_step"] == 5


def damage(state, harm):
    """Harm a training state as a full or failing disk, a person or another version might."""
    weights, progress = state / "state.safetensors", state / "progress.json"
    if harm == "truncate":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif harm == "a bit":
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        weights.write_bytes(content)
    elif harm == "unlink":
        weights.unlink()
    elif isinstance(harm, str) and harm.startswith("{"):
        progress.write_text(harm)
    else:
        tensors = load_file(weights)
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(harm)}
        assert len(kept) < len(tensors)
        if harm == "model/classifier.bias":
            kept[harm] = torch.full_like(tensors[harm], torch.nan)
        save_file(kept, weights)
        noted = json.loads(progress.read_text()) | {"sha256": file_sha256(weights)}
        progress.write_text(json.dumps(noted))


WHOLE = '{"step": 12, "best": 0.5, "elapsed": 1.0, "tokens_seen": 9}'
HARMS = [
    "truncate",
    "a bit",
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


def test_states_without_the_sums_of_a_row_are_resumed(make_model, make_recipe, splits, tmp_path, caplog):
    """As code of before wrote them: the weights end as they would have."""
    whole = run(make_model, make_recipe(), splits, tmp_path / "run")
    states = sorted((tmp_path / "run" / "states").iterdir())
    for state in states:
        damage(state, ("loss/", "accuracy/"))
    resumed = run(make_model, make_recipe(), splits, tmp_path / "run", resume=True)
    assert not caplog.text and same(whole.model, resumed.model)


def test_new_states_are_kept_beside_later_ones_that_cannot_be_read(make_model, make_recipe, splits, tmp_path):
    recipe = make_recipe()
    whole = run(make_model, recipe, splits, tmp_path / "run")
    for state in (tmp_path / "run" / "states").iterdir():
        damage(state, "truncate")
    with pytest.raises(KeyboardInterrupt):
        run(make_model, recipe, splits, tmp_path / "run", stop_at=9, resume=True)
    assert (tmp_path / "run" / "states" / "step-00000004").is_dir()
    assert same(whole.model, run(make_model, recipe, splits, tmp_path / "run", resume=True).model)


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


def test_a_checkpoint_of_steps_that_are_trained_again_is_not_kept_where_they_end_elsewhere(
    make_model, make_recipe, splits, tmp_path, caplog, monkeypatch
):
    """By the clock: the best of step 12, after the state of step 8, is of a branch that is gone."""
    recipe = make_recipe(minutes=1000.0)  # by which the learning rate is never behind that of the steps
    scores = (TotalScore(1.0, accuracy, 8) for accuracy in (0.3, 0.2, 0.9, 0.2, 0.1))
    monkeypatch.setattr("rmaat.training.trainer.evaluate", lambda *_: next(scores))
    run(make_model, recipe, splits, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "states" / "step-00000012")
    checkpoint = tmp_path / "run" / "checkpoint" / "validation.json"
    assert json.loads(checkpoint.read_text()) == {"step": 12, "accuracy": 0.9}
    trainer = run(make_model, recipe, splits, tmp_path / "run", resume=True)
    assert "was written after the newest state" in caplog.text
    assert json.loads(checkpoint.read_text()) == {"step": 8, "accuracy": 0.2} and trainer.best == 0.2


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
