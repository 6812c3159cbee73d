"""Scores of a model on a set of sequences."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import Metric, SumMetric

from astro_sim.errors import InputError
from rmaat.causal_lm import RMAATForCausalLM
from rmaat.data.sequences import Sequences
from rmaat.evaluating import evaluating
from rmaat.heads import trace

STATISTICS_FROM = 1024  # training examples


class Score(NamedTuple):
    """Of one batch: mean loss (nats), share that is right, and the number of predictions that they are of."""

    loss: Tensor
    accuracy: Tensor
    weight: Tensor | int


class TotalScore(NamedTuple):
    """Of a set of sequences: mean loss (nats), share that is right, number of predictions, one an example or a token.

    Tokens of one sequence are no independent draws: their `standard_error` is a lower bound.
    """

    loss: float
    accuracy: float
    predictions: int

    @property
    def standard_error(self) -> float:
        """Binomial standard error of the accuracy."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.predictions)


class WeightedMean(Metric):
    """Mean over predictions, of batches that hold different numbers of them; a value that is not finite shows.

    torchmetrics' own MeanMetric leaves the weights out where it is told to leave NaN in (1.9).
    """

    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "weight"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum", persistent=True)

    def update(self, value: Tensor, weight: Tensor | int = 1) -> None:
        """Add the mean `value` of `weight` predictions."""
        self.total += value.double() * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """The mean so far."""
        return self.total / self.weight


def to_tensors(
    data: Sequences, indices: NDArray[np.int64], max_length: int | None, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """One batch on `device`: ids (batch, longest), lengths (batch,), labels (batch,).

    Of pairs, ids are (batch, 2, longest) and lengths (batch, 2).
    """
    ids, lengths = data.padded(indices, max_length)
    if data.parts > 1:
        ids, lengths = ids.reshape(-1, data.parts, ids.shape[1]), lengths.reshape(-1, data.parts)
    batch = ids, lengths, np.asarray(data.labels[indices])
    first, second, third = (torch.from_numpy(array).to(device, non_blocking=True) for array in batch)
    return first, second, third


def scored(model: nn.Module, ids: Tensor, lengths: Tensor, labels: Tensor, smoothing: float = 0.0) -> Score:
    """How well a model tells a batch's labels; a language model the next ids, a masked one what was hidden.

    Parameters
    ----------
    ids : Tensor of int64
        (batch, length), of pairs (batch, 2, length).
    lengths : Tensor of int64
        Tokens that are not padding, (batch,) or (batch, 2).
    labels : Tensor of int64
        (batch,); a model of tokens does not read them.
    smoothing : float
        Of the labels: tokens a model scores itself, segment by segment.
    """
    tells_tokens = isinstance(getattr(model, "module", model), RMAATForCausalLM)  # `module` of a wrapped one
    output: Any = model(ids, lengths, ids) if tells_tokens else model(ids, lengths)
    if output.loss is not None:  # a model of tokens has scored itself
        return Score(output.loss, output.right / output.count.clamp_min(1), output.count)
    loss = cross_entropy(output.logits.float(), labels, label_smoothing=smoothing)
    return Score(loss, output.logits.argmax(-1).eq(labels).float().mean(), len(labels))


@torch.no_grad()
def evaluate(model: nn.Module, data: Sequences, batch_size: int, max_length: int | None, fabric: Fabric) -> TotalScore:
    """Score `model` on all of `data`, in evaluation mode.

    Batches hold examples of similar length; with several processes each takes its share of them.

    Parameters
    ----------
    max_length : int or None
        Tokens after which examples are cut.
    fabric : Fabric
        A launched one: its device, its precision, its processes.

    Raises
    ------
    InputError
        If there is nothing to tell: no next token in any example, or none hidden.
    """
    count = SumMetric().set_dtype(torch.float64).to(fabric.device)
    loss_mean, accuracy = WeightedMean().to(fabric.device), WeightedMean().to(fabric.device)
    order = np.argsort(data.lengths, kind="stable")[fabric.global_rank :: fabric.world_size]
    with evaluating(model), fabric.autocast():
        for start in range(0, len(order), batch_size):
            ids, lengths, labels = to_tensors(data, order[start : start + batch_size], max_length, fabric.device)
            score = scored(model, ids, lengths, labels)
            loss_mean.update(score.loss, score.weight)
            accuracy.update(score.accuracy, score.weight)
            count.update(score.weight)
    predictions = int(count.compute().item())
    if predictions == 0:
        raise nothing_to_tell(f"{len(data)} examples")
    return TotalScore(loss_mean.compute().item(), accuracy.compute().item(), predictions)


def nothing_to_tell(examples: str) -> InputError:
    """The refusal of examples that hold no prediction to score."""
    allowed = "some with a token to tell, next or hidden (longer ones, or a larger mask_share)"
    return InputError("data", examples, allowed)


@torch.no_grad()
def renew_trace_statistics(
    model: nn.Module, data: Sequences, batch_size: int, max_length: int | None, fabric: Fabric
) -> None:
    """Fit the statistics of a model's trace to its weights, on training examples; see `TraceNorm`.

    Running means are of earlier weights, and those of averaged weights of others still. The trace hardly differs
    between samples, so that a small shift of it hides all that does. A model without `trace_norm` is left alone.

    Parameters
    ----------
    data : Sequences
        The training examples; `STATISTICS_FROM` of them, drawn at random and always the same, are read, so that the
        curve over the length sees all lengths.
    batch_size : int
        Examples that are read at once.
    max_length : int or None
        Tokens after which examples are cut.
    fabric : Fabric
        Its device and its precision.
    """
    norm: Any = getattr(model, "trace_norm", None)
    if norm is None:
        return
    some = np.random.default_rng(0).permutation(len(data))[:STATISTICS_FROM]
    some, found = some[np.argsort(data.lengths[some], kind="stable")], []
    with evaluating(model), fabric.autocast():
        for start in range(0, len(some), batch_size):
            ids, lengths, _ = to_tensors(data, some[start : start + batch_size], max_length, fabric.device)
            ids, lengths = ids.flatten(0, -2), lengths.flatten()  # the documents of pairs one below the other
            found.append((trace(cast(Any, model).model, ids, lengths), lengths))
    norm.fit(*map(torch.cat, zip(*found, strict=True)))
