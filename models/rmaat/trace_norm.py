"""Normalisation of the trace that a classifier reads, by statistics that follow the length of the sequence."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather


class TraceNorm(nn.BatchNorm1d):
    """Batch normalisation without weights, whose mean in evaluation is a curve over the length.

    In training each entry of the trace is centred and scaled by the statistics of its batch, in which sequences are
    of similar length; several processes take those of their joint batch. In evaluation by one variance and the mean

        mean(N) = running_mean + slopes[0] u + slopes[1] u^2,  u = ln(N / shortest) / ln(longest / shortest) in 0..1,

    which `fit` takes from traces of many lengths. Without it the slopes are 0, and this is batch normalisation.

    Parameters
    ----------
    width : int
        Entries of the trace.
    """

    running_mean: Tensor
    running_var: Tensor
    slopes: Tensor
    log_lengths: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False)
        self.register_buffer("slopes", torch.zeros(2, width))
        self.register_buffer("log_lengths", torch.zeros(2))  # of the shortest and the longest sequence

    def forward(self, trace: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        """(batch, width) of sequences of `lengths` (batch,) tokens; the same shape.

        A batch of one is normalised as in evaluation.
        """
        if not self.training or len(trace) == 1:
            return self.evaluated(trace, lengths)
        if not dist.is_initialized():
            return super().forward(trace)
        joint = torch.cat(list(all_gather(trace)))
        return super().forward(joint).tensor_split(dist.get_world_size())[dist.get_rank()]

    def evaluated(self, trace: Tensor, lengths: Tensor) -> Tensor:
        """What `forward` gives in evaluation, whatever the mode."""
        centred = trace.to(self.slopes.dtype) - self.drift(lengths)
        return F.batch_norm(centred, self.running_mean, self.running_var, eps=self.eps)

    def drift(self, lengths: Tensor) -> Tensor:
        """mean(N) less `running_mean`, (batch, width)."""
        with torch.autocast(self.slopes.device.type, enabled=False):  # bfloat16 would round away what centring leaves
            return self._powers(lengths)[:, 1:] @ self.slopes

    @torch.no_grad()
    def fit(self, traces: Tensor, lengths: Tensor) -> None:
        """Fit the curve, by least squares, and the variance to traces (samples, width) of `lengths` (samples,)."""
        shortest, longest = lengths.min(), lengths.max()
        self.log_lengths.copy_(torch.stack([shortest, longest]).to(self.log_lengths).log())
        powers, traces = self._powers(lengths).double().cpu(), traces.double().cpu()
        curve = torch.linalg.lstsq(powers, traces, driver="gelsd").solution
        self.running_mean.copy_(curve[0])
        self.slopes.copy_(curve[1:])
        self.running_var.copy_((traces - powers @ curve).var(0, correction=0))

    def _powers(self, lengths: Tensor) -> Tensor:
        """1, u and u^2, (batch, 3)."""
        low, high = self.log_lengths
        u = ((lengths.to(low).log() - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
        return torch.stack([torch.ones_like(u), u, u * u], dim=1)
