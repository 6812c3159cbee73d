"""Long-term (LTP) memory: how much of what a segment leaves behind is kept."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rmaat.control_schedule import ControlSchedule
from rmaat_bridge.schedule import RetentionSchedule

EPSILON = torch.finfo(torch.float64).eps


class Memory(nn.Module):
    """M persistent memory tokens and the retention factors that scale what each segment leaves.

    mem_{t+1} = RF(t, T) mem'_{t+1},  trace = (1/T) sum_t y_t,  or with `retained_trace`  sum_t RF(t, T) y_t

    where mem' is what the stack leaves at the memory's places, y_t a segment's summary and T the sample's own
    number of segments. The factor is applied as the memory enters segment t + 1, so that the state after the
    last segment is mem' itself, a layer norm's output whose size does not depend on T. By default nothing
    normalises between the scaling and the first layer's keys and values; a layer norm there (`norm_after`)
    undoes the factor.

    Where T is unknown (`streaming`), the factor s_t is the share that segment t has in the retained trace of t
    segments, and the older part of that trace shrinks by the rest:
    mem_{t+1} = s_t mem'_{t+1},  trace_t = (1 - s_t) trace_{t-1} + s_t y_t,  with 1/t for s_t in a plain mean.

    Parameters
    ----------
    tokens, dim : int
        M and the width of the model; M may be 0.
    schedule : RetentionSchedule, ControlSchedule or None
        RF; None keeps the memory unscaled and the trace a plain mean.
    retained_trace : bool
        Weigh the segments of the trace by RF.
    streaming : bool
        Use the factors of unknown T.
    write_back : bool
        The memory is read in front of a segment and written behind it (causal models), so that the two
        sets of places need an identity each.
    norm_after : bool
        Normalise the memory once more after the factor.

    Source: Mia, Bal, Sengupta, arXiv 2601.00426.
    """

    def __init__(
        self,
        tokens: int,
        dim: int,
        schedule: RetentionSchedule | ControlSchedule | None,
        retained_trace: bool = False,
        streaming: bool = False,
        write_back: bool = False,
        norm_after: bool = False,
    ) -> None:
        super().__init__()
        self.initial = nn.Parameter(torch.randn(tokens, dim))
        self.identity = nn.Parameter(torch.randn(tokens, dim) * 0.1)
        self.write_identity = nn.Parameter(torch.randn(tokens, dim) * 0.1) if write_back else None
        self.schedule, self.streaming, self.norm_after = schedule, streaming, norm_after
        self.retained_trace = retained_trace

    def enter(self, memory: Tensor, factor: Tensor) -> Tensor:
        """What the next segment reads of mem' (batch, tokens, dim); `factor` broadcasts against it."""
        scaled = memory * factor
        return F.layer_norm(scaled, scaled.shape[-1:]) if self.norm_after else scaled

    def streaming_factor(self, t: int) -> Tensor:
        """s_t, the scale of what segment `t` >= 1 leaves where T is unknown, a scalar."""
        return self.initial.new_ones(()) if self.schedule is None else self.schedule.streaming(t).to(self.initial)

    def share(self, t: int) -> Tensor:
        """Share of segment `t` >= 1 in the trace after it, a scalar."""
        retained = self.retained_trace and self.schedule is not None
        return self.streaming_factor(t) if retained else self.initial.new_full((), 1 / t)

    def shares(self, segments: Tensor, longest: int) -> Tensor:
        """Share of each segment in a sample's final trace, (longest, batch); 0 after its last segment.

        Every column sums to 1: 1 / T, and in a retained trace RF(t, T), or what streaming leaves of s_t.

        Parameters
        ----------
        segments : Tensor of int64
            Number of segments of each sample, T, (batch,), in 1 .. longest.
        longest : int
            Number of segments of the batch.
        """
        if self.schedule is None or not self.retained_trace or self.streaming:
            share = torch.stack([self.share(t) for t in range(1, longest + 1)]).double()
            rest = torch.log1p((-share[1:]).clamp(min=EPSILON - 1))  # a share of 1 leaves next to nothing, not log 0
            kept = torch.cat([share.new_zeros(1), rest]).cumsum(0)  # of the trace, log
            table = torch.tril(share * torch.exp((kept[:, None] - kept).clamp(max=0)))  # row T - 1
        else:
            table = self.schedule.table(longest)
        return table.to(segments.device)[segments - 1].T.to(self.initial)

    def factors(self, segments: Tensor, longest: int) -> Tensor:
        """Scale of the memory that enters each segment, (longest, batch): RF(t - 1, T), 1 for the first.

        `segments` and `longest` as in `shares`.
        """
        ones = self.initial.new_ones(longest, len(segments))
        if self.schedule is None:
            return ones
        if self.streaming:
            left = torch.stack([self.streaming_factor(t) for t in range(1, longest + 1)])[:, None].expand_as(ones)
        else:
            left = self.schedule.table(longest).to(segments.device)[segments - 1].T.to(ones)
        return torch.cat([ones[:1], left[:-1]])
