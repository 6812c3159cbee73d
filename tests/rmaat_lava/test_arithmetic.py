"""Integer primitives against exact arithmetic and against the functions they stand for."""

from collections import Counter
from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rmaat_lava.arithmetic import LIMIT, Octaves, Power, round_shift, saturate
from rmaat_lava.places import Places
from rmaat_lava.scales import WeightFormat, phi_table
from rmaat_lava.twin import Ranges


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1), st.integers(-10, 30))
def test_round_shift_is_rounding_half_up(values, shift):
    expected = [floor(Fraction(v) / Fraction(2) ** shift + Fraction(1, 2)) for v in values]
    assert round_shift(np.array(values), shift).tolist() == expected


@given(st.lists(st.integers(-(2**30), 2**30), min_size=1))
def test_saturate_cuts_and_counts(values):
    counts = Counter()
    found = saturate(np.array(values), "here", counts)
    assert found.tolist() == [max(-LIMIT, min(LIMIT, v)) for v in values]
    assert counts["here"] == sum(abs(v) > LIMIT for v in values)


@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.5, 0.25, 1.0])
def test_power_is_within_its_stated_error(exponent):
    x = np.unique(np.concatenate([np.arange(1, 5000), np.random.default_rng(0).integers(1, LIMIT + 1, 100_000)]))
    mantissa, shift = Power.of(exponent)(x)
    error = np.abs(mantissa * 2.0 ** -shift.astype(float) / x.astype(float) ** exponent - 1)
    assert error.max() < abs(exponent * (exponent - 1)) * 2**-15 + 2**-12
    assert mantissa.max() <= 2**15


def test_octaves_table_follows_its_function():
    """Interpolation error of x^0.25 with 16 nodes an octave: p (1 - p) / 8 / 16^2 = 9e-5, and half a step."""
    table = np.rint(np.stack([Octaves.nodes() ** 0.25, Octaves.nodes() ** 0.5]) * 2**8).astype(np.int64)
    x = np.random.default_rng(0).integers(1, LIMIT + 1, (1000, 2, 3))
    found = Octaves(table)(x) / 2**8
    expected = np.stack([x[:, 0] ** 0.25, x[:, 1] ** 0.5], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1.3e-4, atol=1.5 * 2**-8)


@pytest.mark.parametrize(("e_in", "e_out"), [(12, 7), (12, 12), (3, 6), (9, 10)])
def test_phi_table_is_elu_plus_one(e_in, e_out):
    """Linear interpolation of exp over nodes 1/32 apart: at most 1.2e-4; rounding: one and a half output steps."""
    x = np.arange(-12 * 2**e_in, 12 * 2**e_in + 1)
    real = x / 2**e_in
    expected = np.where(real < 0, np.exp(np.minimum(real, 0)), 1 + real)
    error = np.abs(phi_table(e_in, e_out)(x) / 2**e_out - expected)
    assert error.max() < 1.3e-4 + 1.5 * 2**-e_out + np.exp(-8)


@pytest.mark.parametrize("width", [8, 32, 128])
def test_norm_of_scaled_values_loses_nothing_to_a_small_factor(width):
    """LN(f x) from x and f² in ε: off by 2.5e-4 relative (the root) and one step of the unit vector, 2^-17."""
    factors = np.array([1, 0.3, 1 / 16, 1 / 256, 1e-3, 1e-4, 1e-6, 1e-11, 0.0])
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(200, width)))
    ranges = Ranges()
    ranges("x.squares", (x - x.mean(1, keepdim=True)).square().sum(1, keepdim=True))
    norm = Places(ranges, WeightFormat()).norm(torch.nn.LayerNorm(width), "x", 18, 18, factors)
    integers, counts = np.rint(x.numpy() * 2**18).astype(np.int64), Counter()
    for i, factor in enumerate(factors):
        expected = torch.nn.functional.layer_norm(x * factor, (width,)).numpy()
        error = norm.at(i)(integers, "x", counts) / 2**18 - expected
        assert np.abs(error).max() < 2.5e-4 * np.abs(expected).max() + np.sqrt(width) * 2**-17
    assert not counts
