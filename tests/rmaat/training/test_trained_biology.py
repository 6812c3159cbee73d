"""After training, the bio-parameters stand beside the checkpoint: what training moved, and where from."""

import pytest

from rmaat.training.models import load_checkpoint
from rmaat.training.recipe import load_recipe
from rmaat.training.run import train
from rmaat_bridge import BioParameters

TINY = """
task = "listops"
[data]
train = 16
validation = 4
test = 4
[model]
dim = 8
layers = 2
heads = 2
segment_length = 256
memory_tokens = 2
[optimisation]
steps = 3
batch_size = 4
learning_rate = 0.05
evaluate_every = 3
save_every = 3
"""


def test_prior_and_posterior_stand_side_by_side(tmp_path):
    prior = BioParameters.reference()
    prior = prior.with_mode("free", "retention.tau_p_long").with_mode("bounded", "attention.length")
    prior.save(tmp_path / "bio.toml")
    (tmp_path / "tiny.toml").write_text(TINY)
    train(load_recipe(tmp_path / "tiny.toml"), tmp_path / "bio.toml", tmp_path / "run")

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
