"""RetentionSchedule: rows, closed forms, streaming, gradients of the first and second order, recovery."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_sim.errors import InputError
from rmaat_bridge import RetentionSchedule
from rmaat_bridge.families import RETENTION_FAMILIES
from rmaat_bridge.schedule import retention_factors

FAMILIES = list(RETENTION_FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_factors_are_positive_fall_and_sum_to_one(make, family):
    """For every length up to 64; the sums to 1e-6 (float32), as the architecture promises."""
    schedule = RetentionSchedule(make.retention(family))
    for n in range(1, 65):
        factors = schedule(n).detach()
        assert factors.shape == (n,)
        assert float(factors.sum()) == pytest.approx(1, abs=1e-6)
        assert (factors > 0).all()
        assert (factors.diff() <= 1e-7).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_factors_fall_for_a_slow_process_too(make, family):
    """a = 6.5e-4 a cycle in float32: neighbouring factors differ by less than single precision's differences of G."""
    schedule = RetentionSchedule(make.retention(family, tau_p_long=45 / 6.5e-4))
    for n in (6, 300, 3000):
        factors = schedule(n).detach()
        assert (factors.diff() <= 1e-7 * factors[0]).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(1.0, 1e4), st.floats(0.1, 10.0), st.floats(1.0, 600.0), st.integers(1, 300))
def test_exponential_factors_for_any_constants(tau, leak, cycle, n):
    """Against the closed form in exact arithmetic of expm1; 1e-9 relative in float64 for a >= 1e-4."""
    a = leak * cycle / tau
    values = (torch.tensor(v, dtype=torch.float64) for v in (tau, leak, cycle))
    factors = retention_factors(RETENTION_FAMILIES["exponential"], n, *values).numpy()
    t = np.arange(1, n + 1)
    expected = np.expm1(-a) * np.exp(-a * (t - 1)) / np.expm1(-a * n)
    np.testing.assert_allclose(factors, expected, rtol=1e-9, atol=1e-300)


def test_longer_sequences_have_a_lower_curve(make):
    schedule = RetentionSchedule(make.retention("exponential"))
    curves = [schedule(n).detach() for n in (2, 4, 8, 16)]
    for shorter, longer in itertools.pairwise(curves):
        assert (longer[: len(shorter)] < shorter).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_table_holds_the_factors_of_every_length(make, family):
    """Row T - 1 is the schedule of T segments, then zeros; 1e-12 in float64."""
    schedule = RetentionSchedule(make.retention(family)).double()
    table = schedule.table(20)
    for n in range(1, 21):
        torch.testing.assert_close(table[n - 1, :n], schedule(n), rtol=1e-12, atol=0)
        assert not table[n - 1, n:].any()


def test_streaming_is_the_share_of_the_trace_that_the_cycle_wrote(make):
    """Against p(t) = e^-a p(t-1) + 1 summed step by step, and its closed form (1-e^-a) / (1-e^(-a t)); 1e-12."""
    schedule = RetentionSchedule(make.retention("exponential")).double()
    decay = np.exp(-45 / 150)
    trace = 0.0
    for t in range(1, 41):
        trace = decay * trace + 1
        share = float(schedule.streaming(t).detach())
        assert share == pytest.approx(1 / trace, rel=1e-12)
        assert share == pytest.approx((1 - decay) / (1 - decay**t), rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_streaming_starts_at_one_falls_and_stays_above_the_leak(make, family):
    schedule = RetentionSchedule(make.retention(family)).double()
    shares = torch.stack([schedule.streaming(t) for t in range(1, 200)]).detach()
    assert float(shares[0]) == 1
    assert (shares.diff() <= 1e-12).all()
    assert float(shares[-1]) >= 1 - np.exp(-45 / 150) - 1e-12


def test_streaming_is_the_last_known_length_factor_plus_the_leak(make):
    """D_T / p(T) = RF(T, T) + (1 - e^-a) p(T-1) / p(T): written share = net share + what leaked."""
    schedule = RetentionSchedule(make.retention("stretched-exponential")).double()
    decay = np.exp(-45 / 150)
    for n in range(2, 30):
        last = schedule(n)[-1]
        torch.testing.assert_close(schedule.streaming(n), last + (1 - decay) * (1 - last), rtol=1e-12, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [1, 2, 7, 23])
def test_first_and_second_derivatives_in_the_biology(make, family, n):
    """gradcheck and gradgradcheck in float64 at torch's default tolerances, all constants and shapes at once."""
    fit = make.retention(family)
    names = list(fit.parameters)
    values = [torch.tensor(q.value, dtype=torch.float64, requires_grad=True) for q in fit.parameters.values()]

    def factors(*arguments):
        return retention_factors(RETENTION_FAMILIES[family], n, **dict(zip(names, arguments, strict=True)))

    assert torch.autograd.gradcheck(factors, values)
    assert torch.autograd.gradgradcheck(factors, values)


@pytest.mark.parametrize("mode", ["bounded", "free"])
def test_module_derivatives_reach_every_parameter(make, mode):
    """gradcheck and gradgradcheck through the module's own coordinates, table and streaming included."""
    schedule = RetentionSchedule(make.retention("double-exponential", mode, slow_share=0.5)).double()
    names, start = zip(*schedule.named_parameters(), strict=True)
    inputs = [(p.detach() + 0.1).requires_grad_() for p in start]

    def outputs(*coordinates):
        values = dict(zip((f"schedule.{n}" for n in names), coordinates, strict=True))
        return torch.func.functional_call(_Everything(schedule), values, ())

    assert len(inputs) == 5
    assert torch.autograd.gradcheck(outputs, inputs)
    assert torch.autograd.gradgradcheck(outputs, inputs)


class _Everything(torch.nn.Module):
    """All that a schedule computes, in one vector."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self):
        table = self.schedule.table(5).flatten()
        return torch.cat([self.schedule(6), table, self.schedule.streaming(4)[None]])


def test_gradient_descent_recovers_tau_and_the_transient(make):
    """Two unknowns, tau_p_long and second_ratio, from the factors of 8 segments: both within 1 %."""
    truth = {"tau_p_long": 120.0, "leak_p_long": 1.0, "cycle_s": 45.0, "second_ratio": 0.7}
    tensors = {k: torch.tensor(v, dtype=torch.float64) for k, v in truth.items()}
    target = retention_factors(RETENTION_FAMILIES["transient-exponential"], 8, **tensors)
    fit = make.retention("transient-exponential", tau_p_long=200.0, second_ratio=0.5)
    for known in ("leak_p_long", "cycle_s"):
        fit.parameters[known].mode = "fixed"
    schedule = RetentionSchedule(fit).double()
    optimizer = torch.optim.Adam(schedule.parameters(), lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        loss = ((schedule(8) - target) ** 2).sum()
        loss.backward()
        optimizer.step()
    assert float(schedule.values()["tau_p_long"].detach()) == pytest.approx(120, rel=0.01)
    assert float(schedule.values()["second_ratio"].detach()) == pytest.approx(0.7, rel=0.01)


def test_no_segments_is_refused(make):
    schedule = RetentionSchedule(make.retention("exponential"))
    for call in (schedule, schedule.streaming, schedule.table):
        with pytest.raises(InputError, match="at least 1"):
            call(0)
