"""The rounding twin against the integers, and what fine-tuning it gains."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lava_models import frequent_token, in_pairs, random_model

from rmaat_lava import Calibration, QuantizationAware, WeightFormat, quantize, run


def _integer_logits(model, calibration, inputs, lengths, **options):
    deployment = quantize(model, calibration, **options)
    found = run(deployment, inputs.numpy(), "numpy", lengths=lengths.numpy())
    return found.logits * 2.0**-deployment.logit_exponent


def test_twin_predicts_the_integers(trained, calibration):
    """The twin leaves out the tables' interpolation and a few roundings, each far finer than a weight's 8 bits."""
    inputs, lengths, _ = frequent_token(64, seed=20)
    with torch.no_grad():
        real = trained(inputs, lengths).logits.numpy()
        rounded = QuantizationAware(trained, calibration)(inputs, lengths).logits.numpy()
    integers = _integer_logits(trained, calibration, inputs, lengths)
    assert np.sqrt(((rounded - integers) ** 2).mean()) < 0.4 * np.sqrt(((real - integers) ** 2).mean())


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_norm": "after"},
        {"memory_tokens": 0},
        {"memory_tokens": 0, "trace_norm": True},
        {"pairs": True},
        {"pairs": True, "memory_tokens": 0, "stem_stride": 2},
    ],
)
def test_twin_of_other_forms_predicts_the_integers(changes):
    """With weights of 4 bits, beside whose rounding all other is small."""
    weights, model = WeightFormat(bits=4), random_model(2, **changes)
    inputs, lengths, _ = frequent_token(64, seed=23)
    inputs, lengths = in_pairs(inputs, lengths) if "pairs" in changes else (inputs, lengths)
    calibration = Calibration(inputs, lengths)
    with torch.no_grad():
        real = model(inputs, lengths).logits.numpy()
        rounded = QuantizationAware(model, calibration, weights)(inputs, lengths).logits.numpy()
    integers = _integer_logits(model, calibration, inputs, lengths, weights=weights)
    assert np.sqrt(((rounded - integers) ** 2).mean()) < 0.1 * np.sqrt(((real - integers) ** 2).mean())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_model_on_the_gpu_has_the_same_integers(trained, calibration):
    """And its twin the same logits, up to float32's sums in another order, which may tip a rounding."""
    inputs, lengths, _ = frequent_token(64, seed=20)
    there = copy.deepcopy(trained).cuda()
    moved = Calibration(calibration.inputs.cuda(), calibration.lengths.cuda())
    expected = _integer_logits(trained, calibration, inputs, lengths)
    np.testing.assert_array_equal(_integer_logits(there, moved, inputs, lengths), expected)
    with torch.no_grad():
        twin = QuantizationAware(there, moved)(inputs.cuda(), lengths.cuda()).logits.cpu()
        torch.testing.assert_close(
            twin, QuantizationAware(trained, calibration)(inputs, lengths).logits, atol=1e-2, rtol=0
        )


def test_gradient_is_straight_through(trained, calibration):
    """With gradients of the float model as reference: rounding moves the point at which they are taken, no more."""
    inputs, lengths, labels = frequent_token(16, seed=21)
    gradients = []
    for model in (trained, QuantizationAware(trained, calibration)):
        trained.zero_grad()
        model(inputs, lengths, labels).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in trained.parameters() if p.grad is not None]))
    trained.zero_grad()
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.95


def _tuned(model, forward, steps: int = 30):
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    for step in range(steps):
        optimizer.zero_grad()
        forward(*frequent_token(32, seed=5000 + step)).loss.backward()
        optimizer.step()
    return model.eval()


def test_fine_tuning_gains_what_more_training_of_the_floats_does_not(trained, calibration):
    """Weights of two bits, -1, 0 and 1: the same steps, batches and learning rate with and without the rounding."""
    weights = WeightFormat(bits=2)
    inputs, lengths, labels = frequent_token(400, seed=22)

    def accuracy_and_loss(model) -> tuple[float, float]:
        logits = torch.from_numpy(_integer_logits(model, calibration, inputs, lengths, weights=weights))
        return (logits.argmax(1) == labels).double().mean().item(), F.cross_entropy(logits, labels).item()

    control, aware = copy.deepcopy(trained), copy.deepcopy(trained)
    _tuned(control, control)
    _tuned(aware, QuantizationAware(aware, calibration, weights))
    found = {
        name: accuracy_and_loss(model) for name, model in (("as is", trained), ("floats", control), ("aware", aware))
    }
    assert found["aware"][1] < 0.8 * min(found["as is"][1], found["floats"][1]), found
    assert found["aware"][0] > max(found["as is"][0], found["floats"][0]) - 0.01, found  # all near 99 %: 4 of 400
