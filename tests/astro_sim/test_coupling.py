"""Transport operators against the sum over all pairs of processes, written out."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astro_sim.coupling import KERNELS, SEPARABLE, Coupling, DistanceCoupling, MemoryCoupling
from astro_sim.errors import InputError


def lorentzian(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + distance**2)


def pair_sum(c: DistanceCoupling, u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σ_kl T_ijkl u_kl by looping over pairs of grid points."""
    grid = c.post + c.pre
    points = list(itertools.product(*(range(n) for n in grid)))
    result = np.zeros(len(points))
    for a, here in enumerate(points):
        for b, there in enumerate(points):
            steps = [abs(p - q) for p, q in zip(here, there, strict=True)]
            if c.border == "periodic":
                steps = [min(step, n - step) for step, n in zip(steps, grid, strict=True)]
            squared = sum(step**2 for step in steps)
            value = {
                "exponential-l1": np.exp(-sum(steps) / c.length),
                "exponential": np.exp(-np.sqrt(squared) / c.length),
                "gaussian": np.exp(-squared / (2 * c.length**2)),
                lorentzian: 1 / (1 + squared),
            }[c.kernel]
            result[a] += c.strength * value * u.ravel()[b]
    return result.reshape(u.shape)


def modes(kernel: object, post: tuple[int, ...], pre: tuple[int, ...], border: str) -> list[str]:
    """Every mode that the transport allows, the dense one last."""
    lines = kernel == "exponential-l1" and border == "open" and len(post) == len(pre) == 1
    return [
        *(["semiseparable"] if lines else []),
        *(["separable"] if kernel in SEPARABLE else []),
        "fft",
        "dense",
    ]


@pytest.mark.parametrize("border", ["open", "periodic"])
@pytest.mark.parametrize(("post", "pre"), [((5,), (4,)), ((2, 3), (5,)), ((1,), (7,)), ((2, 2), (3, 2))])
@pytest.mark.parametrize("kernel", [*KERNELS, lorentzian])
def test_every_mode_is_the_sum_over_pairs(kernel, post, pre, border):
    """Odd and rectangular grids, lines and sheets; 1e-12 of the largest value, as only rounding differs."""
    for mode in modes(kernel, post, pre, border):
        c = DistanceCoupling(post, pre, 0.7, 1.3, kernel, border, mode)
        u = np.random.default_rng(1).normal(size=c.shape)
        expected = pair_sum(c, u)
        assert np.abs(c.apply(u) - expected).max() <= 1e-12 * np.abs(expected).max(), mode


@pytest.mark.parametrize("n", [32, 63])
@pytest.mark.parametrize("kernel", KERNELS)
def test_fast_modes_are_the_dense_matrix(kernel, n):
    u = np.random.default_rng(2).normal(size=(n, n // 2))
    found = modes(kernel, (n,), (n // 2,), "open")
    runs = [DistanceCoupling((n,), (n // 2,), 0.1, 2.5, kernel, mode=mode).apply(u) for mode in found]
    for run in runs[:-1]:
        assert np.abs(run - runs[-1]).max() <= 1e-12 * np.abs(runs[-1]).max()


def test_memory_coupling_is_the_sum_over_patterns():
    xi = np.random.default_rng(3).choice([-1.0, 1.0], size=(3, 6))
    c, u = MemoryCoupling(xi, 0.2), np.random.default_rng(4).normal(size=(6, 6))
    expected = 0.2 * np.einsum("mi,mj,mk,ml,kl->ij", xi, xi, xi, xi, u)
    assert np.abs(c.apply(u) - expected).max() <= 1e-12 * np.abs(expected).max()
    assert np.abs((c.dense @ u.ravel()).reshape(6, 6) - expected).max() <= 1e-12 * np.abs(expected).max()
    assert c.spectral_radius == pytest.approx(np.abs(np.linalg.eigvalsh(c.dense)).max(), rel=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 9),
    m=st.integers(2, 9),
    length=st.floats(0.2, 20),
    kernel=st.sampled_from(KERNELS),
    border=st.sampled_from(["open", "periodic"]),
    seed=st.integers(0, 99),
)
def test_transport_is_symmetric_and_positive(n, m, length, kernel, border, seed):
    """⟨u, Tv⟩ = ⟨Tu, v⟩, and a positive kernel keeps positive calcium positive."""
    c = DistanceCoupling((n,), (m,), 0.5, length, kernel, border)
    u, v = np.random.default_rng(seed).uniform(0.1, 1, size=(2, n, m))
    assert (u * c.apply(v)).sum() == pytest.approx((c.apply(u) * v).sum(), rel=1e-11)
    assert (c.apply(u) > 0).all()


@pytest.mark.parametrize("border", ["open", "periodic"])
@pytest.mark.parametrize("kernel", [*KERNELS, lorentzian])
def test_spectral_radius_is_the_largest_eigenvalue(kernel, border):
    c = DistanceCoupling((23,), (22,), 0.3, 1.5, kernel, border)
    expected = np.abs(np.linalg.eigvalsh(c.dense)).max()
    assert c.spectral_radius == pytest.approx(expected, rel=1e-7)


def test_large_transport_needs_no_large_matrix():
    """At 256 × 256 processes the dense matrix would take 32 GiB; the factors and the spectrum take MiB."""
    c = DistanceCoupling((256,), (256,), 0.1, 1.0)
    f = DistanceCoupling((256,), (256,), 0.1, 1.0, mode="fft")
    u = np.random.default_rng(5).normal(size=(256, 256))
    assert np.abs(c.apply(u) - f.apply(u)).max() <= 1e-12 * np.abs(c.apply(u)).max()
    assert all(isinstance(x, Coupling) and "dense" not in vars(x) for x in (c, f))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"kernel": "linear"}, "kernel"),
        ({"border": "half-open"}, "border"),
        ({"kernel": "exponential", "mode": "separable"}, "mode"),
        ({"mode": "sparse"}, "mode"),
        ({"border": "periodic", "mode": "semiseparable"}, "mode"),
    ],
)
def test_arguments_that_cannot_be_used_name_the_field(arguments, field):
    with pytest.raises(InputError, match=f"^{field}: "):
        DistanceCoupling((3,), (3,), 1.0, 1.0, **arguments)


@pytest.mark.parametrize(
    "kernel",
    [lambda d: 1.0, lambda d: d[:1], lambda d: np.full_like(d, np.nan), lambda d: math.exp(-d), lambda d: "near"],
)
def test_kernels_that_are_no_function_of_an_array_are_refused(kernel):
    with pytest.raises(InputError, match=r"^kernel: "):
        DistanceCoupling((3,), (3,), 1.0, 1.0, kernel)
