"""The NumPy executor against a second implementation in plain Python integers, and against the float model."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lava_models import frequent_token, small_config
from lava_naive import Naive

from rmaat.heads import RMAATForSequenceClassification
from rmaat_lava import Calibration, WeightFormat, quantize, reference, run, twin
from rmaat_lava.inputs import active_rows, prepare
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


KINDS = {
    "tokens": {},
    "levels": {"input_kind": "levels"},
    "features": {"input_kind": "features", "input_dim": 3},
    "n-grams": {"stem_ngrams": 3, "stem_buckets": 7},
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**16),
    heads=st.sampled_from([1, 2, 4]),
    head_dim=st.sampled_from([2, 3, 4]),
    layers=st.integers(1, 2),
    segment_length=st.integers(1, 7),
    memory_tokens=st.integers(0, 3),
    presynaptic=st.sampled_from(["power", "linear", "off", "fitted"]),
    astrocytic=st.booleans(),
    retention=st.sampled_from(["fitted", "uniform", "off"]),
    streaming=st.booleans(),
    trace=st.sampled_from(["mean", "retention"]),
    trace_norm=st.booleans(),
    stem_layers=st.integers(0, 2),
    stem_kernel=st.sampled_from([1, 3, 5]),
    stem_stride=st.integers(1, 3),
    per_channel=st.booleans(),
    bits=st.sampled_from([3, 5, 8]),
    kind=st.sampled_from(sorted(KINDS)),
)
def test_equals_plain_python(seed, heads, head_dim, per_channel, bits, kind, **fields):
    dim = heads * head_dim
    model = _random_model(seed, dim=dim, heads=heads, ffn_dim=5, **KINDS[kind], **fields)
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 3 * fields["segment_length"] + 1, 4)
    shape = (4, lengths.max(), 3) if kind == "features" else (4, lengths.max())
    inputs = rng.normal(size=shape).astype(np.float32) if kind == "features" else rng.integers(0, 12, shape)
    calibration = Calibration(torch.from_numpy(inputs), torch.from_numpy(lengths))
    deployment = quantize(model, calibration, weights=WeightFormat(bits, per_channel), max_segments=3)
    outputs = run(deployment, inputs, "numpy", lengths=lengths)
    naive = Naive(flatten(deployment.program))
    rows, _ = prepare(deployment, inputs, lengths)
    expected = [naive.classify(row[:n].tolist()) for row, n in zip(rows, lengths, strict=True)]
    assert outputs.logits.tolist() == expected
    assert outputs.saturated == naive.cut


@pytest.mark.parametrize(
    "changes",
    [
        {"input_kind": "levels"},
        {"stem_ngrams": 4, "stem_buckets": 50},
        {"stem_layers": 3, "stem_kernel": 5},
        {"stem_stride": 4},
        {"stem_stride": 3, "stem_layers": 2, "stem_ngrams": 2, "stem_buckets": 50, "memory_tokens": 0},
        {"trace_norm": True},
        {"trace_norm": True, "memory_tokens": 0},
        {"streaming": True},
        {"retention": "uniform"},
        {"retention": "off"},
    ],
)
def test_every_part_of_a_recipe_follows_the_float_model(changes):
    """The twin is the model, and the integers are off by what 8-bit weights cost."""
    model = _random_model(5, **changes)
    inputs, lengths, _ = frequent_token(64, seed=6)
    with torch.no_grad():
        if model.trace_norm is not None:
            model.train()(inputs, lengths)  # running statistics
            model.eval()
        real = model(inputs, lengths).logits
        torch.testing.assert_close(twin.logits(model, inputs, lengths), real, rtol=1e-3, atol=1e-3)
    found = quantize(model, Calibration(inputs, lengths))
    scaled = run(found, inputs.numpy(), "numpy", lengths=lengths.numpy()).logits * 2.0**-found.logit_exponent
    assert np.sqrt(((scaled - real.numpy()) ** 2).mean()) < 0.06 * real.std().item()


def test_rows_of_ngrams_are_those_of_the_model():
    """An n-gram's row has the embedding that the float model gives it, segment by segment."""
    model = _random_model(7, stem_ngrams=4, stem_buckets=50).model
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 12, (5, 32)))
    rows = torch.from_numpy(active_rows(ids.numpy(), 4, 12, 50))
    with torch.no_grad():
        expected = model.embedding(ids) + model.ngrams(ids)
        torch.testing.assert_close(twin.embedding_table(model)[rows].sum(-2), expected)


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
    rows = inputs[..., None].tolist()
    assert logits.tolist() == [naive.classify(row[:n]) for row, n in zip(rows, lengths, strict=True)]
    assert counts.total() == naive.cut > 0
    assert any(place.endswith("weights") for place in counts)


@pytest.mark.parametrize("changes", [{"stem_layers": 2}, {"stem_stride": 2}, {"trace_norm": True}])
def test_overflow_before_and_after_the_layers_saturates_like_plain_python(changes):
    """Convolutions, merging and the gain of the trace's norm, blown up 2^14 times."""
    model = _random_model(4, dim=8, heads=2, ffn_dim=5, segment_length=5, memory_tokens=2, **changes)
    inputs = torch.from_numpy(np.random.default_rng(0).integers(1, 12, (3, 12)))
    lengths = torch.tensor([12, 9, 4])
    deployment = quantize(model, Calibration(inputs, lengths), max_segments=3)

    def louder(node: Any) -> Any:
        if hasattr(node, "gain_shift"):
            return dataclasses.replace(node, gain_shift=np.array(node.gain_shift - 14))
        return dataclasses.replace(
            node, linear=dataclasses.replace(node.linear, shift=np.array(node.linear.shift - 14))
        )

    program = deployment.program
    embedding = dataclasses.replace(program.embedding, merge=tuple(map(louder, program.embedding.merge)))
    readout = louder(program.readout) if "trace_norm" in changes else program.readout
    stem = tuple(map(louder, program.stem))
    program = dataclasses.replace(program, embedding=embedding, stem=stem, readout=readout)
    counts = Counter()
    logits = reference.classify(program, inputs.numpy(), lengths.numpy(), counts)
    naive = Naive(flatten(program))
    rows = inputs[..., None].tolist()
    assert logits.tolist() == [naive.classify(row[:n]) for row, n in zip(rows, lengths, strict=True)]
    assert counts.total() == naive.cut > 0


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
