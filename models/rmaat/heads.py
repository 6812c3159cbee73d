"""Heads: what users train."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sim.errors import InputError
from rmaat.config import RMAATConfig
from rmaat.model import RMAATModel
from rmaat.pretrained import Pretrained
from rmaat.streaming import Stream, summary
from rmaat.trace_norm import TraceNorm


@dataclass
class Prediction:
    """Logits, and the mean cross-entropy (nats) where labels were given."""

    logits: Tensor
    loss: Tensor | None = None


def prediction(logits: Tensor, labels: Tensor | None) -> Prediction:
    """Logits with the cross-entropy, taken in float32, of labels (batch,).

    Raises
    ------
    InputError
        If the labels are of another shape or type or, on a CPU, none of the classes.
    """
    if labels is None:
        return Prediction(logits)
    batch, classes = logits.shape
    if labels.shape != (batch,) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError("labels", f"{tuple(labels.shape)} of {labels.dtype}", f"{batch} whole numbers, one a sample")
    if labels.device.type == "cpu" and (outside := labels[(labels < 0) | (labels >= classes)]).numel():
        raise InputError("labels", int(outside[0]), f"classes from 0 to {classes - 1}")
    return Prediction(logits, F.cross_entropy(logits.float(), labels.long()))


class RMAATForSequenceClassification(Pretrained):
    """One label a sequence, read from the trace of its segments.

    logits = W_c sum_t w_t [mean of the tokens of segment t ; mean of mem'_{t+1}] + b_c,  w_t = 1/T or RF(t, T)

    The means of layer-normed features hardly differ from sample to sample; with `trace_norm` each entry of the
    trace is centred and scaled (`TraceNorm`).

    Parameters
    ----------
    config : RMAATConfig
    """

    def __init__(self, config: RMAATConfig) -> None:
        super().__init__()
        self.model = RMAATModel(config)
        self.config = self.model.config
        self.trace_norm = TraceNorm(2 * config.dim) if config.trace_norm else None
        self.classifier = nn.Linear(2 * config.dim, config.num_labels)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None, labels: Tensor | None = None) -> Prediction:
        """Classify sequences.

        Parameters
        ----------
        inputs : Tensor
            Token ids (batch, length) or features (batch, length, input_dim).
        lengths : Tensor of int64, optional
            Tokens that are not padding, (batch,).
        labels : Tensor of int64, optional
            (batch,), each below `num_labels`.
        """
        features = _features(self.model, self.trace_norm, inputs, lengths, len(inputs))
        return prediction(self.classifier(features), labels)

    def stream(self, batch: int = 1) -> Stream:
        """Read segment by segment; each gives the logits of everything read so far."""
        return Stream(self.model, batch, self._evaluated)

    def _evaluated(self, trace: Tensor, lengths: Tensor) -> Tensor:
        return self.classifier(trace if self.trace_norm is None else self.trace_norm.evaluated(trace, lengths))


class RMAATForSequencePairClassification(Pretrained):
    """One label a pair of sequences, each read by the same model (two towers, no attention across).

    logits = W_2 relu(W_1 [a ; b ; a * b ; a - b] + b_1) + b_2, with a and b the two traces, each normalised as
    a single one is where the configuration has `trace_norm`.

    Parameters
    ----------
    config : RMAATConfig

    Source: the matching head of Long Range Arena, arXiv 2011.04006.
    """

    def __init__(self, config: RMAATConfig) -> None:
        super().__init__()
        self.model = RMAATModel(config)
        self.config = self.model.config
        self.trace_norm = TraceNorm(2 * config.dim) if config.trace_norm else None
        self.classifier = nn.Sequential(
            nn.Linear(8 * config.dim, config.dim), nn.ReLU(), nn.Linear(config.dim, config.num_labels)
        )

    def forward(self, inputs: Tensor, lengths: Tensor | None = None, labels: Tensor | None = None) -> Prediction:
        """Classify pairs.

        Parameters
        ----------
        inputs : Tensor
            Token ids (batch, 2, length) or features (batch, 2, length, input_dim).
        lengths : Tensor of int64, optional
            Tokens that are not padding, (batch, 2).
        labels : Tensor of int64, optional
            (batch,).

        Raises
        ------
        InputError
            If `inputs`, `lengths` or `labels` are of another shape, or are no ids of the model.
        """
        if inputs.dim() < 3 or inputs.shape[1] != 2:
            raise InputError("inputs", tuple(inputs.shape), "a tensor of shape (batch, 2, length), features behind it")
        if lengths is not None and lengths.shape != inputs.shape[:2]:
            raise InputError("lengths", tuple(lengths.shape), f"a tensor of shape {tuple(inputs.shape[:2])}")
        flat = None if lengths is None else lengths.flatten()
        features = _features(self.model, self.trace_norm, inputs.flatten(0, 1), flat, len(inputs))
        a, b = features.unflatten(0, (-1, 2)).unbind(1)
        return prediction(self.classifier(torch.cat([a, b, a * b, a - b], dim=-1)), labels)


def _features(
    model: RMAATModel, norm: TraceNorm | None, inputs: Tensor, lengths: Tensor | None, examples: int
) -> Tensor:
    """The traces that a classifier reads of so many examples, normalised where there is a norm, (batch, 2 * dim).

    Those of one example are normalised as in evaluation.
    """
    read = trace(model, inputs, lengths)
    if norm is None:
        return read
    tokens = torch.full(inputs.shape[:1], inputs.shape[1], device=read.device) if lengths is None else lengths
    return norm.evaluated(read, tokens) if examples == 1 else norm(read, tokens)


def trace(model: RMAATModel, inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """Weighted sum of the segments' summaries, (batch, 2 * dim)."""
    read = model(inputs, lengths, summary)
    with torch.autocast(inputs.device.type, enabled=False):  # as in `summary`
        return torch.einsum("tb,tbd->bd", read.shares, torch.stack(read.outputs))
