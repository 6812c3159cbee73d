"""Astromorphic attention: the short-term (STP) computation of a tripartite synapse, linear in the segment."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from astro_sim.errors import InputError
from rmaat_bridge.kernel import AstrocyticKernel

SMALLEST_ACTIVITY = 1e-6  # g^alpha has an unbounded gradient at 0; C of saturated queries is 0
CHUNK = 64  # places that the causal form handles as one small dense product


def feature_map(x: Tensor) -> Tensor:
    """phi(x) = elu(x) + 1, the positive feature map of linear attention."""
    return F.elu(x) + 1


class SplitHeads(torch.autograd.Function):
    """phi(Q), phi(K) and V, each (batch, heads, n, head_dim), from one projection (batch, n, 3 dim).

    One pass puts the heads apart and one brings their gradients together; of the features only phi is kept,
    since phi'(x) = min(phi(x), 1).
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        parts = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).contiguous()
        F.elu_(parts[:2]).add_(1)
        q, k, v = parts.unbind(0)
        ctx.save_for_backward(q, k)
        return q, k, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor, None]:
        batch, heads, n, head_dim = dq.shape
        gradient = dq.new_empty(batch, n, 3, heads, head_dim)
        parts = gradient.permute(2, 0, 3, 1, 4)
        for part, phi, d in zip(parts, ctx.saved_tensors, (dq, dk), strict=False):
            part.copy_(phi.clamp(max=1).mul_(d))  # a product written right into its place takes three times as long
        parts[2].copy_(dv)
        return gradient.flatten(2), None


class SynapticState(NamedTuple):
    """What the causal form carries from one piece of a segment to the next; its size is constant."""

    weights: Tensor  # sum of (phi(k) + phi(r)) v^T, (batch, heads, head_dim, head_dim)
    activity: Tensor  # sum of phi(k), (batch, heads, 1, head_dim), float32 at least
    place: int  # number of places seen


class AstromorphicAttention(nn.Module):
    r"""Multi-head attention that writes to a synaptic matrix and reads it through an astrocyte.

    For one head and one segment of N places, with phi = elu + 1::

        write   H = (phi(K) + phi(R))^T V / (w m)     neuronal and astrocytic Hebbian weights
                g = (sum_t phi(k_t) / m)^alpha        presynaptic plasticity
        read    C = phi(Q) g^T,  P = 1 / C
                L = diag(P) phi(Q) H + X
        with    R = M^T (M r M^T),  r_ij = exp(-|i - j| scale)

    M (head_dim, N) is learned, r is the fitted astrocytic kernel. m is the constant `write_places`, and w the number
    of `writers` at the start, 2 with R and 1 without or where R is silent: with them the read of n places is
    (n / m)^(1 - alpha) of the size of V, and alpha = 1 without R is ordinary linear attention. In the causal form the
    sums of a place's H and g end with that place.

    Parameters
    ----------
    dim, heads : int
        Width of the model and number of heads; `heads` divides `dim`.
    alpha : float, nn.Module or None
        Exponent of g, above 0, or g itself (a `PresynapticResponse`); None leaves P out: L = phi(Q) H + X.
    places : int
        N of a full segment; a shorter segment reads the first rows of R.
    kernel : AstrocyticKernel or None
        r; None leaves H_astro out.
    learn_alpha : bool
        Train the exponent, one a head, through its logarithm.
    causal : bool
        Let a place see itself and the places before it only.
    silent : bool
        Start M negative in place of both signs: with the packaged kernel phi(R) begins at about 0.05 in place of 1,
        and H_astro is next to nothing until it is learned.
    write_places : int
        m; 0: `places`.

    Raises
    ------
    InputError
        If `heads` does not divide `dim`, or `alpha` is none of the above.

    Source: Mia, Bal, Sengupta, arXiv 2601.00426, and the astromorphic transformer, arXiv 2312.10925.
    """

    undecayed = ("log_alpha",)  # towards 0 it would go to alpha = 1
    astrocytic = ("astro_weight",)  # small entries, in their third power: one step of Adam moves R far

    def __init__(
        self,
        dim: int,
        heads: int,
        alpha: float | nn.Module | None = 0.25,
        *,
        places: int,
        kernel: AstrocyticKernel | None = None,
        learn_alpha: bool = False,
        causal: bool = False,
        silent: bool = False,
        write_places: int = 0,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise InputError("heads", heads, f"a divisor of dim = {dim}")
        self.heads, self.head_dim, self.places = heads, dim // heads, places
        self.write_places = write_places or places
        self.kernel, self.causal = kernel, causal
        self.writers = 1 if kernel is None or silent else 2
        self.presynaptic = alpha is not None
        self.response = alpha if isinstance(alpha, nn.Module) else None
        if self.presynaptic and self.response is None:
            if not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
                raise InputError("alpha", alpha, "a number above 0, a module or None")
            log_alpha = torch.full((heads, 1), float(alpha)).log()
            if learn_alpha:
                self.log_alpha = nn.Parameter(log_alpha)
            else:
                self.register_buffer("log_alpha", log_alpha)
        self.qkv = nn.Linear(dim, 3 * dim)
        if kernel is not None:
            m = torch.randn(heads, self.head_dim, places) * places ** (-1 / 3)
            self.astro_weight = nn.Parameter(-m.abs() * (2 / self.head_dim) ** (1 / 3) if silent else m)

    def astrocytic_table(self) -> Tensor | None:
        """phi(R), (heads, places, head_dim): depends on no input, so it is computed once a step."""
        if self.kernel is None:
            return None
        columns = self.astro_weight.flatten(0, 1).T  # (places, heads * head_dim)
        spread = (self.kernel @ columns).unflatten(1, (self.heads, -1)).permute(1, 0, 2)  # r M^T
        return feature_map(self.astro_weight.mT @ (self.astro_weight @ spread))

    def forward(self, x: Tensor, table: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Attend within a segment.

        Parameters
        ----------
        x : Tensor
            Inputs X, (batch, n, dim), n at most `places`.
        table : Tensor, optional
            `astrocytic_table()`, if the caller has computed it for several segments.
        mask : Tensor, optional
            True at the places that exist, (batch, n); the others write nothing.

        Returns
        -------
        Tensor
            L, (batch, n, dim).
        """
        if self.causal:
            return self.resume(x, None, table, mask)[0]
        q, k, v, write = self._project(x, table, mask, 0)
        read = q @ (write.mT @ v / (self.writers * self.write_places))
        if not self.presynaptic:
            return _add(x, read, None)
        g = self.presynaptic_plasticity(_existing(k, mask).sum(2, keepdim=True, dtype=_accumulator(k)))
        return _add(x, read, q @ g.to(q.dtype).mT)

    def resume(
        self, x: Tensor, state: SynapticState | None, table: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, SynapticState]:
        """The causal form on the next n places of a segment, one or many; O(n) in time.

        Within chunks of 64 places the masked dense product is taken, between chunks the running sum of
        (phi(k) + phi(r)) v^T.

        Parameters
        ----------
        x, table, mask
            As in `forward`.
        state : SynapticState, optional
            Of the places before; None at the start of a segment.
        """
        start = 0 if state is None else state.place
        n, chunk = x.shape[1], min(CHUNK, x.shape[1])
        q, k, v, write = self._project(x, table, mask, start)
        qs, writes, vs = (_chunks(t, chunk) for t in (q, write, v))  # (batch, heads, chunks, chunk, head_dim)
        written = (writes.mT @ vs).cumsum(2, dtype=_accumulator(v))
        carried = torch.zeros_like(written[:, :, 0]) if state is None else state.weights
        weights = torch.cat([carried.unsqueeze(2), written + carried.unsqueeze(2)], dim=2)
        read = qs @ weights[:, :, :-1].to(q.dtype) + (qs @ writes.mT).tril() @ vs
        read = read.flatten(2, 3)[:, :, :n] / (self.writers * self.write_places)
        activity = _existing(k, mask).cumsum(2, dtype=_accumulator(k))
        if state is not None:
            activity = activity + state.activity
        after = SynapticState(weights[:, :, -1], activity[:, :, -1:], start + n)
        c = (q * self.presynaptic_plasticity(activity).to(q.dtype)).sum(-1, keepdim=True) if self.presynaptic else None
        return _add(x, read, c), after

    def presynaptic_plasticity(self, activity: Tensor) -> Tensor:
        """g of sums of phi(k), (batch, heads, n, head_dim)."""
        activity = activity / self.write_places
        if self.response is not None:
            return self.response(activity)
        return activity.clamp_min(SMALLEST_ACTIVITY).pow(self.log_alpha.exp().unsqueeze(-1))

    def _project(
        self, x: Tensor, table: Tensor | None, mask: Tensor | None, start: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """phi(Q), phi(K), V and phi(K) + phi(R), each (batch, heads, n, head_dim); V is 0 where masked."""
        q, k, v = SplitHeads.apply(self.qkv(x), self.heads)
        v = _existing(v, mask)
        table = self.astrocytic_table() if table is None else table
        return q, k, v, k if table is None else k + table[:, start : start + x.shape[1]].to(k.dtype)


def _existing(x: Tensor, mask: Tensor | None) -> Tensor:
    """(batch, heads, n, head_dim) with zeros at the places that do not exist."""
    return x if mask is None else x * mask[:, None, :, None]


def _add(x: Tensor, read: Tensor, c: Tensor | None) -> Tensor:
    """X + read / C, with the heads (batch, heads, n, head_dim) side by side again."""
    apart, read = x.unflatten(-1, (read.shape[1], -1)), read.transpose(1, 2)
    if c is None:
        return (apart + read).flatten(2)
    return torch.addcdiv(apart, read, c.transpose(1, 2).clamp_min(SMALLEST_ACTIVITY)).flatten(2)


def _accumulator(x: Tensor) -> torch.dtype:
    """The type in which sums over places are kept: float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)


def _chunks(x: Tensor, size: int) -> Tensor:
    """(..., n, d) to (..., chunks, size, d), zeros at the end."""
    return F.pad(x, (0, 0, 0, -x.shape[-2] % size)).unflatten(-2, (-1, size))
