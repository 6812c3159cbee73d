"""Streams of unknown length: the same outputs as offline, at constant memory."""

import time
from statistics import median

import psutil
import pytest
import torch

from astro_sim.errors import InputError
from rmaat import RMAATConfig, RMAATForSequenceClassification, Stream
from rmaat.peak_memory import PeakMemory
from rmaat_bridge import BioParameters, RetentionSchedule

SMALL = {"vocab_size": 16, "num_labels": 4, "dim": 16, "segment_length": 8, "memory_tokens": 3}
INPUTS = torch.randint(1, 16, (2, 45), generator=torch.Generator().manual_seed(0))


def classifier(**changes: object) -> RMAATForSequenceClassification:
    torch.manual_seed(0)
    config = RMAATConfig(**SMALL | {"streaming": True, "dropout": 0.2} | changes)
    return RMAATForSequenceClassification(config).double()


@pytest.mark.parametrize(
    "changes", [{}, {"trace": "retention"}, {"retention": False}, {"memory_tokens": 0}, {"causal": True}], ids=str
)
def test_stream_equals_the_offline_run_after_every_segment(changes: dict) -> None:
    model = classifier(**changes)
    stream = model.stream(batch=2)
    for end, piece in zip(range(8, 53, 8), INPUTS.split(8, dim=1), strict=True):
        streamed = stream.feed(piece)
        offline = model.eval()(INPUTS[:, :end]).logits
        torch.testing.assert_close(streamed, offline, rtol=0, atol=1e-7)  # factors pass through float32


def test_stream_features_equal_the_offline_features() -> None:
    model = classifier().eval()
    stream = Stream(model.model, batch=2)
    features = torch.cat([stream.feed(piece) for piece in INPUTS.split(8, dim=1)], dim=1)
    expected = torch.cat(model.model(INPUTS).outputs, dim=1)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-7)


def test_shares_of_the_streaming_trace_are_those_of_the_schedule() -> None:
    """Unrolled: segment t keeps s_t prod_{j > t} (1 - s_j) of the trace."""
    model = classifier(trace="retention").model
    schedule = RetentionSchedule(BioParameters.reference().retention)
    s = [float(schedule.streaming(t).detach()) for t in range(1, 6)]
    expected = []
    for t in range(5):
        share = s[t]
        for later in s[t + 1 :]:
            share *= 1 - later
        expected.append(share)
    shares = model.memory.shares(torch.tensor([5]), 5)[:, 0]
    torch.testing.assert_close(shares, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)
    assert abs(float(shares.sum()) - 1) <= 1e-6


def test_shares_of_a_thousand_segments_have_finite_gradients() -> None:
    """Their logarithms reach -400, whose opposite overflows float32."""
    bio = BioParameters.reference()
    bio.retention.parameters["tau_p_long"].mode = "free"
    memory = classifier(trace="retention", bio=bio.model_dump(mode="json")).float().model.memory
    shares = memory.shares(torch.tensor([1000, 3]), 1000)
    torch.testing.assert_close(shares.sum(0), torch.ones(2), rtol=0, atol=1e-6)
    shares[-1, 0].backward()
    gradients = [p.grad for p in memory.schedule.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() and gradient.abs() > 0 for gradient in gradients)


def test_a_trace_that_decays_at_once_is_the_last_segments() -> None:
    """Where tau_p_long is a thousandth of a cycle or so, s_t = 1 to the last bit: what was before is gone."""
    bio = BioParameters.reference()
    tau = bio.retention.parameters["tau_p_long"]
    tau.value, tau.lower, tau.upper, tau.mode = tau.value * 1e-6, tau.lower * 1e-6, tau.upper * 1e-6, "free"
    memory = classifier(trace="retention", bio=bio.model_dump(mode="json")).float().model.memory
    shares = memory.shares(torch.tensor([4, 2]), 4)
    expected = torch.tensor([[0.0, 0, 0, 1], [0, 1, 0, 0]]).T
    torch.testing.assert_close(shares, expected, rtol=0, atol=1e-15)
    shares[1, 0].backward()
    assert all(p.grad.isfinite().all() for p in memory.schedule.parameters() if p.grad is not None)


def test_a_stream_needs_constant_memory() -> None:
    stream = classifier().stream()
    peaks = []
    for _ in range(20):
        with PeakMemory() as memory:
            stream.feed(torch.randint(1, 16, (1, 8)))
        peaks.append(memory.peak)
    assert max(peaks[1:]) <= 1.05 * min(peaks[1:])


def test_the_model_stays_in_its_mode() -> None:
    model = classifier().train()
    model.stream().feed(INPUTS[:1, :8])
    assert model.training and model.model.blocks[0].training


def test_the_model_stays_in_its_mode_when_a_segment_fails() -> None:
    model = classifier().train()
    model.model.blocks[1].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.stream().feed(INPUTS[:1, :8])
    assert model.training and model.model.blocks[0].training


def test_only_the_last_segment_may_be_short() -> None:
    stream = classifier().stream()
    with pytest.raises(InputError, match="segment"):
        stream.feed(INPUTS[:1, :9])
    stream.feed(INPUTS[:1, :5])
    with pytest.raises(InputError, match="segment"):
        stream.feed(INPUTS[:1, :8])


@pytest.mark.slow
def test_a_million_tokens() -> None:
    """Outputs of the offline run, resident memory constant within 5 %, latency of a segment within 10 %.

    Latency is compared between the stream after a million tokens and one that has just warmed up, fed in
    turns, so that other load on the machine meets both.
    """
    torch.manual_seed(0)
    model = RMAATForSequenceClassification(RMAATConfig(dim=64, segment_length=512, streaming=True)).eval()
    tokens = torch.randint(1, 256, (1, 1954 * 512))
    old, resident = model.stream(), []
    for piece in tokens.split(512, dim=1):
        logits = old.feed(piece)
        resident.append(psutil.Process().memory_info().rss)
    assert max(resident[100:]) <= 1.05 * min(resident[100:])

    young = model.stream()
    times: dict[str, list[float]] = {"old": [], "young": []}
    for _ in range(300):
        piece = torch.randint(1, 256, (1, 512))
        for name, stream in (("old", old), ("young", young)):
            start = time.process_time()
            stream.feed(piece)
            times[name].append(time.process_time() - start)
    late, early = (median(times[name][100:]) for name in ("old", "young"))
    assert abs(late / early - 1) <= 0.1

    with torch.no_grad():
        offline = model(tokens).logits
    torch.testing.assert_close(logits, offline, rtol=0, atol=1e-6)  # float32
