"""The Hebbian write in Lava's learning engine: bit for bit its NumPy reference, and near the sum that it stands for."""

import numpy as np
import pytest

from rmaat_lava.child import run_in_child
from rmaat_lava.plasticity import (
    TRACE_LIMIT,
    WEIGHT_LIMIT,
    error_bound,
    join_signs,
    learn_integer,
    learn_real,
    split_signs,
)
from rmaat_lava.shim import LAVA_VERSION, lava_version


def _input(seed: int, steps: int = 40, values: int = 5, features: int = 6, largest: int = 60):
    rng = np.random.default_rng(seed)
    v = rng.integers(-largest, largest + 1, (steps, values))
    return v, rng.integers(0, TRACE_LIMIT + 1, (steps, features)), rng.integers(0, 50, (steps, features))


@pytest.mark.parametrize("seed", range(5))
def test_integers_are_within_their_bound_of_the_hebbian_sum(seed):
    """Σ v (φ(k) + φ(R))ᵀ, written here as a loop over tokens; the engine's unit is 1024 products."""
    v, phi_k, phi_r = _input(seed)
    weights = learn_integer(v, phi_k, phi_r)
    assert 0 < weights.max() < WEIGHT_LIMIT
    exact = sum(np.outer(k + r, value) for value, k, r in zip(v, phi_k, phi_r, strict=True)) / 1024
    # a weight of either population may be off by the bound
    assert np.abs(join_signs(weights) - exact).max() < 2 * error_bound(len(v))
    # the bound is that of rounding always in the same direction; stochastic rounding walks, by sqrt(steps) / 2 at most
    # in standard deviation, and all synapses share its random numbers: five of these
    assert np.abs(join_signs(weights) - exact).mean() < 5 * np.sqrt(len(v)) / 2


def test_the_astrocyte_is_the_third_factor():
    """The same tokens with twice the astrocyte's share: H grows by Σ v φ(R)ᵀ and nothing else."""
    v, phi_k, phi_r = (array.astype(float) for array in _input(7))
    grown = join_signs(learn_real(v, phi_k, 2 * phi_r) - learn_real(v, phi_k, phi_r))
    np.testing.assert_allclose(grown, phi_r.T @ v / 128, rtol=1e-4, atol=1e-9)


def test_weights_saturate_at_eight_bits():
    v, phi_k, phi_r = _input(1, steps=200, largest=127)
    assert learn_integer(v, phi_k, phi_r).max() == WEIGHT_LIMIT


@pytest.mark.parametrize("case", [(0, 40, 5, 6, 60), (1, 25, 3, 8, 127), (2, 80, 4, 4, 127)])
@pytest.mark.parametrize("tag", ["fixed_pt", "floating_pt"])
@pytest.mark.needs_lava
@pytest.mark.skipif(lava_version() != LAVA_VERSION, reason=f"lava-nc {LAVA_VERSION} is not installed")
def test_lava_learns_what_the_reference_learns(case, tag):
    """After every step; the third case drives weights into saturation."""
    v, phi_k, phi_r = _input(*case)
    learn = learn_integer
    if tag == "floating_pt":
        v, phi_k, phi_r, learn = *(array.astype(float) for array in (v, phi_k, phi_r)), learn_real
    found = run_in_child(
        "rmaat_lava.plasticity:run_learning", {"v": v, "phi_k": phi_k, "phi_r": phi_r}, {"tag": tag}, 100.0
    )["weights"]
    assert np.abs(join_signs(found[-1])).max() > 10
    for steps in (1, 2, len(v) // 2, len(v)):
        expected = learn(v[:steps], phi_k[:steps], phi_r[:steps])
        if tag == "fixed_pt":
            np.testing.assert_array_equal(found[steps - 1], expected)
        else:
            np.testing.assert_allclose(found[steps - 1], expected, rtol=1e-12)


def test_populations_are_the_two_signs():
    v = np.array([[3, -2, 0]])
    assert split_signs(v).tolist() == [[3, 0, 0, 0, 2, 0]]
    assert join_signs(split_signs(v)).tolist() == v.tolist()
