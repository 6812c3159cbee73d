"""The deployment folder, and the refusal of what cannot be deployed."""

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lava_models import frequent_token, in_pairs, random_model, small_config

from astro_sim.errors import InputError
from rmaat.heads import RMAATForSequenceClassification, RMAATForSequencePairClassification
from rmaat.masked_lm import RMAATForMaskedLM
from rmaat_lava import Calibration, Deployment, QuantizationAware, quantize, run
from rmaat_lava.deployment import DESCRIPTION, PROGRAM
from rmaat_lava.program import flatten


def test_saved_and_loaded_runs_the_same(deployment, tmp_path):
    inputs, lengths, _ = frequent_token(8, seed=4)
    loaded = Deployment.load(deployment.save(tmp_path / "d"))
    first, second = (run(d, inputs.numpy(), "numpy", lengths=lengths.numpy()) for d in (deployment, loaded))
    np.testing.assert_array_equal(first.logits, second.logits)
    assert loaded.description["exponents"] == deployment.description["exponents"]
    assert {"created", "versions"} <= loaded.description.keys()


def test_file_is_integers_within_their_widths(deployment, tmp_path):
    folder = deployment.save(tmp_path / "d")
    with np.load(folder / PROGRAM, allow_pickle=False) as arrays:
        named = dict(arrays)
    assert all(array.dtype.kind == "i" for array in named.values())
    for name, array in named.items():
        largest = int(np.abs(array.astype(np.int64)).max(initial=0))
        if name.endswith("weight"):
            assert array.dtype == np.int8 and 64 <= largest <= 127  # a scale that wastes no bit
        elif name.endswith(("multiplier", "gain", "fraction", "octave", "factor", "share")):
            assert largest <= 2**15
        else:
            assert largest < 2**23


@pytest.mark.parametrize(
    "changes", [{"memory_norm": "after"}, {"memory_tokens": 0}, {"memory_norm": "after", "memory_tokens": 0}]
)
@pytest.mark.parametrize("pairs", [False, True])
def test_every_kind_of_model_is_saved_and_loaded(tmp_path, changes, pairs):
    torch.manual_seed(1)
    head = RMAATForSequencePairClassification if pairs else RMAATForSequenceClassification
    model, (inputs, lengths, _) = head(small_config(**changes)), frequent_token(8, seed=4)
    if pairs:
        inputs, lengths = inputs.unflatten(0, (-1, 2)), lengths.unflatten(0, (-1, 2))
    made = quantize(model, Calibration(inputs, lengths))
    loaded = Deployment.load(made.save(tmp_path / "d"))
    first, second = (run(d, inputs.numpy(), "numpy", lengths=lengths.numpy()) for d in (made, loaded))
    np.testing.assert_array_equal(first.logits, second.logits)


def _truncate(folder):
    path = folder / PROGRAM
    path.write_bytes(path.read_bytes()[:-100])


def _other_program(folder):
    np.savez(folder / PROGRAM, weight=np.zeros(3))


def _other_format(folder):
    (folder / DESCRIPTION).write_text('{"format": "something else"}')


def _no_json(folder):
    (folder / DESCRIPTION).write_text('{"format": ')


def _no_program(folder):
    (folder / PROGRAM).unlink()


def _deep(folder):
    described = (folder / DESCRIPTION).read_text()
    (folder / DESCRIPTION).write_text(described[:-2] + ', "more": ' + "[" * 100_000)


def _missing_entry(folder):
    described = json.loads((folder / DESCRIPTION).read_text())
    del described["exponents"]
    (folder / DESCRIPTION).write_text(json.dumps(described))


def _missing_array(folder):
    described = json.loads((folder / DESCRIPTION).read_text())
    with np.load(folder / PROGRAM) as arrays:
        kept = {name: array for name, array in arrays.items() if name != "layers.0.write.shift"}
    np.savez(folder / PROGRAM, **kept)
    from astro_sim.provenance import file_sha256

    described["program_sha256"] = file_sha256(folder / PROGRAM)
    (folder / DESCRIPTION).write_text(json.dumps(described))


@pytest.mark.parametrize(
    "damage", [_truncate, _other_program, _other_format, _no_json, _deep, _no_program, _missing_array, _missing_entry]
)
def test_damaged_folder_is_refused_in_one_line(deployment, tmp_path, damage):
    folder = deployment.save(tmp_path / "d")
    damage(folder)
    with pytest.raises(InputError) as caught:
        Deployment.load(folder)
    assert "\n" not in str(caught.value) and re.search(rf"{tmp_path}|deployment\.json", str(caught.value))


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("exponents", None),
        ("exponents", {"classifier": 1.5}),
        ("exponents", {"classifier": 3}),
        ("max_segments", "x"),
        ("max_segments", 3),
        ("vocab_size", -1),
        ("vocab_size", True),
        ("vocab_size", 13),
        ("input_kind", "pictures"),
        ("ngrams", [1]),
        ("resources", 7),
        ("resources", {}),
        ("resources", {"parts": 3}),
        ("exponents", {"classifier": 10**9, "trace": 3}),
        ("weights", None),
        ("created", 5),
    ],
)
def test_damaged_entry_is_refused_by_name(deployment, tmp_path, entry, value):
    folder = deployment.save(tmp_path / "d")
    described = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps(described | {entry: value}))
    named = "inputs" if value == 13 else entry
    with pytest.raises(InputError, match=rf"deployment\.json: {named}") as caught:
        Deployment.load(folder)
    assert "\n" not in str(caught.value)


def test_a_failed_save_leaves_the_old_folder(deployment, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    folder = deployment.save(tmp_path / "d")
    before = (folder / DESCRIPTION).read_text()
    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="disk full"):
        deployment.save(folder)
    assert (folder / DESCRIPTION).read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mixer": "softmax", "astrocytic": False, "presynaptic": "off"}, "mixer"),
        ({"causal": True}, "causal: got True.*every place"),
        ({"picture_width": 8, "stem_layers": 1}, "picture_width: got 8.*line of places"),
        ({"dim": 130, "heads": 1}, "dim / heads"),
    ],
)
def test_unsupported_model_is_refused_with_the_reason(calibration, changes, named):
    model = RMAATForSequenceClassification(small_config(**changes))
    with pytest.raises(InputError, match=named):
        quantize(model, calibration)


def test_head_of_another_kind_is_refused_by_name(calibration):
    with pytest.raises(InputError, match=r"'RMAATForMaskedLM', expected an RMAATForSequenceClassification or an RMAAT"):
        quantize(RMAATForMaskedLM(small_config()), calibration)
    with pytest.raises(InputError, match="'Linear', expected an RMAATForSequenceClassification"):
        quantize(torch.nn.Linear(2, 2), calibration)


def test_features_of_numpys_type_give_the_same_program():
    model = random_model(0, input_kind="features", input_dim=3)
    inputs, lengths = torch.randn(4, 40, 3), torch.full((4,), 40)
    programs = [flatten(quantize(model, Calibration(x, lengths)).program) for x in (inputs, inputs.double())]
    for name, array in programs[0].items():
        np.testing.assert_array_equal(array, programs[1][name], err_msg=name)
    twin = QuantizationAware(model, Calibration(inputs.double(), lengths))
    assert torch.equal(twin(inputs.double(), lengths).logits, twin(inputs, lengths).logits)


def test_a_pair_whose_traces_are_lost_beside_their_product_is_refused():
    """Traces near 2^11 beside products near 2^22: 15 bits for both leave the traces 4."""
    model = random_model(0, pairs=True)
    model.model.blocks[-1].ffn_norm.weight.data.mul_(2**11)
    model.model.blocks[-1].ffn_norm.bias.data.add_(2**11)
    with pytest.raises(InputError, match=r"resolution of trace: got '\d\.\d bits', expected at least 6 bits"):
        quantize(model, Calibration(*in_pairs(*frequent_token(8, seed=0)[:2])))


def test_module_of_another_type_is_refused_by_name(trained, calibration):
    model = RMAATForSequenceClassification(trained.config)
    model.model.blocks[0].ffn_norm = torch.nn.RMSNorm(trained.config.dim)
    with pytest.raises(InputError, match=r"blocks\.0\.ffn_norm: got 'RMSNorm', expected LayerNorm"):
        quantize(model, calibration)


def test_model_with_broken_weights_is_refused(trained, calibration):
    state = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    model = RMAATForSequenceClassification(trained.config)
    model.load_state_dict(state)
    model.classifier.weight.data[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"classifier\.weight"):
        quantize(model, calibration)


@settings(max_examples=60, deadline=None)
@given(
    place=st.integers(0, 18),
    factor=st.sampled_from([*(10.0**k for k in (-40, -20, -6, 0, 2, 4, 6, 9, 12, 20, 30, 38)), np.inf, np.nan]),
    seed=st.integers(0, 100),
    pairs=st.booleans(),
    memory_norm=st.sampled_from(["before", "after"]),
)
def test_weights_of_any_size_are_deployed_or_refused_in_one_line(place, factor, seed, pairs, memory_norm):
    """One tensor of the model is multiplied; what is deployed runs, and a tensor of its own size is never refused."""
    torch.manual_seed(seed)
    config = small_config(dim=8, heads=2, ffn_dim=8, segment_length=8, layers=1, memory_norm=memory_norm)
    model = (RMAATForSequencePairClassification if pairs else RMAATForSequenceClassification)(config)
    parameters = [parameter for _, parameter in model.named_parameters()]
    parameters[place % len(parameters)].data.mul_(factor)
    inputs, lengths, _ = frequent_token(4, seed=seed, shortest=8, longest=24)
    inputs, lengths = in_pairs(inputs, lengths) if pairs else (inputs, lengths)
    try:
        deployment = quantize(model, Calibration(inputs, lengths))
    except InputError as error:
        assert "\n" not in str(error) and factor != 1
        return
    assert np.isfinite(factor)
    outputs = run(deployment, inputs.numpy(), "numpy", lengths=lengths.numpy())
    assert np.abs(outputs.logits).max() < 2**23
    with torch.no_grad():
        real = model(inputs, lengths).logits.double().numpy()
    if factor == 1:  # 8-bit weights in three layers
        error = outputs.logits * 2.0**-deployment.logit_exponent - real
        assert np.abs(error).max() < 0.15 * np.abs(real).max()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"inputs": torch.full((4, 8), 99)}, "token ids from 0 to 11"),
        ({"inputs": torch.full((4, 8), -1)}, "token ids from 0 to 11"),
        ({"inputs": torch.ones(4, 8)}, "token ids of shape"),
        ({"inputs": torch.ones(4, 8, 3)}, "token ids of shape"),
        ({"inputs": torch.ones(0, 8).long(), "lengths": torch.ones(0).long()}, "none of them 0"),
        ({"lengths": torch.tensor([8, 8])}, "4 whole numbers from 1 to 8"),
        ({"lengths": torch.full((4,), 8.0)}, "4 whole numbers from 1 to 8"),
        ({"lengths": torch.tensor([0, 8, 8, 8])}, "4 whole numbers from 1 to 8"),
        ({"lengths": torch.tensor([9, 8, 8, 8])}, "4 whole numbers from 1 to 8"),
    ],
)
def test_calibration_data_that_the_model_cannot_read_are_refused(trained, changes, named):
    data = {"inputs": torch.ones(4, 8).long(), "lengths": torch.full((4,), 8)}
    with pytest.raises(InputError, match=named):
        quantize(trained, Calibration(**(data | changes)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"inputs": torch.ones(4, 8).long(), "lengths": torch.full((4,), 8)}, r"shape \(batch, 2, length\)"),
        ({"inputs": torch.ones(4, 3, 8).long()}, r"shape \(batch, 2, length\)"),
        ({"lengths": torch.full((4,), 8)}, "4 x 2 whole numbers from 1 to 8"),
        ({"lengths": torch.tensor([[9, 8], [8, 8], [8, 8], [8, 8]])}, "4 x 2 whole numbers from 1 to 8"),
    ],
)
def test_calibration_data_that_are_no_pairs_are_refused(changes, named):
    data = {"inputs": torch.ones(4, 2, 8).long(), "lengths": torch.full((4, 2), 8)}
    with pytest.raises(InputError, match=named):
        quantize(random_model(0, pairs=True), Calibration(**(data | changes)))


def test_model_in_training_mode_gives_the_same_program(calibration):
    """Dropout and batch statistics have no part in it, and the mode is as before."""
    torch.manual_seed(0)
    model = RMAATForSequenceClassification(small_config(dropout=0.5, trace_norm=True))
    programs = [flatten(quantize(model.train(mode), calibration).program) for mode in (True, False)]
    assert not model.training
    for name, array in programs[0].items():
        np.testing.assert_array_equal(array, programs[1][name], err_msg=name)


@pytest.mark.parametrize("segments", [0, -1, 10**6])
def test_number_of_segments_is_bounded(trained, calibration, segments):
    with pytest.raises(InputError, match="max_segments"):
        quantize(trained, calibration, max_segments=segments)
