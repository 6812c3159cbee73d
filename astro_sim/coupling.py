"""Calcium transport between astrocytic processes: Σ_kl T_ijkl u_kl without ever storing T."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from astro_sim.errors import InputError

Array = NDArray[np.float64]
MODES = ("separable", "fft", "dense")
SEPARABLE = ("exponential-l1", "gaussian")


class DistanceCoupling:
    """Transport whose strength depends on the distance between two processes on a regular grid.

    Process (i, j), of the synapse from neuron j to neuron i, sits at grid point (i, j). T_ijkl is
    T₀ times a kernel of (|i−k|, |j−l|), with |·| taken round the ring under a periodic border.

    Parameters
    ----------
    shape : tuple of int
        Grid of processes, (n_post, n_pre).
    strength : float
        T₀, the value at distance 0.
    length : float
        ℓ, the decay length [grid steps], above 0.
    kernel : str
        ``"exponential-l1"``, ``"exponential"`` or ``"gaussian"``.
    border : str
        ``"open"`` or ``"periodic"``.
    mode : str, optional
        ``"separable"`` (two matrix products; kernels that factorise), ``"fft"`` (any kernel,
        O(N² log N)) or ``"dense"`` (the N²×N² matrix: the naive twin of the two others).
        Default: separable where the kernel allows it, else fft.

    Raises
    ------
    InputError
        For an unknown mode, or a separable mode asked of a kernel that does not factorise.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        strength: float,
        length: float,
        kernel: str = "exponential-l1",
        border: str = "open",
        mode: str | None = None,
    ) -> None:
        mode = mode or ("separable" if kernel in SEPARABLE else "fft")
        if mode not in MODES or (mode == "separable" and kernel not in SEPARABLE):
            raise InputError("mode", mode, f"one of {', '.join(MODES)} that the kernel {kernel} allows")
        self.shape, self.strength, self.length = shape, strength, length
        self.kernel, self.border, self.mode = kernel, border, mode

    def offsets(self, axis: int) -> Array:
        """Distances |i−k| along one axis, shape (n, n), in grid steps."""
        n = self.shape[axis]
        distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n))).astype(float)
        return np.minimum(distance, n - distance) if self.border == "periodic" else distance

    def profile(self, rows: Array, columns: Array) -> Array:
        """The kernel T₀·f(rows, columns) at the given absolute offsets, shapes broadcast."""
        if self.kernel == "exponential-l1":
            return self.strength * np.exp(-(rows + columns) / self.length)
        if self.kernel == "gaussian":
            return self.strength * np.exp(-(rows**2 + columns**2) / (2 * self.length**2))
        return self.strength * np.exp(-np.hypot(rows, columns) / self.length)

    @cached_property
    def factors(self) -> tuple[Array, Array]:
        """Matrices A_post (n_post, n_post), A_pre (n_pre, n_pre) with T u = A_post u A_pre."""
        post, pre = self.offsets(0), self.offsets(1)
        scale = 1.0 if self.strength == 0 else 1.0 / self.strength
        return self.profile(post, np.zeros_like(post)), scale * self.profile(np.zeros_like(pre), pre)

    @cached_property
    def dense(self) -> Array:
        """T as a matrix, shape (n_post·n_pre, n_post·n_pre): for small grids and tests only."""
        post, pre = self.offsets(0), self.offsets(1)
        n = self.shape[0] * self.shape[1]
        return self.profile(post[:, None, :, None], pre[None, :, None, :]).reshape(n, n)

    @cached_property
    def _spectrum(self) -> tuple[NDArray[np.complex128], tuple[int, int]]:
        """Transform of the kernel laid out round the origin, and the padded size."""
        if self.border == "periodic":
            size = self.shape
        else:
            size = tuple(fft.next_fast_len(2 * n - 1, real=True) for n in self.shape)
        rows, columns = (np.minimum(np.arange(m), m - np.arange(m)).astype(float) for m in size)
        return fft.rfft2(self.profile(rows[:, None], columns[None, :])), size

    def apply(self, u: Array) -> Array:
        """Σ_kl T_ijkl u_kl for u of shape (n_post, n_pre); the result has the same shape."""
        if self.mode == "separable":
            post, pre = self.factors
            return post @ u @ pre
        if self.mode == "dense":
            return (self.dense @ u.ravel()).reshape(self.shape)
        spectrum, size = self._spectrum
        return fft.irfft2(fft.rfft2(u, s=size) * spectrum, s=size)[: self.shape[0], : self.shape[1]]
