"""Calcium transport between astrocytic processes: Σ_kl T_ijkl u_kl without ever storing T."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property, reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sim.errors import InputError
from astro_sim.semiseparable import ExponentialLine

Array = NDArray[np.float64]
Kernel = str | Callable[[Array], Array]
MODES = ("semiseparable", "separable", "fft", "dense")
KERNELS = ("exponential-l1", "exponential", "gaussian")
SEPARABLE = ("exponential-l1", "gaussian")
DENSE_SPECTRUM = 400
SMALL = 64  # up to here two matrix products are faster than the O(N²) form


class Coupling(ABC):
    """A linear map over the processes of an astrocyte, T: (n_post, n_pre) → (n_post, n_pre).

    Attributes
    ----------
    shape : tuple of int
        (n_post, n_pre).
    """

    shape: tuple[int, int]

    @abstractmethod
    def apply(self, u: Array) -> Array:
        """Σ_kl T_ijkl u_kl for u of shape (n_post, n_pre); the result has the same shape."""

    @property
    @abstractmethod
    def dense(self) -> Array:
        """T as a matrix, shape (n_post·n_pre, n_post·n_pre): the naive twin, for small grids."""

    def _apply_flat(self, u: Array) -> Array:
        return self.apply(u.reshape(self.shape)).ravel()

    @cached_property
    def spectral_radius(self) -> float:
        """ρ(T), the largest absolute eigenvalue of a symmetric T, to a relative 1e-8."""
        size = self.shape[0] * self.shape[1]
        if size <= DENSE_SPECTRUM:
            return float(np.abs(np.linalg.eigvals(self.dense)).max())
        from scipy.sparse.linalg import LinearOperator, eigsh  # here, as few runs need it

        operator = LinearOperator((size, size), self._apply_flat, dtype=float)
        start = np.ones(size)  # the leading mode of a positive kernel has one sign
        return float(abs(eigsh(operator, 1, which="LM", tol=1e-8, v0=start, return_eigenvectors=False)[0]))


class DistanceCoupling(Coupling):
    """Transport that depends on the distance between two processes on a regular grid.

    Neurons lie on a line or a sheet; the process of the synapse from neuron j to neuron i has the place of
    i and the place of j as its coordinates, so that two processes differ by |i−k| on each axis of the post-
    and by |j−l| on each axis of the presynaptic grid.

    Parameters
    ----------
    post, pre : tuple of int
        Grid of the post- and of the presynaptic neurons: ``(n,)`` on a line, ``(rows, columns)`` on a sheet.
    strength : float
        T₀, the value at distance 0.
    length : float
        ℓ, the decay length [grid steps], above 0; not used by a callable kernel.
    kernel : str or callable
        ``"exponential-l1"`` T₀ exp(−Σ|Δ|/ℓ), ``"exponential"`` T₀ exp(−√ΣΔ²/ℓ), ``"gaussian"``
        T₀ exp(−ΣΔ²/2ℓ²), or a function of the Euclidean distance (array in, array of its shape out).
    border : str
        ``"open"``, or ``"periodic"``: distances are taken round the ring.
    mode : str, optional
        ``"semiseparable"`` (O(N²); exponential-l1 on open lines), ``"separable"`` (one matrix product a
        side; kernels that factorise), ``"fft"`` (any kernel, O(N² log N)) or ``"dense"`` (the N²×N² matrix).
        Default: the fastest that the kernel and the size allow.

    Raises
    ------
    InputError
        For an unknown kernel or border, or a mode that the kernel does not allow.
    """

    def __init__(
        self,
        post: tuple[int, ...],
        pre: tuple[int, ...],
        strength: float,
        length: float,
        kernel: Kernel = "exponential-l1",
        border: str = "open",
        mode: str | None = None,
    ) -> None:
        if not callable(kernel) and kernel not in KERNELS:
            raise InputError("kernel", kernel, f"one of {', '.join(KERNELS)}, or a function of distance")
        if border not in ("open", "periodic"):
            raise InputError("border", border, "open or periodic")
        lines = kernel == "exponential-l1" and border == "open" and len(post) == len(pre) == 1
        allowed = {"semiseparable": lines, "separable": kernel in SEPARABLE, "fft": True, "dense": True}
        if mode is None:
            small = max(np.prod(post), np.prod(pre)) <= SMALL
            mode = next(name for name in MODES if allowed[name] and not (small and name == "semiseparable"))
        elif not allowed.get(mode):
            raise InputError("mode", mode, f"one of {', '.join(name for name in MODES if allowed[name])}")
        self.post, self.pre, self.strength, self.length = post, pre, strength, length
        self.kernel, self.border, self.mode = kernel, border, mode
        self.shape = (int(np.prod(post)), int(np.prod(pre)))
        if callable(kernel):
            self.profile(np.array([0.0, 1.0]))  # refuses one that is no function of an array of distances

    def profile(self, *offsets: Array) -> Array:
        """T at absolute offsets along the axes (broadcast against each other)."""
        if self.kernel == "exponential-l1":
            return self.strength * np.exp(-reduce(np.add, offsets) / self.length)
        squared = reduce(np.add, [offset**2 for offset in offsets])
        if self.kernel == "gaussian":
            return self.strength * np.exp(-squared / (2 * self.length**2))
        if callable(self.kernel):
            distance = np.sqrt(squared)
            wanted = f"finite values of the shape of its distances, {distance.shape}"
            try:
                values = np.asarray(self.kernel(distance), dtype=float)
            except (TypeError, ValueError) as error:  # math.exp in place of numpy.exp, say
                raise InputError("kernel", str(error), wanted) from error
            if values.shape != distance.shape or not np.isfinite(values).all():
                raise InputError("kernel", values.shape, wanted)
            return self.strength * values
        return self.strength * np.exp(-np.sqrt(squared) / self.length)

    def _matrix(self, grid: tuple[int, ...]) -> Array:
        """T between the points of a grid, shape (n, n) with n the number of its points."""
        offsets = []
        for axis, n in enumerate(grid):
            distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n))).astype(float)
            if self.border == "periodic":
                distance = np.minimum(distance, n - distance)
            where = [1] * (2 * len(grid))
            where[axis] = where[axis + len(grid)] = n
            offsets.append(distance.reshape(where))
        size = int(np.prod(grid))
        return np.broadcast_to(self.profile(*offsets), grid + grid).reshape(size, size)

    @cached_property
    def factors(self) -> tuple[Array, Array]:
        """Matrices (n_post, n_post) and (n_pre, n_pre) with T u = A_post u A_pre."""
        scale = self.strength or 1.0
        return self._matrix(self.post), self._matrix(self.pre) / scale

    @cached_property
    def _lines(self) -> tuple[ExponentialLine, ExponentialLine]:
        return ExponentialLine(self.shape[0], self.length), ExponentialLine(self.shape[1], self.length)

    @cached_property
    def dense(self) -> Array:
        """T as a matrix, shape (n_post·n_pre, n_post·n_pre)."""
        return self._matrix(self.post + self.pre)

    @cached_property
    def _spectrum(self) -> tuple[NDArray[np.complex128], tuple[int, ...]]:
        """Transform of the kernel laid out round the origin, and the size of the padded grid."""
        from scipy import fft

        grid = self.post + self.pre
        padded = tuple(fft.next_fast_len(2 * n - 1, real=True) for n in grid)
        size = grid if self.border == "periodic" else padded
        ring = [np.minimum(np.arange(m), m - np.arange(m)).astype(float) for m in size]
        return fft.rfftn(self.profile(*np.meshgrid(*ring, indexing="ij"))), size

    def apply(self, u: Array) -> Array:
        """Σ_kl T_ijkl u_kl for u of shape (n_post, n_pre); the result has the same shape."""
        if self.mode == "semiseparable":
            first, second = self._lines
            return self.strength * second.right(first.left(u))
        if self.mode == "separable":
            post, pre = self.factors
            return post @ u @ pre
        if self.mode == "dense":
            return (self.dense @ u.ravel()).reshape(self.shape)
        from scipy import fft

        (spectrum, size), grid = self._spectrum, self.post + self.pre
        spread = fft.irfftn(fft.rfftn(u.reshape(grid), s=size) * spectrum, s=size)
        return spread[tuple(slice(n) for n in grid)].reshape(self.shape)

    @cached_property
    def spectral_radius(self) -> float:
        """ρ(T), the largest absolute eigenvalue."""
        if self.kernel in SEPARABLE:
            return float(np.prod([np.abs(np.linalg.eigvalsh(factor)).max() for factor in self.factors]))
        return super().spectral_radius


class MemoryCoupling(Coupling):
    """Transport that stores patterns, T_ijkl = T₀ Σ_μ ξ^μ_i ξ^μ_j ξ^μ_k ξ^μ_l (arXiv 2311.08135), in O(K N²).

    Parameters
    ----------
    memories : array_like
        The patterns ξ, shape (n_memories, n_neurons).
    strength : float
        T₀.
    """

    def __init__(self, memories: ArrayLike, strength: float) -> None:
        self.memories, self.strength = np.asarray(memories, dtype=float), strength
        if self.memories.ndim != 2:
            raise InputError("memories", self.memories.shape, "an array of shape (n_memories, n_neurons)")
        self.shape = (self.memories.shape[1], self.memories.shape[1])

    def apply(self, u: Array) -> Array:
        """Σ_kl T_ijkl u_kl: the overlap of u with each pattern, laid back on that pattern."""
        xi = self.memories
        overlap = np.einsum("mk,mk->m", xi @ u, xi)
        return self.strength * (xi.T * overlap) @ xi

    @cached_property
    def dense(self) -> Array:
        """T as a matrix, shape (n², n²)."""
        outer = np.einsum("mi,mj->mij", self.memories, self.memories).reshape(len(self.memories), -1)
        return self.strength * outer.T @ outer

    @cached_property
    def spectral_radius(self) -> float:
        """ρ(T): T has the non-zero spectrum of the patterns' squared overlaps."""
        return float(abs(self.strength) * np.linalg.eigvalsh((self.memories @ self.memories.T) ** 2).max())
