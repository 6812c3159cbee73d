"""Positions that tokens count for themselves: what stands before a token, in learnt units."""

import torch
from torch import Tensor, nn

SHARPNESS = 4.0  # of the edges of the stairs
GAIN = 20.0  # of a weight, so that a stair is reached in some hundred steps at a rate of 3e-3


class Counters(nn.Module):
    """Learnt counters that every token moves, from the start of the sequence on.

    c_n = sum_{m <= n} w(x_m),  x_n <- x_n + U c_n,  w = sigma(4 (theta - 1)) - sigma(4 (-theta - 1))

    w is a staircase with the flat steps -1, 0 and 1: a token that learns to count counts exactly, and one that
    does not stays at 0, so that nothing is left over after thousands of tokens. A counter that opening and closing
    brackets move by 1 and -1 is their depth. Padding and what is hidden (id 0) do not count.

    Parameters
    ----------
    vocab_size, dim, counters : int
        Number of ids, padding included; width of the model; number of counters.

    Source: positions that depend on what is counted are those of CoPE, arXiv 2405.18719, where each query counts the
    keys that it opens a gate for; counting once, by token and in both directions, is this project's.
    """

    def __init__(self, vocab_size: int, dim: int, counters: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(vocab_size, counters))  # theta / GAIN
        self.directions = nn.Parameter(torch.randn(counters, dim) * 0.5)  # U

    def steps(self) -> Tensor:
        """w, (vocab_size, counters)."""
        theta = GAIN * self.weight[1:]
        moved = torch.sigmoid(SHARPNESS * (theta - 1)) - torch.sigmoid(SHARPNESS * (-theta - 1))
        return torch.cat([torch.zeros_like(moved[:1]), moved])

    def count(self, ids: Tensor, before: Tensor | None = None) -> Tensor:
        """c at every token of ids (batch, n), (batch, n, counters); `before` is c at the token before them."""
        counts = self.steps()[ids].cumsum(1)
        return counts if before is None else counts + before[:, None]

    def forward(self, counts: Tensor) -> Tensor:
        """U c, (batch, n, counters) to (batch, n, dim)."""
        return counts @ self.directions
