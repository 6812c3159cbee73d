"""The rounding twin against the integers, and what fine-tuning it gains."""

import copy

import numpy as np
import torch
from lava_models import frequent_token

from rmaat_lava import QuantizationAware, quantize, run


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


def test_fine_tuning_lowers_the_loss_of_the_integers(trained, calibration):
    """At 8 bits a tensor, after weights were damaged by noise of half a quantisation step of the largest channel."""
    model = copy.deepcopy(trained)
    inputs, lengths, labels = frequent_token(400, seed=22)

    def loss() -> float:
        logits = torch.from_numpy(_integer_logits(model, calibration, inputs, lengths, per_channel=False))
        return torch.nn.functional.cross_entropy(logits, labels).item()

    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dim() == 2:
            parameter.data += torch.randn_like(parameter) * parameter.abs().max() * 0.05
    before = loss()
    aware = QuantizationAware(model, calibration, per_channel=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    for step in range(12):
        optimizer.zero_grad()
        aware(*frequent_token(32, seed=5000 + step)).loss.backward()
        optimizer.step()
    assert loss() < before
