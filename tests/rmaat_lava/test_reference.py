"""The NumPy executor against a second implementation in plain Python integers, and against the float model."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lava_models import frequent_token, small_config
from lava_naive import Naive

from rmaat.heads import RMAATForSequenceClassification
from rmaat_lava import Calibration, WeightFormat, quantize, reference, run, twin
from rmaat_lava.program import flatten


def _random_model(seed: int, **changes: object) -> RMAATForSequenceClassification:
    torch.manual_seed(seed)
    model = RMAATForSequenceClassification(small_config(**changes))
    for parameter in model.parameters():  # biases and gains that are not at their initial 0 and 1
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def test_twin_is_the_model(trained):
    inputs, lengths, _ = frequent_token(16, seed=2)
    with torch.no_grad():
        expected = trained(inputs, lengths).logits
        found = twin.logits(trained, inputs, lengths)
    # both are float32 and sum in different orders
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    heads=st.sampled_from([1, 2, 4]),
    head_dim=st.sampled_from([2, 3, 4]),
    layers=st.integers(1, 2),
    segment_length=st.integers(1, 7),
    memory_tokens=st.integers(0, 3),
    presynaptic=st.sampled_from(["power", "linear", "off", "fitted"]),
    astrocytic=st.booleans(),
    retention=st.booleans(),
    per_channel=st.booleans(),
    bits=st.sampled_from([3, 5, 8]),
    features=st.booleans(),
)
def test_equals_plain_python(seed, heads, head_dim, per_channel, bits, features, **fields):
    dim = heads * head_dim
    kind = {"input_kind": "features", "input_dim": 3} if features else {}
    model = _random_model(seed, dim=dim, heads=heads, ffn_dim=5, **kind, **fields)
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 3 * fields["segment_length"] + 1, 4)
    shape = (4, lengths.max(), 3) if features else (4, lengths.max())
    inputs = rng.normal(size=shape).astype(np.float32) if features else rng.integers(0, 12, shape)
    calibration = Calibration(torch.from_numpy(inputs), torch.from_numpy(lengths))
    deployment = quantize(model, calibration, weights=WeightFormat(bits, per_channel), max_segments=3)
    outputs = run(deployment, inputs, "numpy", lengths=lengths)
    naive = Naive(flatten(deployment.program))
    scale = 2.0 ** deployment.description["exponents"]["inputs"] if features else 1
    rows = np.rint(inputs * scale).astype(int)
    expected = [naive.classify(row[:n].tolist()) for row, n in zip(rows, lengths, strict=True)]
    assert outputs.logits.tolist() == expected
    assert outputs.saturated == naive.cut


@pytest.mark.parametrize("factor", [2**6, 2**9, 2**12])
def test_overflow_saturates_like_plain_python(factor):
    """Values blown up by a factor saturate in the sums of H, in the residual stream and in the norms."""
    model = _random_model(3, dim=8, heads=2, ffn_dim=5, segment_length=5, memory_tokens=2)
    inputs = torch.from_numpy(np.random.default_rng(0).integers(1, 12, (3, 12)))
    lengths = torch.tensor([12, 9, 4])
    program = quantize(model, Calibration(inputs, lengths), max_segments=3).program
    layers = []
    for layer in program.layers:
        value = dataclasses.replace(layer.write.value, multiplier=layer.write.value.multiplier * factor)
        layers.append(dataclasses.replace(layer, write=dataclasses.replace(layer.write, value=value)))
    program = dataclasses.replace(program, layers=tuple(layers))
    counts = Counter()
    logits = reference.classify(program, inputs.numpy(), lengths.numpy(), counts)
    naive = Naive(flatten(program))
    assert logits.tolist() == [naive.classify(row[:n]) for row, n in zip(inputs.tolist(), lengths, strict=True)]
    assert counts.total() == naive.cut > 0
    assert any(place.endswith("weights") for place in counts)


def test_result_does_not_depend_on_the_batch(deployment):
    inputs, lengths, _ = frequent_token(80, seed=5)
    together = run(deployment, inputs.numpy(), "numpy", lengths=lengths.numpy())
    alone = [run(deployment, [row[:n].numpy()], "numpy").logits[0] for row, n in zip(inputs, lengths, strict=True)]
    np.testing.assert_array_equal(together.logits, alone)


@pytest.mark.parametrize("per_channel", [True, False])
def test_predictions_agree_with_the_float_model(trained, calibration, per_channel):
    deployment = quantize(trained, calibration, weights=WeightFormat(per_channel=per_channel))
    inputs, lengths, labels = frequent_token(400, seed=3)
    with torch.no_grad():
        real = trained(inputs, lengths).logits.numpy()
    outputs = run(deployment, inputs.numpy(), "numpy", lengths=lengths.numpy())
    assert (real.argmax(1) == labels.numpy()).mean() > 0.9  # the model has learnt something to lose
    assert (real.argmax(1) == outputs.predictions).mean() >= 0.95
    scaled = outputs.logits * 2.0**-deployment.logit_exponent
    # 8-bit weights: 0.4 % a weight, some ten layers of them in the path
    assert np.sqrt(((scaled - real) ** 2).mean() / (real**2).mean()) < 0.05
    assert outputs.saturated == 0
