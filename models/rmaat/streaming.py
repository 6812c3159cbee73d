"""Reading without an end: one segment at a time, at constant memory, of unknown number."""

from collections.abc import Callable

import torch
from torch import Tensor

from astro_sim.errors import InputError
from rmaat.evaluating import evaluating
from rmaat.model import RMAATModel


class Stream:
    """What a model knows after the segments read so far; its size does not grow.

    Outputs equal those of one pass over the whole sequence with `streaming=True` in the configuration.
    Dropout is off and no gradients are kept.

    Parameters
    ----------
    model : RMAATModel
        In whatever mode; the stream evaluates it.
    batch : int
        Sequences read side by side.
    head : callable, optional
        Maps the trace (batch, 2 * dim) and the number of tokens read (batch,) to what `feed` returns; None returns
        the tokens' features.

    Attributes
    ----------
    memory : Tensor
        mem', (batch, memory_tokens, dim).
    trace : Tensor
        Summary of all segments so far, (batch, 2 * dim).
    segments : int
        Number of segments read.
    """

    def __init__(
        self, model: RMAATModel, batch: int = 1, head: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> None:
        self.model, self.head = model, head
        with torch.no_grad():
            self._tables = model.tables()
        self.memory = model.memory.initial.detach().expand(batch, -1, -1)
        self.trace = self.memory.new_zeros(batch, 2 * model.config.dim)
        self.segments, self._tokens, self._closed = 0, 0, False
        self._before: Tensor | None = None  # the tokens that a causal stem sees before the next segment

    @torch.no_grad()
    def feed(self, segment: Tensor) -> Tensor:
        """Read the next segment.

        Parameters
        ----------
        segment : Tensor
            Token ids (batch, n) or features (batch, n, input_dim); n is `segment_length`, only the last
            segment of a stream may be shorter.

        Returns
        -------
        Tensor
            The head's output on everything read so far, or the features of this segment's tokens.

        Raises
        ------
        InputError
            If the segment is of another batch, too long, or comes after a shorter one, which ends a stream.
        """
        self.model.check(segment)
        if len(segment) != len(self.memory):
            raise InputError("segment", tuple(segment.shape), f"a batch of {len(self.memory)}")
        size = self.model.config.segment_length
        if self._closed or not 1 <= segment.shape[1] <= size:
            allowed = f"{size} tokens in each segment but the last, which has from 1 to {size}"
            raise InputError("segment", tuple(segment.shape), allowed)
        self._closed = segment.shape[1] < size
        memory = self.model.memory
        factor = memory.streaming_factor(self.segments) if self.segments else torch.ones(())
        with evaluating(self.model):
            self.memory, features = self.model.step(
                self.memory,
                factor.to(self.memory).expand(len(segment)),
                segment,
                None,
                *self._tables,
                before=self._before,
            )
        if self.model.reach:
            seen = segment if self._before is None else torch.cat([self._before, segment], dim=1)
            self._before = seen[:, -self.model.reach :]
        self.segments += 1
        self._tokens += segment.shape[1]
        share = memory.share(self.segments)
        self.trace = torch.lerp(self.trace, summary(self.memory, features, None), share)
        if self.head is None:
            return features
        return self.head(self.trace, torch.full(segment.shape[:1], self._tokens, device=segment.device))


def summary(memory: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
    """y_t: mean of a segment's tokens that exist and mean of the memory it leaves, (batch, 2 * dim)."""
    if mask is None:
        tokens = features.mean(1)
    else:
        weights = mask.to(features).unsqueeze(1)
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 would round away what tells samples apart
            tokens = (weights @ features).squeeze(1) / weights.sum(-1).clamp_min(1)
    return torch.cat([tokens, memory.mean(1) if memory.shape[1] else tokens], dim=-1)
