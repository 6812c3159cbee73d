"""Long-term (LTP) memory: how much of what a segment leaves behind enters the next one."""

import torch
from torch import Tensor, nn

from rmaat_bridge import RetentionSchedule


class Memory(nn.Module):
    """M persistent memory tokens and the retention factor that scales them from segment to segment.

    mem_{t+1} = RF(t, T) mem'_{t+1}

    where mem' is what the stack leaves at the memory's places and T is the sample's own number of segments.
    The factor is applied as the memory enters segment t + 1, so that the state after the last segment is
    mem' itself, a layer norm's output whose size does not depend on T. There is no normalisation between the
    scaling and the first layer's keys and values: it would undo the factor.

    Parameters
    ----------
    tokens, dim : int
        M and the width of the model; M may be 0.
    schedule : RetentionSchedule or None
        RF; None keeps the memory unscaled.

    Source: Mia, Bal, Sengupta, arXiv 2601.00426.
    """

    def __init__(self, tokens: int, dim: int, schedule: RetentionSchedule | None) -> None:
        super().__init__()
        self.initial = nn.Parameter(torch.randn(tokens, dim))
        self.identity = nn.Parameter(torch.randn(tokens, dim) * 0.1)
        self.schedule = schedule

    def shares(self, segments: Tensor, longest: int) -> Tensor:
        """RF(t, T) of each sample and segment, (longest, batch); 0 after a sample's last segment.

        Every column sums to 1. Without a schedule the shares are equal.

        Parameters
        ----------
        segments : Tensor of int64
            Number of segments of each sample, T, (batch,), in 1 .. longest.
        longest : int
            Number of segments of the batch.
        """
        if self.schedule is not None:
            return self.schedule.table(longest)[segments - 1].T.to(self.initial)
        step = torch.arange(longest, device=segments.device)[:, None]
        return (step < segments).to(self.initial) / segments

    def factors(self, shares: Tensor) -> Tensor:
        """Scale of the memory that enters each segment, (longest, batch): RF(t - 1, T), 1 for the first."""
        ones = torch.ones_like(shares)
        return ones if self.schedule is None else torch.cat([ones[:1], shares[:-1]])
