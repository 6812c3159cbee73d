"""Retention factors that no biology decides: their closed forms, and the models that use them."""

import numpy as np
import pytest
import torch

from astro_sim.errors import InputError
from rmaat import RMAATConfig, RMAATForSequenceClassification
from rmaat.control_schedule import ControlSchedule

SMALL = {"vocab_size": 16, "num_labels": 4, "dim": 16, "segment_length": 8, "memory_tokens": 3}
INPUTS = torch.randint(1, 16, (2, 45), generator=torch.Generator().manual_seed(0))


def model(**changes: object) -> RMAATForSequenceClassification:
    torch.manual_seed(0)
    return RMAATForSequenceClassification(RMAATConfig(**SMALL | changes)).double().eval()


def test_uniform_factors_are_one_over_t() -> None:
    schedule = ControlSchedule("uniform")
    expected = [[1 / n] * n + [0] * (5 - n) for n in range(1, 6)]
    torch.testing.assert_close(schedule.table(5), torch.tensor(expected, dtype=torch.float64))
    assert float(schedule.streaming(7)) == pytest.approx(1 / 7)


@pytest.mark.parametrize("kind", ["uniform", "random"])
def test_factors_sum_to_one_and_do_not_depend_on_the_longest(kind: str) -> None:
    schedule = ControlSchedule(kind, 3)
    table = schedule.table(40)
    torch.testing.assert_close(table.sum(1), torch.ones(40, dtype=torch.float64))
    assert (table.tril() == table).all() and (table[table != 0] > 0).all()
    assert torch.equal(schedule.table(17), table[:17, :17])
    for t in (1, 2, 40):
        torch.testing.assert_close(schedule.streaming(t), table[t - 1, t - 1])


def test_random_factors_are_flat_on_the_simplex() -> None:
    """Mean 1 / T and variance (T - 1) / (T^2 (T + 1)) of the flat Dirichlet, over 4,000 seeds (5 standard errors)."""
    n, seeds = 4, 4000
    drawn = np.stack([ControlSchedule("random", seed).table(n)[-1].numpy() for seed in range(seeds)])
    variance = (n - 1) / (n**2 * (n + 1))
    np.testing.assert_allclose(drawn.mean(0), 1 / n, atol=5 * np.sqrt(variance / seeds))
    np.testing.assert_allclose(drawn.var(0), variance, rtol=0.15)
    assert 0.03 < (np.diff(drawn) < 0).all(1).mean() < 0.055  # 1 / 4! of them fall throughout


@pytest.mark.parametrize("kind", ["uniform", "random"])
def test_a_stream_ends_with_the_factors_of_the_known_length(kind: str) -> None:
    """The trace of unknown T telescopes to RF(t, T); so do a stream's logits, float32 factors apart."""
    lengths = torch.tensor([1, 4, 6])
    known, streamed = (
        model(retention=kind, trace="retention", streaming=streaming).model.memory for streaming in (False, True)
    )
    torch.testing.assert_close(streamed.shares(lengths, 6), known.shares(lengths, 6))
    classifier = model(retention=kind, trace="retention", streaming=True)
    stream = classifier.stream(batch=2)
    for piece in INPUTS.split(8, dim=1):
        logits = stream.feed(piece)
    torch.testing.assert_close(logits, classifier(INPUTS).logits, rtol=0, atol=1e-7)


def test_the_kinds_are_different_models() -> None:
    changes = [{"retention": kind} for kind in ("fitted", "uniform", "random", "off")]
    changes.append({"retention": "random", "retention_seed": 1})
    found = [model(**change)(INPUTS).logits for change in changes]
    for i, first in enumerate(found):
        assert all((first - other).abs().max() > 1e-6 for other in found[i + 1 :])


@pytest.mark.parametrize(("switch", "kind"), [(True, "fitted"), (False, "off")])
def test_the_switch_of_earlier_configurations_is_read(switch: bool, kind: str) -> None:
    assert RMAATConfig(retention=switch).retention == kind
    assert torch.equal(model(retention=switch)(INPUTS).logits, model(retention=kind)(INPUTS).logits)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="retention"):
        RMAATConfig(retention="cubic")
