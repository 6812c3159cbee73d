"""Astromorphic attention: the short-term (STP) computation of a tripartite synapse, linear in the segment."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rmaat_bridge import AstrocyticKernel

SMALLEST_ACTIVITY = 1e-6  # g^alpha has an unbounded gradient at 0


def feature_map(x: Tensor) -> Tensor:
    """phi(x) = elu(x) + 1, the positive feature map of linear attention."""
    return F.elu(x) + 1


class AstromorphicAttention(nn.Module):
    r"""Multi-head attention that writes to a synaptic matrix and reads it through an astrocyte.

    For one head and one segment of N places, with phi = elu + 1::

        write   H = (phi(K) + phi(R))^T V / m         neuronal and astrocytic Hebbian weights
                g = (sum_t phi(k_t) / m)^alpha        presynaptic plasticity
        read    C = phi(Q) g^T,  P = 1 / C
                L = diag(P) phi(Q) H + X
        with    R = M^T (M r M^T),  r_ij = exp(-|i - j| scale)

    M (head_dim, N) is learned, r is the fitted astrocytic kernel. m is the constant `places`: with it the
    output is of the size of V whatever alpha is, and alpha = 1 without R is ordinary linear attention.

    Parameters
    ----------
    dim, heads : int
        Width of the model and number of heads; `heads` divides `dim`.
    places : int
        N of a full segment; shorter segments read the first rows of R.
    kernel : AstrocyticKernel or None
        r; None leaves H_astro out.
    alpha : float or None
        Exponent of g, 0 < alpha; None leaves P out (L = phi(Q) H + X).
    learn_alpha : bool
        Make alpha a parameter (one a head, kept positive by its exponential form).

    Source: Mia, Bal, Sengupta, arXiv 2601.00426, and the astromorphic transformer, arXiv 2312.10925.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        places: int,
        kernel: AstrocyticKernel | None = None,
        alpha: float | None = 0.25,
        learn_alpha: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.head_dim, self.places, self.kernel = heads, dim // heads, places, kernel
        self.qkv = nn.Linear(dim, 3 * dim)
        if kernel is not None:
            self.astro_weight = nn.Parameter(torch.randn(heads, self.head_dim, places) * places ** (-1 / 3))
        self.presynaptic = alpha is not None
        if alpha is not None:
            log_alpha = torch.full((heads, 1), alpha).log()
            if learn_alpha:
                self.log_alpha = nn.Parameter(log_alpha)
            else:
                self.register_buffer("log_alpha", log_alpha)

    def astrocytic_table(self) -> Tensor | None:
        """phi(R), (heads, places, head_dim): depends on no input, so it is computed once a step."""
        if self.kernel is None:
            return None
        columns = self.astro_weight.flatten(0, 1).T  # (places, heads * head_dim)
        spread = self.kernel.apply(columns).unflatten(1, (self.heads, -1)).permute(1, 0, 2)  # r M^T
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
        table = self.astrocytic_table() if table is None else table
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = feature_map(q), feature_map(k)  # (batch, heads, n, head_dim)
        if mask is not None:
            seen = mask[:, None, :, None].to(x.dtype)
            k, v = k * seen, v * seen
        weights = (k if table is None else k + table[:, : k.shape[2]]).mT
        read = q @ (weights @ v / self.places)
        if self.presynaptic:
            activity = k.sum(2, dtype=torch.float32) / self.places
            g = activity.clamp_min(SMALLEST_ACTIVITY).pow(self.log_alpha.exp()).to(q.dtype)
            read = read / (q @ g.unsqueeze(-1))
        return x + read.transpose(1, 2).flatten(2)
