"""Segment recurrence, retention, padding and checkpoints."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from astro_sim.errors import InputError
from rmaat import RMAATConfig, RMAATForSequenceClassification, RMAATForSequencePairClassification, RMAATModel
from rmaat.heads import trace
from rmaat_bridge import BioParameters, RetentionSchedule

SMALL = {"vocab_size": 16, "num_labels": 4, "dim": 16, "segment_length": 8, "memory_tokens": 3}
INPUTS = torch.randint(1, 16, (3, 29), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([29, 8, 17])


def model(**changes: object) -> RMAATForSequenceClassification:
    torch.manual_seed(0)
    return RMAATForSequenceClassification(RMAATConfig(**SMALL | changes)).double()


@pytest.mark.parametrize("causal", [False, True])
def test_padding_changes_nothing(causal: bool) -> None:
    """Each sample alone, cut to its length, gives what it gives in the padded batch."""
    classifier = model(causal=causal)
    together = classifier(INPUTS, LENGTHS).logits
    noise = torch.where(torch.arange(29) < LENGTHS[:, None], INPUTS, 7)
    torch.testing.assert_close(classifier(noise, LENGTHS).logits, together, rtol=0, atol=1e-12)
    for row, length, logits in zip(INPUTS, LENGTHS, together, strict=True):
        alone = classifier(row[None, :length]).logits[0]
        torch.testing.assert_close(alone, logits, rtol=0, atol=1e-12)


def test_memory_is_scaled_by_the_samples_own_retention_factors() -> None:
    """The recurrence unrolled by hand with RF(t, T) of each sample's own T."""
    classifier = model()
    net = classifier.model
    schedule = RetentionSchedule(BioParameters.reference().retention)
    tables = [block.attention.astrocytic_table() for block in net.blocks]
    final = net(INPUTS, LENGTHS).memory
    for row, length, memory in zip(INPUTS, LENGTHS, final, strict=True):
        pieces = row[None, :length].split(8, dim=1)
        factors = schedule(len(pieces)).double()
        carried = net.memory.initial[None]
        for t, piece in enumerate(pieces):
            x = torch.cat([carried + net.memory.identity, net.embedding(piece) + net.position[: piece.shape[1]]], 1)
            for block, table in zip(net.blocks, tables, strict=True):
                x = block(x, table, None)
            carried = factors[t] * x[:, :3]
        torch.testing.assert_close(carried[0], factors[-1] * memory, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", ["mean", "retention"])
def test_shares_are_one_over_the_samples_own_segments_or_its_factors(kind: str) -> None:
    shares = model(trace=kind).model(INPUTS, LENGTHS).shares
    schedule = RetentionSchedule(BioParameters.reference().retention)
    assert shares.shape == (4, 3)
    for column, n in zip(shares.T, [4, 1, 3], strict=True):
        expected = schedule(n).double() if kind == "retention" else torch.full((n,), 1 / n, dtype=torch.float64)
        torch.testing.assert_close(column[:n], expected, rtol=0, atol=1e-6)
        assert not column[n:].any()


def test_other_biology_gives_another_model() -> None:
    """Retention, kernel and exponent of the file each reach the logits."""
    bio = BioParameters.reference().model_dump(mode="json")
    base = model()(INPUTS).logits
    for section, name, value in [
        ("retention", "tau_p_long", 400.0),
        ("attention", "length", 5.0),
        ("presynaptic", "alpha", 0.3),
    ]:
        changed = json.loads(json.dumps(bio))
        quantity = changed[section]["parameters"][name]
        quantity.update(value=value, lower=value / 2, upper=value * 2)
        assert (model(bio=changed)(INPUTS).logits - base).abs().max() > 1e-4, section


@pytest.mark.parametrize("asked", [{"family": "saturating"}, {"parameters": {"alpha": {"mode": "free"}}}], ids=str)
def test_a_constant_exponent_refuses_what_only_a_fitted_response_does(asked: dict) -> None:
    """It is refused of the default, taken by `fitted`, and no matter where the configuration has its own exponent."""
    bio = BioParameters.reference().model_dump(mode="json")
    section = bio["presynaptic"]
    section["parameters"]["alpha"] |= asked.get("parameters", {}).get("alpha", {})
    section["family"] = asked.get("family", section["family"])
    with pytest.raises(InputError, match=r"presynaptic: got 'power', expected 'fitted'"):
        model(bio=bio)
    fitted = [name for name, _ in model(bio=bio, presynaptic="fitted").named_parameters()]
    assert any(name.endswith("biology.alpha.z") for name in fitted) == ("parameters" in asked)
    model(bio=bio, alpha=0.3)


@pytest.mark.parametrize(
    "switch",
    [
        {"astrocytic": False},
        {"retention": False},
        {"presynaptic": "off"},
        {"presynaptic": "linear"},
        {"memory_tokens": 0},
    ],
    ids=str,
)
def test_every_ablation_changes_the_model_and_trains(switch: dict) -> None:
    changed = model(**switch)
    prediction = changed(INPUTS, LENGTHS, torch.tensor([0, 1, 2]))
    prediction.loss.backward()
    used = {name: p.grad for name, p in changed.named_parameters() if p.numel()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in used.values())
    assert (prediction.logits - model()(INPUTS, LENGTHS).logits).abs().max() > 1e-4


def test_a_norm_after_the_factor_undoes_it_in_the_memory() -> None:
    """The state then no longer knows the biology, while by default it does."""
    bio = BioParameters.reference()
    bio.retention.parameters["tau_p_long"].value *= 4
    slow = bio.model_copy(deep=True).model_dump(mode="json")
    slow["retention"]["parameters"]["tau_p_long"]["upper"] *= 10
    change = {}
    for place in ("before", "after"):
        memories = [
            model(memory_norm=place, bio=chosen).model(INPUTS).memory
            for chosen in (BioParameters.reference().model_dump(mode="json"), slow)
        ]
        change[place] = (memories[0] - memories[1]).abs().max().item()
    assert change["before"] > 1e-2
    assert change["after"] < 1e-2 * change["before"]


def test_trainable_biology_receives_gradients() -> None:
    bio = BioParameters.reference()
    bio.retention.parameters["tau_p_long"].mode = "free"
    bio.attention.parameters["length"].mode = "free"
    for backprop in ("amrb", "bptt"):
        classifier = model(bio=bio.model_dump(mode="json"), backprop=backprop)
        classifier(INPUTS, LENGTHS, torch.tensor([0, 1, 2])).loss.backward()
        moving = {name: p.grad for name, p in classifier.named_parameters() if "biology" in name}
        assert {name.split(".")[-2] for name in moving} == {"tau_p_long", "length"}
        assert all(gradient.abs() > 0 for gradient in moving.values())


def test_features_as_inputs_receive_gradients() -> None:
    classifier = model(input_kind="features", input_dim=5)
    features = torch.randn(2, 19, 5, dtype=torch.float64, requires_grad=True)
    classifier(features, None, torch.tensor([0, 1])).loss.backward()
    assert features.grad.abs().amax((0, 2)).gt(0).all()


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    saved = model(alpha=0.4)
    saved.save_pretrained(tmp_path / "checkpoint")
    loaded = RMAATForSequenceClassification.from_pretrained(tmp_path / "checkpoint").double()
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert loaded.config == saved.config
    torch.testing.assert_close(loaded(INPUTS).logits, saved(INPUTS).logits, rtol=0, atol=1e-6)


def test_broken_checkpoints_are_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    with pytest.raises(InputError, match=r"config\.json"):
        RMAATModel.from_pretrained(folder)
    model().save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"classifier.bias": torch.zeros(9)}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"classifier.bias: got \(9,\), expected shape \(4,\)") as caught:
        RMAATForSequenceClassification.from_pretrained(folder)
    assert "\n" not in str(caught.value)
    save_file(tensors | {"classifier.bias": torch.tensor([0.0, 1.0, torch.nan, 3.0])}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"classifier.bias: got 'values that are not finite', expected finite ones"):
        RMAATForSequenceClassification.from_pretrained(folder)
    save_file(tensors | {"classifier.bias": torch.zeros(4, dtype=torch.int64)}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"classifier.bias: got 'torch.int64', expected floats"):
        RMAATForSequenceClassification.from_pretrained(folder)
    save_file(tensors | {"classifier.bias": torch.zeros(4).to(torch.float8_e4m3fn)}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"classifier.bias: got 'torch.float8_e4m3fn', expected floats of 16, 32"):
        RMAATForSequenceClassification.from_pretrained(folder)
    save_file(tensors | {"classifier.bias": torch.full((4,), 1e300, dtype=torch.float64)}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"classifier.bias: got 'values that are not finite'"):
        RMAATForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(InputError, match="a safetensors file"):
        RMAATForSequenceClassification.from_pretrained(folder)
    (folder / "config.json").write_text('{"vocab_size": 16, "num_labels": 4, "bio": {"retention": 5}}')
    with pytest.raises(InputError, match=r"config.json: bio-parameters: provenance: got 'nothing', expected a value"):
        RMAATForSequenceClassification.from_pretrained(folder)
    (folder / "config.json").write_text('{"dim": "wide"}')
    with pytest.raises(InputError, match=r"config.json: dim: got 'wide', expected a valid integer"):
        RMAATForSequenceClassification.from_pretrained(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="a JSON object"):
        RMAATForSequenceClassification.from_pretrained(folder)


def test_hub_repository_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`push_to_hub` is Hugging Face's own; the network is replaced by a folder."""
    remote = tmp_path / "remote"

    class Api:
        def __init__(self, **_: object) -> None: ...

        def create_repo(self, repo_id: str, **_: object) -> SimpleNamespace:
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, folder_path: Path, **_: object) -> str:
            shutil.copytree(folder_path, remote)
            return "uploaded"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    monkeypatch.setattr("rmaat.pretrained.snapshot_download", lambda name, **_: str(remote))
    monkeypatch.chdir(tmp_path)
    saved = model()
    saved.push_to_hub("someone/small")
    loaded = RMAATForSequenceClassification.from_pretrained("someone/small").double()
    torch.testing.assert_close(loaded(INPUTS).logits, saved(INPUTS).logits, rtol=0, atol=1e-6)


def test_pair_classification_reads_each_sequence_alone() -> None:
    torch.manual_seed(0)
    pair = RMAATForSequencePairClassification(RMAATConfig(**SMALL)).double()
    inputs, lengths = torch.stack([INPUTS, INPUTS.flip(0)], dim=1), torch.stack([LENGTHS, LENGTHS.flip(0)], 1)
    result = pair(inputs, lengths, torch.tensor([0, 1, 0]))
    result.loss.backward()
    assert all(p.grad is not None for p in pair.parameters())
    noise = torch.where(torch.arange(29) < lengths[..., None], inputs, 7)
    torch.testing.assert_close(pair(noise, lengths).logits, result.logits, rtol=0, atol=1e-12)
    assert (pair(inputs.flip(1), lengths.flip(1)).logits - result.logits).abs().max() > 1e-4


def test_the_traces_of_a_pair_are_normalised_over_all_documents_of_the_batch() -> None:
    """By hand, from what the same weights give without a norm; in evaluation by the statistics given to it."""
    torch.manual_seed(0)
    pair = RMAATForSequencePairClassification(RMAATConfig(**SMALL, trace_norm=True)).double()
    inputs, lengths = torch.stack([INPUTS, INPUTS.flip(0)], dim=1), torch.stack([LENGTHS, LENGTHS.flip(0)], 1)
    plain = trace(pair.model, inputs.flatten(0, 1), lengths.flatten())
    assert pair.trace_norm is not None
    for training, mean, variance in ((True, plain.mean(0), plain.var(0, correction=0)), (False, 0.3, 4.0)):
        found = pair.train(training)(inputs, lengths).logits
        documents = (plain - mean) / (torch.as_tensor(variance, dtype=torch.float64) + pair.trace_norm.eps) ** 0.5
        a, b = documents[::2], documents[1::2]
        expected = pair.classifier(torch.cat([a, b, a * b, a - b], dim=-1))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        pair.trace_norm.running_mean.fill_(0.3)
        pair.trace_norm.running_var.fill_(4.0)


def test_the_embedding_starts_at_the_size_it_is_given() -> None:
    """Every other weight starts as it does without."""
    small, plain = (model(embedding_std=std).state_dict() for std in (0.1, 1.0))
    for name, weight in plain.items():
        expected = 0.1 * weight if name == "model.embedding.weight" else weight
        torch.testing.assert_close(small[name], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("lengths", [[0, 8, 17], [30, 8, 17]])
def test_impossible_lengths(lengths: list[int]) -> None:
    with pytest.raises(InputError, match="values from 1 to 29"):
        model()(INPUTS, torch.tensor(lengths))


@pytest.mark.parametrize("lengths", [[29], [29, 8, 17, 3], [29.0, 8.0, 17.0]])
def test_lengths_are_one_whole_number_a_sample(lengths: list[float]) -> None:
    with pytest.raises(InputError, match=r"lengths: got .*, expected 3 whole numbers"):
        model()(INPUTS, torch.tensor(lengths))


@pytest.mark.parametrize("shape", [(29,), (3, 29, 1), (3, 0), (0, 29)])
def test_inputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"inputs: got \(.*\), expected a tensor of shape \(batch, length\)"):
        model()(torch.ones(shape, dtype=torch.long))


@pytest.mark.parametrize("shape", [(2, 9), (2, 9, 4), (2, 0, 3)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"inputs: got \(.*\), expected a tensor of shape \(batch, length, 3\)"):
        model(input_kind="features", input_dim=3)(torch.ones(shape, dtype=torch.double))


@pytest.mark.parametrize("changes", [{}, {"causal": True, "stem_layers": 1}], ids=str)
def test_features_of_numpys_type_are_read(changes: dict) -> None:
    torch.manual_seed(0)
    fields = SMALL | {"input_kind": "features", "input_dim": 3, "segment_length": 4} | changes
    features = RMAATForSequenceClassification(RMAATConfig(**fields))
    inputs = torch.randn(2, 9, 3)
    assert torch.equal(features(inputs.double()).logits, features(inputs).logits)


def test_one_pair_is_not_normalised_against_itself() -> None:
    """In training its two traces would be each other's negative, whatever they are."""
    torch.manual_seed(0)
    pairs = RMAATForSequencePairClassification(RMAATConfig(**SMALL | {"trace_norm": True, "dropout": 0.0}))
    inputs = torch.randint(1, 16, (1, 2, 29))
    assert torch.equal(pairs.train()(inputs).logits, pairs.eval()(inputs).logits)
    two = inputs.repeat(2, 1, 1)
    assert not torch.allclose(pairs.train()(two).logits, pairs.eval()(two).logits)


@pytest.mark.parametrize("outside", [-1, 16, 2**40])
def test_ids_outside_the_vocabulary_are_refused(outside: int) -> None:
    ids = INPUTS.clone()
    ids[1, 20] = outside
    with pytest.raises(InputError, match=f"inputs: got {outside}, expected ids from 0 to 15"):
        model()(ids)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.tensor([0, 4]), r"labels: got 4, expected classes from 0 to 3"),
        (torch.tensor([-1, 0]), r"labels: got -1, expected classes from 0 to 3"),
        (torch.tensor([0]), r"labels: got '\(1,\) of torch.int64', expected 2 whole numbers"),
        (torch.tensor([0.0, 1.0]), r"labels: got '\(2,\) of torch.float32', expected 2 whole numbers"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: torch.Tensor, said: str) -> None:
    model = RMAATForSequenceClassification(RMAATConfig(**SMALL))
    with pytest.raises(InputError, match=said):
        model(torch.randint(1, 16, (2, 9)), labels=labels)


@pytest.mark.parametrize(("kind", "dtype"), [("tokens", "float32"), ("levels", "bool"), ("features", "int64")])
def test_inputs_of_another_type_are_refused(kind: str, dtype: str) -> None:
    shape = (2, 9, 1) if kind == "features" else (2, 9)
    with pytest.raises(InputError, match=f"inputs: got 'torch.{dtype}'"):
        model(input_kind=kind)(torch.ones(shape, dtype=getattr(torch, dtype)))


@pytest.mark.parametrize(
    ("shape", "lengths"), [((2, 9), None), ((2, 3, 9), None), ((4, 1, 9), None), ((2, 2, 9), (4,))]
)
def test_pairs_are_pairs(shape: tuple[int, ...], lengths: tuple[int, ...] | None) -> None:
    pairs = RMAATForSequencePairClassification(RMAATConfig(**SMALL))
    with pytest.raises(InputError, match=r"inputs|lengths"):
        pairs(torch.ones(shape, dtype=torch.long), None if lengths is None else torch.full(lengths, 9))


def test_one_token() -> None:
    assert model()(INPUTS[:, :1]).logits.isfinite().all()
