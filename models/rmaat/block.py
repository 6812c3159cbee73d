"""One layer: attention and a feed-forward network, each followed by a layer norm."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """The astromorphic transformer's block.

    Y = LN(L),  out = LN(FFN(Y) + Y),  FFN(Y) = W_2 relu(W_1 Y),  where L is the mixer's output plus X.

    Parameters
    ----------
    mixer : nn.Module
        Maps (batch, n, dim) to the same shape, residual included.
    dim, ffn_dim : int
        Width of the model and of the hidden layer.
    dropout : float
        Probability of dropping an entry of FFN(Y), in training only.
    """

    def __init__(self, mixer: nn.Module, dim: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention: Any = mixer
        self.attention_norm = nn.LayerNorm(dim)
        self.ffn_in = nn.Linear(dim, ffn_dim)
        self.ffn_out = nn.Linear(ffn_dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.dropout = dropout

    def forward(self, x: Tensor, table: Tensor | None, mask: Tensor | None) -> Tensor:
        """(batch, n, dim) to (batch, n, dim); see `AstromorphicAttention.forward` for `table` and `mask`."""
        return self._feed_forward(self.attention(x, table, mask))

    def resume(self, x: Tensor, state: Any, table: Tensor | None) -> tuple[Tensor, Any]:
        """The causal form on the next places of a segment; `state` is the mixer's, None at the start."""
        mixed, state = self.attention.resume(x, state, table)
        return self._feed_forward(mixed), state

    def _feed_forward(self, mixed: Tensor) -> Tensor:
        y = self.attention_norm(mixed)
        hidden = self.ffn_out(F.relu(self.ffn_in(y)))
        return self.ffn_norm(F.dropout(hidden, self.dropout, self.training) + y)
