"""The equations once more, quadratic and obvious: what the fast forms are tested against."""

import torch
import torch.nn.functional as F
from torch import Tensor

from rmaat.attention import SMALLEST_ACTIVITY, AstromorphicAttention


def dense_attention(attention: AstromorphicAttention, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """L of one segment, every (reader, writer) pair formed: `AstromorphicAttention.forward` in O(n^2).

    L_t = sum_s A_ts v_s / (w m C_t) + x_t,  A_ts = phi(q_t) . (phi(k_s) + phi(r_s)),
    C_t = phi(q_t) . g(sum_s phi(k_s) / m), with s over the places that exist and, if causal, s <= t; w writers
    and m of `write_places`.

    Parameters
    ----------
    attention : AstromorphicAttention
        Whose weights are taken.
    x : Tensor
        (batch, n, dim).
    mask : Tensor, optional
        True at the places that exist, (batch, n).
    """
    batch, n, _ = x.shape
    m = attention.write_places
    sees = torch.ones(batch, n, n, dtype=torch.bool) if mask is None else mask[:, None, :].expand(-1, n, -1)
    if attention.causal:
        sees = sees & torch.ones(n, n, dtype=torch.bool).tril()
    q, k, v = (part.unflatten(-1, (attention.heads, -1)) for part in attention.qkv(x).chunk(3, -1))
    read = []
    for head in range(attention.heads):
        phi_q, phi_k = F.elu(q[:, :, head]) + 1, F.elu(k[:, :, head]) + 1
        pairs = torch.einsum("btd,bsd->bts", phi_q, phi_k + _astrocytic_features(attention, head)[:n])
        activity = torch.einsum("bts,bsd->btd", sees.to(x), phi_k) / m
        summed = torch.einsum("bts,bsd->btd", pairs * sees, v[:, :, head]) / (attention.writers * m)
        if attention.presynaptic:
            c = (phi_q * _g(attention, head, activity)).sum(-1, keepdim=True)
            summed = summed / c.clamp_min(SMALLEST_ACTIVITY)
        read.append(summed)
    return x + torch.cat(read, -1)


def _astrocytic_features(attention: AstromorphicAttention, head: int) -> Tensor:
    """phi(R), R = M^T (M r M^T), of one head: (places, head_dim)."""
    if attention.kernel is None:
        return attention.qkv.weight.new_zeros(attention.places, attention.head_dim)
    m = attention.astro_weight[head]
    return F.elu(m.T @ (m @ attention.kernel(attention.places) @ m.T)) + 1


def _g(attention: AstromorphicAttention, head: int, activity: Tensor) -> Tensor:
    if attention.response is not None:
        return attention.response(activity)
    return activity.clamp_min(SMALLEST_ACTIVITY) ** attention.log_alpha[head].exp()
