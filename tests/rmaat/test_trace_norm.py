"""The trace's normalisation: a batch's statistics in training, a curve over the length in evaluation."""

from typing import Any, cast

import pytest
import torch

from rmaat.heads import trace
from rmaat.model import Readout
from rmaat.streaming import summary
from rmaat.trace_norm import TraceNorm


def traces(lengths: torch.Tensor, noise: float = 0.0) -> torch.Tensor:
    """A quadratic in ln N for each of four entries, and noise."""
    u = lengths.double().log()[:, None]
    coefficients = torch.tensor([[1.0, -2.0, 0.0, 3.0], [0.5, 0.0, -1.0, 0.2], [0.1, 0.3, 0.0, -0.2]]).double()
    curve = coefficients[0] + coefficients[1] * u + coefficients[2] * u * u
    return curve + noise * torch.randn(len(lengths), 4, dtype=torch.float64)


def test_a_fitted_curve_is_taken_away_and_what_is_left_has_unit_variance() -> None:
    torch.manual_seed(0)
    lengths = torch.randint(500, 2001, (4000,))
    norm = TraceNorm(4).double().eval()
    norm.fit(traces(lengths, noise=0.05), lengths)
    others = torch.randint(int(lengths.min()), int(lengths.max()) + 1, (4000,))
    found = norm(traces(others, noise=0.05), others)
    short, long = found[others < 800], found[others > 1700]
    for part in (found, short, long):  # five standard errors of the part and as many of the fit
        assert part.mean(0).abs().max() < 10 / len(part) ** 0.5
        assert (part.std(0) - 1).abs().max() < 5 / (2 * len(part)) ** 0.5


def test_beyond_the_lengths_of_the_fit_the_mean_stays() -> None:
    lengths = torch.arange(10, 100)
    norm = TraceNorm(4).double().eval()
    norm.fit(traces(lengths), lengths)
    ends = norm(torch.zeros(4, 4).double(), torch.tensor([1, 10, 99, 10_000]))
    torch.testing.assert_close(ends[[0, 3]], ends[[1, 2]])


def test_one_length_gives_batch_normalisation() -> None:
    x = torch.randn(50, 4) * 3 + 1
    norm = TraceNorm(4).eval()
    norm.fit(x, torch.full((50,), 7))
    expected = (x - x.mean(0)) / (x.var(0, correction=0) + norm.eps).sqrt()
    torch.testing.assert_close(norm(x, torch.full((50,), 7)), expected, rtol=1e-5, atol=1e-5)
    assert not norm.drift(torch.tensor([3, 7, 900])).any()


@pytest.mark.parametrize("batch", [1, 5])
def test_training_takes_the_statistics_of_the_batch_and_a_batch_of_one_those_of_evaluation(batch: int) -> None:
    norm, plain = TraceNorm(4).double(), torch.nn.BatchNorm1d(4, affine=False).double()
    lengths = torch.arange(20, 60)
    norm.fit(traces(lengths), lengths)
    plain.load_state_dict({name: value for name, value in norm.state_dict().items() if name in plain.state_dict()})
    x = torch.randn(batch, 4, dtype=torch.float64)
    few = torch.arange(30, 30 + batch)
    expected = plain(x) if batch > 1 else plain.eval()(x - norm.drift(few))
    torch.testing.assert_close(norm.train()(x, few), expected)
    torch.testing.assert_close(norm.running_mean, plain.running_mean)


def test_under_autocast_nothing_of_the_trace_is_rounded_to_bfloat16() -> None:
    """Summary, trace and normalised trace of float32 features; 1e-5 is float32's rounding, 4e-3 would be bfloat16's."""
    torch.manual_seed(0)
    memory, features = torch.randn(6, 2, 4) + 30, torch.randn(6, 50, 4) + 30
    mask = torch.arange(50) < torch.tensor([50, 40, 30, 20, 10, 1])[:, None]
    lengths = mask.sum(1)
    norm = TraceNorm(8).eval()
    norm.fit(summary(memory, features, mask), lengths)
    norm.slopes.mul_(1000).add_(0.123)
    shares = torch.tensor([0.3, 0.7])[:, None].expand(2, 6)

    def read(inputs: torch.Tensor, lengths: torch.Tensor, reduce: Any) -> Readout:
        outputs = [reduce(memory.to(wide), scale * features.to(wide), mask) for scale in (1, 2)]
        return Readout(outputs, memory, shares.to(wide))

    found = []
    for wide in (torch.float64, torch.float32):
        norm = norm.to(wide)
        with torch.autocast("cpu", torch.bfloat16, enabled=wide == torch.float32):
            traced = trace(cast(Any, read), features, lengths)
            found.append((traced, norm.drift(lengths), norm.evaluated(traced, lengths) * norm.running_var.sqrt()))
    for exact, single in zip(*found, strict=True):
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=1e-4)
