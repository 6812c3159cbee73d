"""A language model in the trainer and in evaluation: the loss of all logits, of which one segment's are kept."""

import math

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch.nn.functional import cross_entropy

from rmaat import RMAATForCausalLM, baseline_config
from rmaat.data.sequences import Sequences
from rmaat.data.splits import Splits
from rmaat.peak_memory import PeakMemory
from rmaat.training.evaluation import evaluate
from rmaat.training.log import read_curves
from rmaat.training.trainer import Trainer

SMALL = {"dim": 8, "layers": 1, "heads": 2, "memory_tokens": 2, "causal": True}


def windows(n, length, vocab_size):
    rows = np.random.default_rng(0).integers(1, vocab_size, (n, length))
    return Sequences.from_list(list(rows), [0] * n, vocab_size, vocab_size)


def language_model(name="rmaat", **changes):
    torch.manual_seed(0)
    return RMAATForCausalLM(baseline_config(name, 20, **{"segment_length": 8} | SMALL | changes))


@pytest.mark.parametrize("name", ["rmaat", "transformer", "linear", "ssm", "rmt"])
def test_the_scores_are_those_of_all_logits_at_once(name, make_recipe, tmp_path):
    """Evaluation over batches of different size, and the first row of the training curves."""
    data, model = windows(12, 20, 16), language_model(name, vocab_size=16)
    ids = torch.from_numpy(np.stack([data[i] for i in range(12)])).long()
    with torch.no_grad():
        logits = model.eval()(ids).logits[:, :-1].flatten(0, 1)
    loss = cross_entropy(logits, ids[:, 1:].flatten()).item()
    right = logits.argmax(1).eq(ids[:, 1:].flatten()).double().mean().item()
    scores = evaluate(model, data, 5, None, Fabric(accelerator="cpu", devices=1))
    assert scores[:2] == pytest.approx((loss, right), abs=1e-6)
    assert scores.predictions == 12 * 19  # of 20 ids the first is told by none
    assert scores.standard_error == pytest.approx(math.sqrt(right * (1 - right) / (12 * 19)), abs=1e-6)
    recipe = make_recipe(steps=1, accumulate=1, batch_size=12)
    Trainer(recipe, Splits(data, data, data), model, tmp_path).fit()
    row = read_curves(tmp_path / "metrics.csv")[0]
    assert row["split"] == "train"
    assert [float(row["loss"]), float(row["accuracy"])] == pytest.approx([loss, right], abs=1e-4)


def test_logits_of_one_segment_at_a_time_are_alive(make_recipe, tmp_path):
    """4,000 ids: the logits of eight windows of 16 segments are 16 MB, a segment's 1 MB."""
    data = windows(8, 128, 4000)
    model, fabric = language_model(vocab_size=4000), Fabric(accelerator="cpu", devices=1)
    all_logits = 8 * 128 * 4000 * 4  # bytes
    with PeakMemory() as evaluation:
        evaluate(model, data, 8, None, fabric)
    trainer = Trainer(make_recipe(steps=1, accumulate=1), Splits(data, data, data), model, tmp_path, fabric)
    with PeakMemory() as training:
        trainer._step(0, trainer.batches.after(0))
    assert evaluation.peak < all_logits / 2 and training.peak < all_logits / 2
