"""CUDA graphs of training steps: refused where there can be none; where there is a GPU, the steps are the same."""

import pytest
import torch

from astro_sim.errors import InputError
from rmaat.training.trainer import Trainer

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.skipif(torch.cuda.is_available(), reason="is for machines without a CUDA GPU")
def test_a_graph_is_refused_without_a_gpu(make_model, make_recipe, splits, tmp_path):
    recipe = make_recipe(cuda_graph=True, accumulate=1)
    with pytest.raises(InputError, match=r"cuda_graph.*one CUDA GPU"):
        Trainer(recipe, splits, make_model(backprop="bptt"), tmp_path)


@on_gpu
def test_a_graph_is_refused_with_replay_or_accumulation(make_model, make_recipe, splits, tmp_path):
    with pytest.raises(InputError, match=r"backprop.*bptt"):
        Trainer(make_recipe(cuda_graph=True, accumulate=1), splits, make_model(), tmp_path)
    with pytest.raises(InputError, match="accumulate"):
        Trainer(make_recipe(cuda_graph=True), splits, make_model(backprop="bptt"), tmp_path)


@on_gpu
def test_recorded_steps_are_those_of_a_loop(make_model, make_recipe, splits, tmp_path):
    """The same weights after 12 steps on batches of several lengths; padding changes the order of sums alone."""
    weights = []
    for graph in (False, True):
        recipe = make_recipe(cuda_graph=graph, accumulate=1)
        trainer = Trainer(recipe, splits, make_model(backprop="bptt", dropout=0.0), tmp_path / str(graph))
        trainer.fit()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.module.parameters()]))
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-5)
