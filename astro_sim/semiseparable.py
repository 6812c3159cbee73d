"""Products with exp(−|i−j|/ℓ) in O(n): its blocks off the diagonal have rank one.

Inside a block of 16 points the kernel is a small matrix. What comes from other blocks is, for all points of a block,
one number from the left times exp(−(distance to the block's first point)/ℓ) and one from the right times
exp(−(distance to its last point)/ℓ); these numbers are sums over the blocks of what each sends to its own ends.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BLOCK = 16


class ExponentialLine:
    """The matrix A_ij = exp(−|i−j|/ℓ), shape (n, n), as an operator.

    Parameters
    ----------
    n : int
        Number of points.
    length : float
        ℓ, above 0.
    """

    def __init__(self, n: int, length: float) -> None:
        self.n, self.blocks = n, -(-n // BLOCK)
        point, block = np.arange(BLOCK), np.arange(self.blocks)
        inside = np.exp(-np.abs(np.subtract.outer(point, point)) / length)
        self.ends = np.exp(-np.stack([point, BLOCK - 1 - point]) / length)
        self.parts = np.vstack([inside, self.ends])
        gap = np.subtract.outer(block, block)
        far = np.exp(-(BLOCK * (np.maximum(gap, 1) - 1.0) + 1) / length)
        self.onward = np.where(gap > 0, far, 0.0)

    def left(self, u: Array) -> Array:
        """A u for u of shape (n, m)."""
        shape = (self.blocks, BLOCK, u.shape[1])
        sent = np.matmul(self.ends, whole := _padded(u, self.blocks * BLOCK).reshape(shape))
        received = np.empty((self.blocks, BLOCK + 2, u.shape[1]))
        received[:, :BLOCK] = whole
        received[:, BLOCK] = self.onward @ sent[:, 1]
        received[:, BLOCK + 1] = self.onward.T @ sent[:, 0]
        return np.matmul(self.parts.T, received).reshape(-1, u.shape[1])[: self.n]

    def right(self, u: Array) -> Array:
        """u A for u of shape (m, n)."""
        whole = _padded(u.T, self.blocks * BLOCK).T.reshape(-1, BLOCK)
        sent = (whole @ self.ends.T).reshape(len(u), self.blocks, 2)
        received = np.empty((len(u), self.blocks, BLOCK + 2))
        received[:, :, :BLOCK] = whole.reshape(len(u), self.blocks, BLOCK)
        received[:, :, BLOCK] = sent[:, :, 1] @ self.onward.T
        received[:, :, BLOCK + 1] = sent[:, :, 0] @ self.onward
        return (received.reshape(-1, BLOCK + 2) @ self.parts).reshape(len(u), -1)[:, : self.n]


def _padded(u: Array, n: int) -> Array:
    """u with rows of zeros after its last, n rows in all."""
    return u if len(u) == n else np.vstack([u, np.zeros((n - len(u), u.shape[1]))])
