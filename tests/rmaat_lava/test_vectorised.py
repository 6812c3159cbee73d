"""The quick forms against the plain ones: the same integers and the same counts, also where values saturate."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmaat_lava.arithmetic import LIMIT, Curve, Linear, Norm, Power, round_shift, saturate
from rmaat_lava.scales import phi_table
from rmaat_lava.vectorised import Dense, FeatureMap, LayerNorm, power_of_two, round_scaled
from rmaat_lava.vectorised import saturate as saturate_in_place

sizes = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)


def _whole(rng: np.random.Generator, bits: int, *shape: int) -> np.ndarray:
    return rng.integers(-(2**bits) + 1, 2**bits, shape)


@given(seeds, st.integers(-10, 40), st.integers(0, 15))
def test_rounding_and_saturation(seed, shift, bits):
    rng = np.random.default_rng(seed)
    x, factor = _whole(rng, 23, 30), int(rng.integers(0, 2**bits + 1))
    plain, quick = Counter(), Counter()
    expected = saturate(round_shift(x * factor, shift), "here", plain)
    found = saturate_in_place(round_scaled(x.astype(float), factor * power_of_two(shift)), "here", quick)
    np.testing.assert_array_equal(found, expected)
    assert quick == plain


@given(seeds, sizes, sizes, sizes, st.integers(1, 23), st.integers(0, 24), st.integers(0, 54), st.booleans())
def test_dense(seed, places, inputs, outputs, message_bits, bias_bits, shift, dead):
    """From messages that never saturate to such as do in the sum, in the output, or in both."""
    rng = np.random.default_rng(seed)
    multiplier = rng.integers(0 if dead else 2**14, 2**15 + 1, rng.choice([1, outputs]))
    bias = np.clip(_whole(rng, bias_bits, outputs), -LIMIT, LIMIT)
    linear = Linear(rng.integers(-127, 128, (inputs, outputs)).astype(np.int8), bias, multiplier, np.array(shift))
    x = _whole(rng, message_bits, places, inputs)
    plain, quick = Counter(), Counter()
    expected = linear.rescale(x @ linear.weight.astype(np.int64), "here", plain)
    np.testing.assert_array_equal(Dense.of(linear)(x.astype(float), "here", quick), expected)
    assert quick == plain


def test_dense_with_more_inputs_than_the_folded_form_can_take():
    """2048 inputs of 24 bits, weights 127: in units of 2^-40 the sums leave 53 bits, and the plain form takes over."""
    rng = np.random.default_rng(0)
    weight = np.full((2048, 3), 127, np.int8)
    linear = Linear(weight, np.zeros(3, np.int64), np.full(3, 2**15 - 1), np.array(40))
    x = rng.integers(LIMIT - 100, LIMIT + 1, (5, 2048)) * rng.choice([-1, 1], 2048)
    plain, quick = Counter(), Counter()
    expected = linear.rescale(x @ weight.astype(np.int64), "here", plain)
    np.testing.assert_array_equal(Dense.of(linear)(x.astype(float), "here", quick), expected)
    assert quick == plain


@given(seeds, sizes, st.lists(sizes, min_size=1, max_size=3))
def test_dense_of_one_hot_messages(seed, inputs, shape):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-127, 128, (inputs, 5)).astype(np.int8)
    linear = Linear(weight, _whole(rng, 10, 5), rng.integers(2**14, 2**15, 5), np.array(16))
    index = rng.integers(0, inputs, shape)
    expected = linear.rescale(weight[index].astype(np.int64).sum(-2), "here", Counter())
    np.testing.assert_array_equal(Dense.of(linear).rows(index, "here", Counter()), expected)


@pytest.mark.parametrize(("e_in", "e_out"), [(12, 7), (12, 12), (3, 6), (9, 20), (12, 30)])
def test_feature_map(e_in, e_out):
    """Below, in and beyond the table; with 30 bits behind the point 1 + x saturates."""
    curve = phi_table(e_in, e_out)
    for largest in (4 * 2**e_in, 20 * 2**e_in, LIMIT):
        x = np.unique(np.linspace(-LIMIT, largest, 20_001).astype(np.int64))
        plain, quick = Counter(), Counter()
        expected = saturate(curve(x), "here", plain)
        np.testing.assert_array_equal(FeatureMap.of(curve)(x.astype(float), "here", quick), expected)
        assert quick == plain


def test_feature_map_of_a_curve_whose_nodes_end_elsewhere():
    curve = Curve(np.array([5, 7, 20]), low=np.array(-3), step_bits=np.array(2), tail_shift=np.array(1))
    x = np.arange(-10, 60)
    np.testing.assert_array_equal(FeatureMap.of(curve)(x.astype(float), "here", Counter()), curve(x))


@given(seeds, sizes, sizes, st.integers(2, 23), st.sampled_from([0, 2, 8, 20]))
def test_layer_norm(seed, places, width, bits, square_shift):
    rng = np.random.default_rng(seed)
    shift = np.array(20)
    norm = Norm(
        mean_multiplier=np.array(round(2**20 / width)),
        mean_shift=shift,
        square_shift=np.array(square_shift),
        epsilon=np.array(rng.integers(0, 100)),
        root=Power.of(-0.5),
        gain=_whole(rng, 15, width),
        gain_shift=np.array(rng.integers(0, 20)),
        bias=_whole(rng, 20, width),
    )
    x = _whole(rng, bits, places, width)
    plain, quick = Counter(), Counter()
    expected = norm(x, "here", plain)
    np.testing.assert_array_equal(LayerNorm.of(norm)(x.astype(float), "here", quick), expected)
    assert quick == plain
