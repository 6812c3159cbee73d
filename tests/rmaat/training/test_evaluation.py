"""Scores and the statistics of the trace: of all examples alike, however they are cut into batches."""

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from training_runs import run

from rmaat.data.listops import Grammar, generate
from rmaat.data.sequences import Sequences
from rmaat.heads import RMAATForSequenceClassification, RMAATForSequencePairClassification
from rmaat.training.evaluation import evaluate, renew_trace_statistics


def test_trace_statistics_of_a_checkpoint_are_those_of_its_weights(make_model, make_recipe, splits, tmp_path):
    """The reference: `np.polyfit` of degree 2 in the logarithm of the length, to the plain traces of all examples."""
    run(lambda: make_model(trace_norm=True), make_recipe(learning_rate=0.05), splits, tmp_path)
    model = RMAATForSequenceClassification.from_pretrained(tmp_path / "checkpoint").eval()
    norm, model.trace_norm, traces = model.trace_norm, None, []
    model.classifier.register_forward_pre_hook(lambda _, inputs: traces.append(inputs[0].numpy()))
    with torch.no_grad():
        ids, lengths = (torch.from_numpy(array) for array in splits.train.padded(np.arange(64)))
        model(ids, lengths)
        found = norm(torch.zeros(64, 16), lengths) * -(norm.running_var + norm.eps).sqrt()  # mean(N)
    plain, logs = traces[0].astype(float), np.log(lengths.numpy())
    expected = np.vander(logs, 3) @ np.polyfit(logs, plain, 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # float32
    np.testing.assert_allclose(norm.running_var, (plain - expected).var(0), rtol=1e-3)


def test_trace_statistics_of_pairs_are_those_of_their_documents(make_model, splits):
    """As if each document were an example of its own."""
    data = splits.train
    pairs = Sequences(data.tokens, data.offsets, data.labels[::2], data.vocab_size, data.num_labels, parts=2)
    single = make_model(trace_norm=True)
    pair = RMAATForSequencePairClassification(single.config)
    pair.model.load_state_dict(single.model.state_dict())
    renew_trace_statistics(single, data, 64, None, Fabric(accelerator="cpu"))
    renew_trace_statistics(pair, pairs, 32, None, Fabric(accelerator="cpu"))
    for name, value in single.trace_norm.state_dict().items():
        torch.testing.assert_close(pair.trace_norm.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_trace_statistics_do_not_depend_on_the_size_of_the_batch(make_model):
    """With 1,024 examples a batch, all lengths are still seen: the statistics of 4 a batch, to float32's rounding."""
    data = generate(3000, 2, Grammar(max_depth=5, min_length=20, max_length=120))
    found = []
    for batch_size in (4, 1024):
        model = make_model(trace_norm=True)
        renew_trace_statistics(model, data, batch_size, None, Fabric(accelerator="cpu"))
        found.append(model.trace_norm.state_dict())
    shortest, longest = found[0]["log_lengths"].exp()
    assert shortest.round() <= np.quantile(data.lengths, 0.01) and longest.round() >= np.quantile(data.lengths, 0.99)
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("training", [False, True])
def test_renewing_changes_nothing_but_the_statistics(make_model, splits, training):
    model = make_model(trace_norm=True, dropout=0.5).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    renew_trace_statistics(model, splits.train, 8, None, Fabric(accelerator="cpu"))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"trace_norm.{name}" for name in ("running_mean", "running_var", "slopes", "log_lengths")}
    assert model.training == model.trace_norm.training == training


@pytest.mark.parametrize("batch_size", [1, 8, 32, 33])
def test_a_score_does_not_depend_on_the_batches(make_model, batch_size):
    """Of 33 examples, the last batch holds another number of them; the reference is one plain mean over all."""
    data, fabric = generate(33, 5, Grammar(max_depth=5, min_length=20, max_length=60)), Fabric(accelerator="cpu")
    model = make_model().eval()
    ids, lengths = data.padded(np.arange(33))
    with torch.no_grad():
        logits = model(torch.from_numpy(ids), torch.from_numpy(lengths)).logits
    labels = torch.from_numpy(np.asarray(data.labels))
    scores = evaluate(model, data, batch_size, None, fabric)
    assert scores.predictions == 33
    assert scores.accuracy == pytest.approx(logits.argmax(1).eq(labels).double().mean().item(), abs=1e-7)  # float32
    assert scores.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
