"""A diagonal state-space layer in the place of attention."""

import math

import torch
from torch import Tensor, nn


class DiagonalSSM(nn.Module):
    """One linear system of complex diagonal states a channel, read as a convolution.

    h_t = exp(A dt) h_{t-1} + (exp(A dt) - 1) / A x_t,  y_t = 2 Re(C h_t) + D x_t,  L = y + X

    with A = -exp(a) + i w, started at -1/2 + i pi n (S4D-Lin), and dt log-uniform in 0.001 .. 0.1. The
    bidirectional form adds a second system that runs backwards. O(n log n) in time by the FFT.

    Parameters
    ----------
    dim : int
        Number of channels.
    states : int
        Complex states of one channel and direction.
    causal : bool
        Leave the backward system out.

    Source: Gu et al. 2022 (arXiv 2206.11893).
    """

    undecayed = ("log_dt", "log_decay", "frequency")  # towards 0 they would go to other dynamics

    def __init__(self, dim: int, states: int = 16, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        directions = 1 if causal else 2
        shape = (directions, dim, states)
        log_dt = torch.rand(directions, dim, 1) * math.log(100) + math.log(1e-3)
        self.log_dt = nn.Parameter(log_dt)
        self.log_decay = nn.Parameter(torch.full(shape, 0.5).log())
        self.frequency = nn.Parameter(math.pi * torch.arange(states).expand(shape).clone().float())
        self.output = nn.Parameter(torch.randn(*shape, 2) / math.sqrt(2 * states))
        self.skip = nn.Parameter(torch.randn(dim))

    def astrocytic_table(self) -> None:
        """There is no astrocyte."""

    def discrete(self) -> tuple[Tensor, Tensor]:
        """exp(A dt) and C (exp(A dt) - 1) / A, each (directions, dim, states), complex of float32 at least."""
        wide = torch.promote_types(self.log_dt.dtype, torch.float32)
        decay, frequency, dt = self.log_decay.to(wide).exp(), self.frequency.to(wide), self.log_dt.to(wide).exp()
        a = torch.complex(-decay, frequency)
        turn = torch.exp(a * dt)
        return turn, torch.view_as_complex(self.output.to(wide)) * (turn - 1) / a

    def kernel(self, n: int) -> Tensor:
        """Response of y to one impulse, (directions, dim, n)."""
        turn, gain = self.discrete()
        powers = torch.exp(turn.log().unsqueeze(-1) * torch.arange(n, device=turn.device))
        return 2 * torch.einsum("zds,zdsn->zdn", gain, powers).real

    def forward(self, x: Tensor, table: None = None, mask: Tensor | None = None) -> Tensor:
        """(batch, n, dim) to the same; `mask` (batch, n) is True at the places that exist."""
        n = x.shape[1]
        u = (x if mask is None else x * mask.unsqueeze(-1)).mT.to(torch.promote_types(x.dtype, torch.float32))
        kernel = self.kernel(n)
        spectrum = torch.fft.rfft(kernel[0], n=2 * n)
        if not self.causal:
            spectrum = spectrum + torch.fft.rfft(kernel[1], n=2 * n).conj()
        y = torch.fft.irfft(torch.fft.rfft(u, n=2 * n) * spectrum, n=2 * n)[..., :n]
        return x + y.mT.to(x.dtype) + self.skip * x

    def resume(self, x: Tensor, state: Tensor | None, table: None = None) -> tuple[Tensor, Tensor]:
        """The causal form on the next n places of a segment, one after the other; the state is h."""
        turn, gain = (part[0] for part in self.discrete())
        h = torch.zeros(x.shape[0], *turn.shape, dtype=turn.dtype, device=x.device) if state is None else state
        out = []
        for u in x.unbind(1):
            h = turn * h + u.unsqueeze(-1)
            out.append(2 * (gain * h).sum(-1).real)
        y = torch.stack(out, dim=1).to(x.dtype)
        return x + y + self.skip * x, h
