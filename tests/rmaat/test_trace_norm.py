"""Normalisation of traces by statistics for each number of segments."""

import torch

from rmaat import RMAATConfig, RMAATForSequenceClassification
from rmaat.trace_norm import LONGEST, SegmentwiseBatchNorm


def batches(number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Traces of T = 1 or 3 segments, a batch of one length each, whose mean and deviation depend on T."""
    torch.manual_seed(0)
    made = []
    for i in range(number):
        segments = torch.full((64,), 1 + 2 * (i % 2))
        made.append((torch.randn(64, 5, dtype=torch.float64) * segments[:, None] + 10.0 * segments[:, None], segments))
    return made


def test_every_number_of_segments_has_its_own_mean_and_deviation() -> None:
    """Centred and scaled within 4 standard errors of what 400 averaged batches leave; one mean for all would be 10 off.

    With momentum 0.1 the running mean has the weight of 19 batches: sd 1 / sqrt(19 * 64) = 0.03.
    """
    norm = SegmentwiseBatchNorm(5).double()
    for trace, segments in batches(400):
        norm(trace, segments, batch_statistics=True)
    for trace, segments in batches(2):
        expected = (trace - 10.0 * segments[:, None]) / segments[:, None]
        torch.testing.assert_close(norm(trace, segments), expected, rtol=0.1, atol=0.12)


def test_a_number_of_segments_not_seen_follows_all_batches() -> None:
    norm = SegmentwiseBatchNorm(5).double()
    for trace, segments in batches(400):
        norm(trace, segments, batch_statistics=True)
    unseen = norm.mean[[1, 3, LONGEST - 1]]
    assert (unseen > norm.mean[0]).all() and (unseen < norm.mean[2]).all()
    assert torch.equal(
        norm(batches(1)[0][0], torch.full((64,), 50)), norm(batches(1)[0][0], torch.full((64,), LONGEST))
    )


def test_training_is_batch_normalisation_and_one_length_is_its_running_mean() -> None:
    """Against torch's own layer on batches of one number of segments."""
    norm, plain = SegmentwiseBatchNorm(5).double(), torch.nn.BatchNorm1d(5, affine=False).double()
    for trace, segments in batches(40)[::2]:
        torch.testing.assert_close(norm(trace, segments, True), plain(trace), rtol=0, atol=1e-12)
        if plain.num_batches_tracked == 1:  # ours takes the first batch whole
            plain.running_mean.copy_(norm.mean[0])
            plain.running_var.copy_(norm.variance[0])
    trace, segments = batches(1)[0]
    torch.testing.assert_close(norm(trace, segments), plain.eval()(trace), rtol=0, atol=1e-6)


def test_a_classifier_reads_each_sample_by_its_own_number_of_segments_also_in_a_stream() -> None:
    torch.manual_seed(0)
    fields = {"vocab_size": 9, "dim": 16, "heads": 2, "segment_length": 8, "memory_tokens": 2, "streaming": True}
    classifier = RMAATForSequenceClassification(RMAATConfig(**fields, trace_norm="segments")).double()
    inputs, lengths = torch.randint(1, 9, (6, 24)), torch.tensor([24, 24, 17, 9, 8, 3])
    for _ in range(20):
        classifier(inputs, lengths)
    with torch.no_grad():
        classifier.trace_norm.mean.normal_()
        classifier.trace_norm.variance.uniform_(0.5, 2)
    together = classifier.eval()(inputs, lengths).logits
    for row, length, logits in zip(inputs, lengths, together, strict=True):
        torch.testing.assert_close(classifier(row[None, :length]).logits[0], logits, rtol=0, atol=1e-12)
    stream = classifier.stream()
    for piece in inputs[:1].split(8, dim=1):
        last = stream.feed(piece)
    torch.testing.assert_close(last[0], together[0], rtol=0, atol=1e-12)
