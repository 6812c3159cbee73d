"""Normalisation of the trace that a classifier reads, for each number of segments by itself."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LONGEST = 32
MOMENTUM = 0.1


class SegmentwiseBatchNorm(nn.Module):
    """Centre and scale traces by the statistics of traces of as many segments.

    The trace of a long sequence differs from that of a short one, and batches hold sequences of similar length: what
    training normalises by is not the mean over all lengths that batch normalisation would evaluate by. So the running
    statistics are kept for each number of segments T. Training uses those of the batch and moves the T that occur in
    it, by ``1 - 0.9^share`` of its samples; T that have not occurred yet follow every batch.

    Parameters
    ----------
    features : int
        Entries of a trace.

    Source: batch normalisation, arXiv 1502.03167; statistics by condition as in arXiv 1707.00683.
    """

    mean: Tensor
    variance: Tensor
    seen: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.register_buffer("mean", torch.zeros(LONGEST, features))
        self.register_buffer("variance", torch.ones(LONGEST, features))
        self.register_buffer("seen", torch.zeros(LONGEST))  # samples; real, to be averaged with the weights

    def forward(self, trace: Tensor, segments: Tensor, batch_statistics: bool = False) -> Tensor:
        """Normalise.

        Parameters
        ----------
        trace : Tensor
            (batch, features).
        segments : Tensor of int64
            T of each sample, (batch,); above 32 as 32.
        batch_statistics : bool
            Normalise by the batch, of two samples or more, and learn from it.
        """
        row = segments.clamp(max=LONGEST) - 1
        if batch_statistics:
            self._learn(trace.detach(), row)
            return F.batch_norm(trace, None, None, training=True, eps=self.eps)
        return (trace - self.mean[row]) * torch.rsqrt(self.variance[row] + self.eps)

    @torch.no_grad()
    def _learn(self, trace: Tensor, row: Tensor) -> None:
        counts = torch.bincount(row, minlength=LONGEST).to(self.seen)
        share = torch.where(self.seen + counts > 0, counts / len(row), 1.0)
        rate = (1 - (1 - MOMENTUM) ** share)[:, None]
        rate[(self.seen == 0) & (counts > 0)] = 1.0
        variance, mean = torch.var_mean(trace.to(self.mean), 0)
        self.mean.lerp_(mean.expand_as(self.mean), rate)
        self.variance.lerp_(variance.expand_as(self.variance), rate)
        self.seen += counts
