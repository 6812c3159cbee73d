"""CUDA graphs of training steps: refused where there can be none; where there is a GPU, the steps are the same."""

from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch

from astro_sim.errors import InputError
from rmaat.training.cuda_graph import refuse_what_no_graph_holds
from rmaat.training.recipe import Recipe
from rmaat.training.run import train
from rmaat.training.trainer import Trainer

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.skipif(torch.cuda.is_available(), reason="is for machines without a CUDA GPU")
def test_a_graph_is_refused_without_a_gpu(make_model, make_recipe, splits, tmp_path):
    """By the trainer, and by a run before it draws any data."""
    recipe = make_recipe(cuda_graph=True, accumulate=1)
    with pytest.raises(InputError, match=r"cuda_graph.*one CUDA GPU"):
        Trainer(recipe, splits, make_model(backprop="bptt"), tmp_path)
    with patch("rmaat.training.run.load_splits") as drawn, pytest.raises(InputError, match=r"cuda_graph.*one CUDA GPU"):
        train(recipe, None, tmp_path / "run")
    drawn.assert_not_called()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("kind", "asked", "refused"), [("rmt-amrb", "bptt", True), ("transformer", "amrb", False)])
def test_a_graph_is_refused_for_what_the_model_does_and_not_for_what_it_leaves_out(kind, asked, refused):
    recipe = Recipe(task="listops", kind=kind, model={"backprop": asked}, optimisation={"cuda_graph": True})
    with pytest.raises(InputError, match=r"^model.backprop: got 'amrb'") if refused else nullcontext():
        refuse_what_no_graph_holds(recipe, SimpleNamespace(device=torch.device("cuda")))
    if not refused:  # an exponent that is there for other models of the table
        shared = recipe.model_copy(update={"model": recipe.model | {"alpha": 0.7}})
        refuse_what_no_graph_holds(shared, SimpleNamespace(device=torch.device("cuda")))


@on_gpu
def test_a_graph_is_refused_with_replay_or_accumulation(make_model, make_recipe, splits, tmp_path):
    bptt = {"model": {"backprop": "bptt"}}
    one = make_recipe(cuda_graph=True, accumulate=1)
    for recipe, match in (
        (one, "model.backprop"),
        (make_recipe(cuda_graph=True).model_copy(update=bptt), "accumulate"),
        (one.model_copy(update=bptt | {"objective": "masked"}), "masked"),
        (one.model_copy(update={"model": {"backprop": "bptt", "retention": "uniform"}}), "model.retention"),
    ):
        with pytest.raises(InputError, match=match):
            Trainer(recipe, splits, make_model(backprop="bptt"), tmp_path)


@on_gpu
def test_recorded_steps_are_those_of_a_loop(make_model, make_recipe, splits, tmp_path):
    """The same weights after 12 steps on batches of several lengths; padding changes the order of sums alone."""
    weights = []
    for graph in (False, True):
        recipe = make_recipe(cuda_graph=graph, accumulate=1).model_copy(update={"model": {"backprop": "bptt"}})
        trainer = Trainer(recipe, splits, make_model(backprop="bptt", dropout=0.0), tmp_path / str(graph))
        trainer.fit()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.module.parameters()]))
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-5)
