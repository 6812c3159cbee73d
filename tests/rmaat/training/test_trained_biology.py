"""After training, the bio-parameters stand beside the checkpoint: what training moved, and where from."""

import pytest

from rmaat.training.models import load_checkpoint
from rmaat.training.recipe import load_recipe
from rmaat.training.run import train
from rmaat_bridge import BioParameters


def test_prior_and_posterior_stand_side_by_side(recipe_file, tmp_path):
    prior = BioParameters.reference()
    prior = prior.with_mode("free", "retention.tau_p_long").with_mode("bounded", "attention.length")
    prior.save(tmp_path / "bio.toml")
    longer = {"data.train": 16, "model.layers": 2, "optimisation.steps": 3, "optimisation.learning_rate": 0.05}
    train(load_recipe(recipe_file, longer), tmp_path / "bio.toml", tmp_path / "run")

    after = BioParameters.load(tmp_path / "run" / "bio.toml")
    free, bounded = after.retention.parameters["tau_p_long"], after.attention.parameters["length"]
    assert free.prior == prior.retention.parameters["tau_p_long"].value != free.value
    assert bounded.prior == prior.attention.parameters["length"].value != bounded.value
    assert bounded.lower < bounded.value < bounded.upper
    assert after.presynaptic == prior.presynaptic
    assert after.retention.parameters["cycle_s"] == prior.retention.parameters["cycle_s"]

    model = load_checkpoint(tmp_path / "run" / "checkpoint")[0]
    in_the_model = float(model.model.memory.schedule.values()["tau_p_long"].detach())
    assert in_the_model == pytest.approx(free.value, rel=1e-6)  # float32
