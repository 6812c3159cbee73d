"""Softmax attention in the place of the astromorphic one."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeyValues(NamedTuple):
    """Keys and values of the places seen, each (batch, heads, places, head_dim)."""

    keys: Tensor
    values: Tensor


class SoftmaxAttention(nn.Module):
    """L = softmax(Q K^T / sqrt(head_dim)) V + X, through PyTorch's fused kernel; O(n^2) in time.

    Parameters
    ----------
    dim, heads : int
        Width of the model and number of heads.
    causal : bool
        Let a place see itself and the places before it only.

    Source: Vaswani et al., arXiv 1706.03762; with memory tokens, Bulatov et al., arXiv 2207.06881.
    """

    def __init__(self, dim: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(dim, 3 * dim)

    def astrocytic_table(self) -> None:
        """There is no astrocyte."""

    def forward(self, x: Tensor, table: None = None, mask: Tensor | None = None) -> Tensor:
        """(batch, n, dim) to the same; `mask` (batch, n) is True at the places that exist."""
        q, k, v = self._project(x)
        if mask is not None:
            mask = mask[:, None, None, :]
            if self.causal:
                mask = mask & torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        read = F.scaled_dot_product_attention(q, k, v, mask, is_causal=self.causal and mask is None)
        return x + read.transpose(1, 2).flatten(2)

    def resume(self, x: Tensor, state: KeyValues | None, table: None = None) -> tuple[Tensor, KeyValues]:
        """The causal form on the next n places of a segment."""
        q, k, v = self._project(x)
        if state is not None:
            k, v = torch.cat([state.keys, k], dim=2), torch.cat([state.values, v], dim=2)
        n, seen = x.shape[1], k.shape[2]
        mask = torch.ones(n, seen, dtype=torch.bool, device=x.device).tril(seen - n)
        read = F.scaled_dot_product_attention(q, k, v, mask)
        return x + read.transpose(1, 2).flatten(2), KeyValues(k, v)

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
