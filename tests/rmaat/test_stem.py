"""The convolutional stem, ordered levels and the normalised trace."""

import pytest
import torch
import torch.nn.functional as F

from astro_sim.errors import InputError
from rmaat import RMAATConfig, RMAATForSequenceClassification

SMALL = {
    "vocab_size": 16,
    "num_labels": 4,
    "dim": 16,
    "heads": 2,
    "segment_length": 12,
    "memory_tokens": 3,
    "stem_layers": 2,
    "stem_stride": 4,
}
INPUTS = torch.randint(1, 16, (3, 31), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([31, 12, 17])
LABELS = torch.tensor([0, 3, 1])


def model(**changes: object) -> RMAATForSequenceClassification:
    torch.manual_seed(0)
    return RMAATForSequenceClassification(RMAATConfig(**SMALL | changes)).double()


def test_stem_is_its_equation() -> None:
    """Merge, pad and sum written out place by place: y_j + relu(b + sum_k W_k y_{j + k 2^i}), then a layer norm."""
    stem = model().model.stem
    x = torch.randn(2, 10, 16, dtype=torch.float64)
    found = stem(x)
    padded = torch.cat([x, torch.zeros(2, 2, 16, dtype=torch.float64)], dim=1)
    y = torch.stack([stem.merge(padded[:, 4 * j : 4 * j + 4].reshape(2, -1)) for j in range(3)], dim=1)
    for i, (convolution, norm) in enumerate(zip(stem.convolutions, stem.norms, strict=True)):
        rows = []
        for j in range(3):
            total = convolution.bias
            for k in (-1, 0, 1):
                if 0 <= j + k * 2**i < 3:
                    total = total + y[:, j + k * 2**i] @ convolution.weight[:, :, k + 1].T
            rows.append(norm(y[:, j] + F.relu(total)))
        y = torch.stack(rows, dim=1)
    torch.testing.assert_close(found, y, rtol=0, atol=1e-12)


def test_ngrams_are_looked_up_by_the_tokens_that_they_are_made_of() -> None:
    """Python's integers in place of tensors, table by table."""
    ngrams = model(stem_ngrams=3, stem_buckets=50).model.ngrams
    found = ngrams(INPUTS)
    p, q = 1_000_003, 2**31 - 1
    for row, sequence in zip(found, INPUTS.tolist(), strict=True):
        for t, vector in enumerate(row):
            b = [sequence[t - k] if t >= k else 0 for k in range(3)]
            two, three = (b[0] * p + b[1]) % q, ((b[0] * p + b[1]) % q * p + b[2]) % q
            rows = torch.cat([ngrams.tables[0].weight[two % 50], ngrams.tables[1].weight[three % 50]])
            expected = ngrams.widen.weight @ rows
            torch.testing.assert_close(vector, expected, rtol=0, atol=1e-12)


def test_half_of_the_ngrams_are_dropped_whole_and_the_rest_doubled() -> None:
    """In training each n-gram's part is 0 or twice what it is in evaluation, about half of each."""
    ngrams = model(stem_ngrams=2, stem_buckets=50, stem_dropout=0.5).model.ngrams
    whole = ngrams.eval()(INPUTS)
    torch.manual_seed(0)
    dropped = ngrams.train()(INPUTS)
    gone = (dropped == 0).all(-1)
    torch.testing.assert_close(dropped[~gone], 2 * whole[~gone], rtol=0, atol=1e-12)
    assert abs(gone.double().mean() - 0.5) < 4 * 0.5 / gone.numel() ** 0.5  # four standard errors of a fair coin


@pytest.mark.parametrize(
    "changes",
    [
        {"stem_ngrams": 3},
        {"stem_stride": 1},
        {"stem_stride": 1, "causal": True},
        {"stem_layers": 0, "input_kind": "levels"},
    ],
)
def test_padding_changes_nothing_with_a_stem(changes: dict[str, object]) -> None:
    classifier = model(**changes)
    together = classifier(INPUTS, LENGTHS).logits
    noise = torch.where(torch.arange(31) < LENGTHS[:, None], INPUTS, 7)
    torch.testing.assert_close(classifier(noise, LENGTHS).logits, together, rtol=0, atol=1e-12)
    for row, length, logits in zip(INPUTS, LENGTHS, together, strict=True):
        torch.testing.assert_close(classifier(row[None, :length]).logits[0], logits, rtol=0, atol=1e-12)


def test_segments_pass_on_the_memory_alone() -> None:
    """With the memory's factor at 0 nothing of a segment reaches the next, stem or not."""
    net = model().model
    memory, factor = net.memory.initial.expand(2, -1, -1), torch.zeros(2, dtype=torch.float64)
    first, second = INPUTS[:2, :12], INPUTS[:2, 12:24]
    left = net.step(memory, factor + 1, first, None, *net.tables())[0]
    after = net.step(left, factor, second, None, *net.tables())[1]
    torch.testing.assert_close(after, net.step(memory, factor, second, None, *net.tables())[1], rtol=0, atol=0)


def test_replayed_gradients_are_those_of_bptt() -> None:
    gradients = []
    for backprop in ("amrb", "bptt"):
        classifier = model(backprop=backprop, dropout=0.2, stem_ngrams=4, stem_dropout=0.3, trace_norm=True)
        torch.manual_seed(1)
        classifier(INPUTS, LENGTHS, LABELS).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in classifier.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10 * gradients[1].abs().max())


@pytest.mark.parametrize("levels", [2, 3, 15])
def test_levels_are_ordered_and_from_minus_one_to_one(levels: int) -> None:
    embedding = model(input_kind="levels", vocab_size=levels + 1).model.embedding
    found = embedding(torch.arange(1, levels + 1)[None])[0]
    expected = torch.linspace(-1, 1, levels, dtype=torch.float64)[:, None] * embedding.linear.weight.T
    torch.testing.assert_close(found, expected + embedding.linear.bias, rtol=0, atol=1e-12)


def test_trace_is_normalised_over_the_batch_and_by_running_means_in_evaluation_and_streams() -> None:
    classifier = model(trace_norm=True, streaming=True)
    plain = model(streaming=True)
    for _ in range(200):
        trained = classifier(INPUTS).logits  # the running means come within 0.9^200 of the batch's
    traces: list[torch.Tensor] = []
    plain.classifier.register_forward_pre_hook(lambda _, inputs: traces.append(inputs[0]))
    plain(INPUTS)
    centred = (traces[0] - traces[0].mean(0)) / (traces[0].var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(trained, classifier.classifier(centred), rtol=0, atol=1e-9)
    unbiased = (traces[0] - traces[0].mean(0)) / (traces[0].var(0) + 1e-5).sqrt()
    evaluated = classifier.eval()(INPUTS).logits
    torch.testing.assert_close(evaluated, classifier.classifier(unbiased), rtol=0, atol=1e-6)
    stream = classifier.train().stream(3)
    for piece in INPUTS.split(12, dim=1):
        last = stream.feed(piece)
    torch.testing.assert_close(last, evaluated, rtol=0, atol=1e-9)


def test_causal_stem_is_its_equation() -> None:
    """y_j + relu(b + sum_k W_k y_{j - k 2^i}) place by place; the last weight is the place's own."""
    stem = model(causal=True, stem_stride=1, stem_layers=3).model.stem
    x = torch.randn(2, 11, 16, dtype=torch.float64)
    found, y = stem(x), x
    for i, (convolution, norm) in enumerate(zip(stem.convolutions, stem.norms, strict=True)):
        rows = []
        for j in range(11):
            total = convolution.bias
            for k in range(3):
                if j - k * 2**i >= 0:
                    total = total + y[:, j - k * 2**i] @ convolution.weight[:, :, 2 - k].T
            rows.append(norm(y[:, j] + F.relu(total)))
        y = torch.stack(rows, dim=1)
    torch.testing.assert_close(found, y, rtol=0, atol=1e-12)


def test_causal_stem_does_not_see_where_segments_end() -> None:
    """Segments shorter than its reach of 14: every piece with what stands before it, against the whole sequence."""
    net = model(causal=True, stem_stride=1, stem_layers=3, segment_length=5).model
    assert net.reach == 14
    seen: list[torch.Tensor] = []
    net.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 3:-3]))
    net(INPUTS)
    whole = net.stem(net.embedding(INPUTS))
    for piece, found in zip(whole.split(5, dim=1), seen, strict=True):
        torch.testing.assert_close(found, piece + net.position[: piece.shape[1]], rtol=0, atol=1e-12)


def test_stream_of_a_causal_stem_is_the_offline_pass() -> None:
    classifier = model(causal=True, stem_stride=1, stem_layers=3, segment_length=5).eval()
    stream = classifier.stream(3)
    for piece in INPUTS.split(5, dim=1):
        last = stream.feed(piece)
    torch.testing.assert_close(last, classifier(INPUTS).logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem_kernel": 4}, "stem_kernel: got 4, .* odd"),
        ({"stem_ngrams": 2, "input_kind": "levels"}, "stem_ngrams: got 2, .* 'levels'"),
        ({"causal": True}, "stem_stride: got 4, .* causal"),
        ({"causal": True, "stem_stride": 1, "stem_ngrams": 2}, "stem_ngrams: got 2, .* causal"),
    ],
)
def test_impossible_stems_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model(**changes)
