"""The NumPy executor against a second implementation in plain Python integers, and against the float model."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lava_models import frequent_token, in_pairs, random_model, same_frequent_token
from lava_naive import Naive

from rmaat_lava import Calibration, WeightFormat, quantize, reference, run, twin
from rmaat_lava.inputs import active_rows, prepare
from rmaat_lava.program import flatten
from rmaat_lava.resources import count


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
    write_places=st.sampled_from([0, 1, 5]),
    retention=st.sampled_from(["fitted", "uniform", "off"]),
    memory_norm=st.sampled_from(["before", "after"]),
    streaming=st.booleans(),
    trace=st.sampled_from(["mean", "retention"]),
    trace_norm=st.booleans(),
    stem_layers=st.integers(0, 2),
    stem_kernel=st.sampled_from([1, 3, 5]),
    stem_stride=st.integers(1, 3),
    per_channel=st.booleans(),
    bits=st.sampled_from([3, 5, 8]),
    kind=st.sampled_from(sorted(KINDS)),
    pairs=st.booleans(),
)
def test_equals_plain_python(seed, heads, head_dim, per_channel, bits, kind, pairs, **fields):
    dim = heads * head_dim
    model = random_model(seed, pairs, dim=dim, heads=heads, ffn_dim=5, **KINDS[kind], **fields)
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 3 * fields["segment_length"] + 1, 4)
    shape = (4, lengths.max(), 3) if kind == "features" else (4, lengths.max())
    inputs = rng.normal(size=shape).astype(np.float32) if kind == "features" else rng.integers(0, 12, shape)
    inputs, lengths = in_pairs(inputs, lengths) if pairs else (inputs, lengths)
    calibration = Calibration(torch.from_numpy(inputs), torch.from_numpy(lengths))
    deployment = quantize(model, calibration, weights=WeightFormat(bits, per_channel), max_segments=3)
    outputs = run(deployment, inputs, "numpy", lengths=lengths)
    naive = Naive(flatten(deployment.program))
    assert outputs.logits.tolist() == _naive_logits(naive, *prepare(deployment, inputs, lengths), pairs)
    assert outputs.saturated == naive.cut
    # counted before the calibration, from the shapes alone
    assert count(deployment.program, bits).as_dict() == deployment.description["resources"]


def _naive_logits(naive: Naive, rows: np.ndarray, lengths: np.ndarray, pairs: bool) -> list[list[int]]:
    tokens = [row[:n].tolist() for row, n in zip(rows, lengths, strict=True)]
    if pairs:
        return [naive.classify_pair(*pair) for pair in zip(tokens[::2], tokens[1::2], strict=True)]
    return [naive.classify(sequence) for sequence in tokens]


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
        {"memory_norm": "after"},
        {"write_places": 5},
        {"write_places": 50, "astrocyte_start": "silent"},
        {"pairs": True},
        {"pairs": True, "memory_tokens": 0},
        {"pairs": True, "memory_norm": "after", "stem_stride": 2},
        {"pairs": True, "trace_norm": True},
        {"pairs": True, "trace_norm": True, "memory_tokens": 0},
    ],
)
def test_every_part_of_a_recipe_follows_the_float_model(changes):
    """The twin is the model, and the integers are off by what 8-bit weights cost."""
    model = random_model(5, **changes)
    inputs, lengths, _ = frequent_token(64, seed=6)
    if "pairs" in changes:
        inputs, lengths = in_pairs(inputs, lengths)
    with torch.no_grad():
        if "trace_norm" in changes:
            model.train()(inputs, lengths)  # running statistics
            model.eval()
        real = model(inputs, lengths).logits
        torch.testing.assert_close(twin.logits(model, inputs, lengths), real, rtol=1e-3, atol=1e-3)
    found = quantize(model, Calibration(inputs, lengths))
    scaled = run(found, inputs.numpy(), "numpy", lengths=lengths.numpy()).logits * 2.0**-found.logit_exponent
    assert np.sqrt(((scaled - real.numpy()) ** 2).mean()) < 0.06 * real.std().item()


def test_rows_of_ngrams_are_those_of_the_model():
    """An n-gram's row has the embedding that the float model gives it, segment by segment."""
    model = random_model(7, stem_ngrams=4, stem_buckets=50).model
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 12, (5, 32)))
    rows = torch.from_numpy(active_rows(ids.numpy(), 4, 12, 50))
    with torch.no_grad():
        expected = model.embedding(ids) + model.ngrams(ids)
        torch.testing.assert_close(twin.embedding_table(model)[rows].sum(-2), expected)


@pytest.mark.parametrize("factor", [2**6, 2**9, 2**12])
def test_overflow_saturates_like_plain_python(factor):
    """Values blown up by a factor saturate in the sums of H, in the residual stream and in the norms."""
    model = random_model(3, dim=8, heads=2, ffn_dim=5, segment_length=5, memory_tokens=2)
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


@pytest.mark.parametrize("trace_norm", [False, True])
@pytest.mark.parametrize("loud", ["product", "gain", "hidden"])
def test_overflow_in_the_comparison_of_a_pair_saturates_like_plain_python(loud, trace_norm):
    """a * b, the messages or the hidden layer, blown up 2^14 times."""
    fields = {"dim": 8, "heads": 2, "ffn_dim": 5, "segment_length": 5, "memory_tokens": 2}
    model = random_model(4, pairs=True, trace_norm=trace_norm, **fields)
    inputs, lengths = np.random.default_rng(0).integers(1, 12, (3, 2, 12)), np.array([[12, 9], [4, 12], [1, 6]])
    deployment = quantize(model, Calibration(torch.from_numpy(inputs), torch.from_numpy(lengths)), max_segments=3)
    readout = deployment.program.readout
    (matching,) = readout.matching
    if loud == "gain":
        readout = dataclasses.replace(readout, gain_shift=np.array(readout.gain_shift - 14))
    elif loud == "product":
        matching = dataclasses.replace(matching, product_shift=np.array(matching.product_shift - 14))
    else:
        hidden = dataclasses.replace(matching.hidden, shift=np.array(matching.hidden.shift - 14))
        matching = dataclasses.replace(matching, hidden=hidden)
    program = dataclasses.replace(deployment.program, readout=dataclasses.replace(readout, matching=(matching,)))
    counts = Counter()
    rows, flat = prepare(deployment, inputs, lengths)
    logits, naive = reference.classify(program, rows, flat, counts), Naive(flatten(program))
    assert logits.tolist() == _naive_logits(naive, rows, flat, pairs=True)
    assert counts.total() == naive.cut > 0


@pytest.mark.parametrize(
    "changes", [{"stem_layers": 2}, {"stem_stride": 2}, {"trace_norm": True}, {"memory_norm": "after"}]
)
def test_overflow_before_and_after_the_layers_saturates_like_plain_python(changes):
    """Convolutions, merging and the gains of the trace's and the memory's norm, blown up 2^14 times."""
    model = random_model(4, dim=8, heads=2, ffn_dim=5, segment_length=5, memory_tokens=2, **changes)
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
    retention = program.retention
    if "memory_norm" in changes:
        retention = dataclasses.replace(retention, norm=tuple(map(louder, retention.norm)))
    program = dataclasses.replace(program, embedding=embedding, stem=stem, readout=readout, retention=retention)
    counts = Counter()
    logits = reference.classify(program, inputs.numpy(), lengths.numpy(), counts)
    naive = Naive(flatten(program))
    rows = inputs[..., None].tolist()
    assert logits.tolist() == [naive.classify(row[:n]) for row, n in zip(rows, lengths, strict=True)]
    assert counts.total() == naive.cut > 0


def test_pairs_as_lists_of_documents_are_those_of_the_padded_array():
    """And no pair depends on the others that it runs with."""
    model = random_model(8, pairs=True)
    inputs, lengths = in_pairs(*frequent_token(160, seed=9)[:2])
    deployment = quantize(model, Calibration(inputs[:16], lengths[:16]))
    together = run(deployment, inputs.numpy(), "numpy", lengths=lengths.numpy())
    listed = [[d[:n].numpy() for d, n in zip(*pair, strict=True)] for pair in zip(inputs, lengths, strict=True)]
    alone = [run(deployment, [pair], "numpy").logits[0] for pair in listed]
    np.testing.assert_array_equal(together.logits, alone)
    np.testing.assert_array_equal(together.logits, run(deployment, listed, "numpy").logits)
    assert together.logits.shape == (80, 4)


def test_result_does_not_depend_on_the_batch(deployment):
    inputs, lengths, _ = frequent_token(80, seed=5)
    together = run(deployment, inputs.numpy(), "numpy", lengths=lengths.numpy())
    alone = [run(deployment, [row[:n].numpy()], "numpy").logits[0] for row, n in zip(inputs, lengths, strict=True)]
    np.testing.assert_array_equal(together.logits, alone)


def test_predictions_of_pairs_agree_with_the_float_model(trained_pairs, pair_deployment):
    inputs, lengths, labels = same_frequent_token(300, seed=7)
    with torch.no_grad():
        real = trained_pairs(inputs, lengths).logits.numpy()
    outputs = run(pair_deployment, inputs.numpy(), "numpy", lengths=lengths.numpy())
    assert (real.argmax(1) == labels.numpy()).mean() > 0.9  # the model has learnt something to lose
    assert (real.argmax(1) == outputs.predictions).mean() >= 0.98
    scaled = outputs.logits * 2.0**-pair_deployment.logit_exponent
    assert np.sqrt(((scaled - real) ** 2).mean() / (real**2).mean()) < 0.05  # as below
    assert outputs.saturated == 0


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
