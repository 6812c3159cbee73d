"""Lava's processes, one token a step, against the NumPy executor: the same integers."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lava_models import frequent_token, in_pairs, random_model, same_frequent_token

from astro_sim.errors import InputError
from rmaat_lava import Calibration, Deployment, Outputs, WeightFormat, quantize, run
from rmaat_lava.child import run_in_child
from rmaat_lava.program import flatten
from rmaat_lava.shim import LAVA_VERSION, lava_version

pytestmark = [
    pytest.mark.needs_lava,
    pytest.mark.skipif(lava_version() != LAVA_VERSION, reason=f"lava-nc {LAVA_VERSION} is not installed"),
]


@pytest.fixture(autouse=True)
def jobs_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "jobs"), prepend=os.pathsep)


def _both(deployment: Deployment, n: int, seed: int):
    inputs, lengths, _ = frequent_token(n, seed=seed)
    return [run(deployment, inputs.numpy(), target, lengths=lengths.numpy()) for target in ("lava", "numpy")]


def test_equals_numpy(deployment):
    lava, numpy = _both(deployment, 4, seed=7)
    np.testing.assert_array_equal(lava.logits, numpy.logits)
    assert lava.target == "lava" and lava.saturated == numpy.saturated == 0


def test_saturates_like_numpy(deployment):
    """Values of H blown up 2^12 times leave 24 bits in many places."""
    first, *others = deployment.program.layers
    value = dataclasses.replace(first.write.value, multiplier=first.write.value.multiplier * 2**12)
    first = dataclasses.replace(first, write=dataclasses.replace(first.write, value=value))
    program = dataclasses.replace(deployment.program, layers=(first, *others))
    lava, numpy = _both(dataclasses.replace(deployment, program=program), 2, seed=8)
    np.testing.assert_array_equal(lava.logits, numpy.logits)
    assert lava.saturated == numpy.saturated > 1000


@pytest.mark.slow
def test_equals_numpy_and_float_on_a_hundred_sequences(deployment, trained):
    lava, numpy = _both(deployment, 100, seed=9)
    np.testing.assert_array_equal(lava.logits, numpy.logits)
    inputs, lengths, _ = frequent_token(100, seed=9)
    real = trained(inputs, lengths).logits.argmax(1).numpy()
    assert (real == lava.predictions).mean() >= 0.95


def _assert_every_probe_equal(deployment: Deployment, inputs: np.ndarray, lengths: np.ndarray) -> Outputs:
    lava, numpy = (run(deployment, inputs, target, lengths=lengths, probe=True) for target in ("lava", "numpy"))
    parts = {
        "embedding",
        "stem",
        "retention",
        "readout",
        *(f"layers.{i}" for i in range(len(deployment.program.layers))),
    }
    assert lava.probes.keys() == numpy.probes.keys()
    assert {name.rpartition(".")[0] for name in lava.probes} == parts - (set() if deployment.program.stem else {"stem"})
    assert ("readout.kept" in lava.probes) == (deployment.program.documents == 2)
    for name, values in numpy.probes.items():
        assert np.count_nonzero(values) or not deployment.program.memory_tokens, name
        np.testing.assert_array_equal(lava.probes[name], values, err_msg=name)
    return lava


def test_every_probe_is_equal_at_every_step(deployment):
    inputs, lengths, _ = frequent_token(2, seed=10)
    _assert_every_probe_equal(deployment, inputs.numpy(), lengths.numpy())


@pytest.mark.parametrize(
    "changes",
    [
        {"stem_stride": 3, "stem_layers": 2, "stem_ngrams": 3, "stem_buckets": 50, "trace_norm": True},
        {"input_kind": "levels", "stem_layers": 1, "memory_tokens": 0, "streaming": True},
        {"stem_stride": 5, "layers": 1, "memory_norm": "after"},
        {"pairs": True, "memory_norm": "after"},
        {"pairs": True, "trace_norm": True, "stem_stride": 3},
    ],
)
def test_every_probe_of_every_part_of_a_recipe_is_equal_at_every_step(changes):
    model = random_model(0, **changes)
    inputs, lengths, _ = frequent_token(4, seed=12, shortest=3)
    inputs, lengths = in_pairs(inputs, lengths) if "pairs" in changes else (inputs, lengths)
    deployment = quantize(model, Calibration(inputs, lengths))
    found = _assert_every_probe_equal(deployment, inputs.numpy(), lengths.numpy())
    expected = run(deployment, inputs.numpy(), "numpy", lengths=lengths.numpy())
    np.testing.assert_array_equal(found.logits, expected.logits)
    assert found.saturated == expected.saturated


@pytest.mark.slow
def test_every_probe_is_equal_at_every_step_of_twenty_sequences(deployment):
    inputs, lengths, _ = frequent_token(20, seed=11)
    _assert_every_probe_equal(deployment, inputs.numpy(), lengths.numpy())


@pytest.mark.slow
def test_pairs_are_equal_and_every_probe_of_ten_of_them(pair_deployment):
    inputs, lengths, _ = (values.numpy() for values in same_frequent_token(40, seed=12))
    lava, numpy = (run(pair_deployment, inputs, target, lengths=lengths) for target in ("lava", "numpy"))
    np.testing.assert_array_equal(lava.logits, numpy.logits)
    _assert_every_probe_equal(pair_deployment, inputs[:10], lengths[:10])


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    heads=st.sampled_from([1, 2, 4]),
    head_dim=st.integers(1, 6),
    layers=st.integers(1, 3),
    segment_length=st.integers(1, 9),
    memory_tokens=st.integers(0, 4),
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
    kind=st.sampled_from(["tokens", "levels", "features", "n-grams"]),
    blown_up=st.sampled_from([1, 2**10]),
    pairs=st.booleans(),
)
def test_any_supported_model_is_equal(seed, heads, head_dim, kind, blown_up, pairs, **fields):
    """Random architectures, weights and inputs, some with values that saturate."""
    fields |= {"stem_ngrams": 3, "stem_buckets": 7} if kind == "n-grams" else {"input_kind": kind, "input_dim": 3}
    model = random_model(seed, pairs, dim=heads * head_dim, heads=heads, ffn_dim=5, **fields)
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 3 * fields["segment_length"] + 1, 6)
    inputs = rng.integers(0, 12, (6, lengths.max()))
    inputs = rng.normal(size=(6, lengths.max(), 3)).astype(np.float32) if kind == "features" else inputs
    inputs, lengths = in_pairs(inputs, lengths) if pairs else (inputs, lengths)
    calibration = Calibration(torch.from_numpy(inputs), torch.from_numpy(lengths))
    try:
        deployment = quantize(model, calibration, max_segments=3)
    except InputError as refused:  # random weights may leave a place, of a width of 1 above all, with too few bits
        assume(not refused.field.startswith("resolution of "))
        raise
    first, *others = deployment.program.layers
    value = dataclasses.replace(first.write.value, multiplier=first.write.value.multiplier * blown_up)
    first = dataclasses.replace(first, write=dataclasses.replace(first.write, value=value))
    deployment = dataclasses.replace(
        deployment, program=dataclasses.replace(deployment.program, layers=(first, *others))
    )
    lava, numpy = (run(deployment, inputs, target, lengths=lengths) for target in ("lava", "numpy"))
    np.testing.assert_array_equal(lava.logits, numpy.logits)
    assert lava.saturated == numpy.saturated


def test_classifier_is_a_hierarchy_of_named_processes(deployment):
    """Its parts after compilation, by name; write and read mode lie below the layer."""
    found = run_in_child("lava_jobs:hierarchy", flatten(deployment.program), {}, 60.0)["names"].tolist()
    layers = [f"layers.{i}{part}" for i in range(2) for part in ("", ".read", ".write")]
    assert sorted(found) == sorted(["classifier", "embedding", "retention", "readout", *layers])


@pytest.mark.parametrize("bits", [3, 8])
def test_sums_are_those_of_lavas_dense(trained, calibration, bits):
    """Lava's own 8-bit synapses, with the shared exponent of the deployment, send the program's integers."""
    deployment = quantize(trained, calibration, weights=WeightFormat(bits))
    linear, about = deployment.program.layers[0].read.ffn_in, deployment.description["weights"]
    messages = np.random.default_rng(bits).integers(-(2**12), 2**12, (5, len(linear.weight)))
    arrays = {"weight": linear.weight.astype(np.int64).T << (9 - about["bits"]), "messages": messages}
    settings = {"bits": about["bits"], "exponent": about["exponent"]}
    found = run_in_child("lava_jobs:dense", arrays, settings, 60.0)["sums"]
    np.testing.assert_array_equal(found[1:], messages[:-1] @ linear.weight.astype(np.int64))  # one step of delay
