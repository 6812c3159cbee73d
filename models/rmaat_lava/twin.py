"""The classifier's equations in PyTorch with every place marked at which the integer program rounds.

One forward pass, three uses: as it is, it equals the model; with a recorder, it finds the range of every place; with
rounding to the program's exponents (straight-through), it is what quantisation-aware fine-tuning trains.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rmaat.attention import SMALLEST_ACTIVITY
from rmaat.heads import RMAATForSequencePairClassification
from rmaat_lava.inputs import active_rows

if TYPE_CHECKING:
    from rmaat.heads import RMAATForSequenceClassification
    from rmaat_lava.calibration import Classifier


class Place(Protocol):
    """What happens to a value on its way: ``place(name, values) -> values``."""

    def __call__(self, name: str, values: Tensor) -> Tensor: ...


class Ranges:
    """Records the largest magnitude at every place, one value a channel (the last axis).

    Attributes
    ----------
    largest : dict of str to array of shape (channels,)
    """

    def __init__(self) -> None:
        self.largest: dict[str, np.ndarray] = {}

    def __call__(self, name: str, values: Tensor) -> Tensor:
        found = values.detach().abs().flatten(0, -2).amax(0).double().cpu().numpy()
        self.largest[name] = np.maximum(self.largest.get(name, 0.0), found)
        return values

    SMALLEST = 2.0**-12

    def __getitem__(self, name: str) -> float:
        return max(float(self.largest[name].max()), self.SMALLEST)


class Unmeasured(Ranges):
    """Every range at its smallest, before any data: a program built with it has the right shapes."""

    def __init__(self) -> None:
        self.largest = defaultdict(lambda: np.zeros(1))


def keep(name: str, values: Tensor) -> Tensor:
    """A place where nothing happens."""
    return values


def logits(
    classifier: Classifier,
    inputs: Tensor,
    lengths: Tensor,
    place: Place = keep,
    weight: Place = keep,
) -> Tensor:
    """Logits of the classifier, (batch, labels).

    Parameters
    ----------
    classifier : RMAATForSequenceClassification or RMAATForSequencePairClassification
    inputs, lengths : Tensor
        As in the classifier's forward pass; lengths are needed.
    place : callable
        Applied to every value that the integer program stores or sends.
    weight : callable
        Applied to every weight matrix, by its name.
    """
    if isinstance(classifier, RMAATForSequencePairClassification):
        head: Any = classifier.classifier
        compared = compared_weight(classifier)
        traces = _normalised(classifier, inputs.flatten(0, 1), lengths.flatten(), place, weight)
        a, b = traces[:, : compared.shape[1] // 4].unflatten(0, (-1, 2)).unbind(1)
        features = place("features", torch.cat([a, b, a * b, a - b], dim=-1))
        hidden = F.relu(place("hidden", F.linear(features, weight("hidden", compared), head[0].bias)))
        return _dense(head[2], hidden, "classifier", place, weight)
    told, bias = told_weight(classifier)
    traces = _normalised(classifier, inputs, lengths, place, weight)
    features = place("features", traces[:, : told.shape[1]])
    return place("classifier", F.linear(features, weight("classifier", told), bias))


def _normalised(classifier: Classifier, inputs: Tensor, lengths: Tensor, place: Place, weight: Place) -> Tensor:
    """The trace, normalised as in evaluation whatever the mode, (batch, 2 dim)."""
    pool, norm = _trace(classifier.model, inputs, lengths, place, weight), classifier.trace_norm
    return pool if norm is None else norm.evaluated(pool, lengths)


def told_weight(classifier: RMAATForSequenceClassification) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer that tells the labels by a normalised trace, (labels, 2 dim) and (labels,).

    Without memory both halves of a trace, and so their means at any length, are the same: (labels, dim), the second
    half's weights brought to the statistics of the first and added.
    """
    weight, bias, norm = classifier.classifier.weight, classifier.classifier.bias, classifier.trace_norm
    if classifier.config.memory_tokens:
        return weight, bias
    first, second = weight.chunk(2, dim=1)
    if norm is None:
        return first + second, bias
    (mean, other), (sd, other_sd) = norm.running_mean.chunk(2), (norm.running_var + norm.eps).sqrt().chunk(2)
    return first + second * (sd / other_sd), bias + second @ ((mean - other) / other_sd)


def compared_weight(classifier: RMAATForSequencePairClassification) -> Tensor:
    """Weight of the layer that reads [a ; b ; a * b ; a - b], (dim, 8 dim).

    Without memory both halves of each are the same, and their columns are added: (dim, 4 dim).
    """
    head: Any = classifier.classifier
    weight = head[0].weight
    return weight if classifier.config.memory_tokens else weight.unflatten(1, (4, 2, -1)).sum(2).flatten(1)


def _trace(model: Any, inputs: Tensor, lengths: Tensor, place: Place, weight: Place) -> Tensor:
    """Weighted sum of the segments' summaries, (batch, 2 dim)."""
    config = model.config
    size, n_memory = config.segment_length, config.memory_tokens
    segments = lengths.add(size - 1).div(size, rounding_mode="floor")
    longest = int(segments.max())
    shares, factors = model.memory.shares(segments, longest), model.memory.factors(segments, longest)
    exists = torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]
    tables = [place(f"layers.{i}.phi_k", _table(block.attention)) for i, block in enumerate(model.blocks)]
    memory = model.memory.initial.expand(len(inputs), -1, -1)
    pool = torch.zeros(())
    pieces = zip(shares, factors, inputs.split(size, dim=1), exists.split(size, dim=1), strict=False)
    for share, factor, piece, mask in pieces:
        scaled = _scaled(model.memory, memory, factor, place) + model.memory.identity
        tokens = _stem(model.stem, _embed(model, piece, place, weight), mask, place, weight)
        places = mask if model.stem is None else model.stem.places(mask)
        x = place("layers.0.x", torch.cat([scaled, tokens + model.position[: tokens.shape[1]]], dim=1))
        valid = F.pad(places, (n_memory, 0), value=True)
        for i, (block, table) in enumerate(zip(model.blocks, tables, strict=True)):
            x = _block(block, x, table, valid, place, weight, f"layers.{i}", f"layers.{i + 1}.x")
        memory = torch.where(mask.any(1)[:, None, None], x[:, :n_memory], memory)
        tokens = _mean(x[:, n_memory:], places, place)
        final = _mean(memory, torch.ones_like(memory[..., 0], dtype=torch.bool), place) if n_memory else tokens
        pool = pool + share[:, None] * torch.cat([tokens, final], dim=-1)
    return place("trace", pool)


def _scaled(retention: Any, memory: Tensor, factor: Tensor, place: Place) -> Tensor:
    """Memory as it enters a segment, identity not yet added; see `rmaat.memory.Memory.enter`."""
    if retention.norm_after and memory.shape[1]:
        _squares(memory, "retention.norm", place)
    return retention.enter(memory, factor[:, None, None])


def _mean(x: Tensor, mask: Tensor, place: Place) -> Tensor:
    """Mean over the places that exist, (batch, dim)."""
    total = (x * mask[..., None]).sum(1)
    place("sum", (x.abs() * mask[..., None]).sum(1))
    return place("mean", total / mask.sum(1, keepdim=True).clamp_min(1))


def embedding_table(model: Any) -> Tensor:
    """The embedding as a table: one row a token, or a level, and one a bucket of n-grams, (rows, dim)."""
    if isinstance(model.embedding, nn.Embedding):
        ngrams = () if model.ngrams is None else model.ngrams.widened_tables()
        return torch.cat([model.embedding.weight, *ngrams])
    return model.embedding(torch.arange(model.config.vocab_size, device=model.position.device))


def _embed(model: Any, piece: Tensor, place: Place, weight: Place) -> Tensor:
    """Embedded tokens of a segment, (batch, n, dim)."""
    if isinstance(model.embedding, nn.Linear):
        return _dense(model.embedding, place("inputs", piece.to(model.position.dtype)), "embedding", place, weight)
    config = model.config
    rows = active_rows(piece.cpu().numpy(), config.stem_ngrams, config.vocab_size, config.stem_buckets)
    embedded = F.embedding(torch.from_numpy(rows).to(piece.device), weight("embedding", embedding_table(model).mT).mT)
    return place("embedding", embedded.sum(-2))


def _stem(stem: Any, x: Tensor, mask: Tensor, place: Place, weight: Place) -> Tensor:
    """Places of a segment from its embedded tokens; see `rmaat.stem.ConvolutionalStem`."""
    if stem is None:
        return x
    exists = mask.unsqueeze(-1)
    if stem.merge is not None:
        x = F.pad(place("merge.message", x) * exists, (0, 0, 0, -x.shape[1] % stem.stride))
        x = _dense(stem.merge, x.unflatten(1, (-1, stem.stride)).flatten(2), "merge", place, weight)
        exists = stem.places(mask).unsqueeze(-1)
    for i, (convolution, norm) in enumerate(zip(stem.convolutions, stem.norms, strict=True)):
        x, name = place(f"stem.{i}.x", x), f"stem.{i}"
        rounded = weight(f"{name}.linear", convolution.weight.flatten(1)).view_as(convolution.weight)
        seen = (place(f"{name}.message", x) * exists).mT
        mixed = F.conv1d(seen, rounded, convolution.bias, padding="same", dilation=2**i).mT
        summed = place(f"{name}.residual", x + F.relu(place(f"{name}.linear", mixed)))
        x = _norm(norm, summed, f"{name}.norm", place)
    return x


def _dense(linear: Any, x: Tensor, name: str, place: Place, weight: Place) -> Tensor:
    return place(name, F.linear(x, weight(name, linear.weight), linear.bias))


def _table(attention: Any) -> Tensor:
    """φ(R), (heads, places, head_dim); zeros without the astrocyte."""
    table = attention.astrocytic_table()
    if table is None:
        return attention.qkv.weight.new_zeros(attention.heads, attention.places, attention.head_dim)
    return table


def _block(
    block: Any,
    x: Tensor,
    table: Tensor,
    valid: Tensor,
    place: Place,
    weight: Place,
    name: str,
    out: str,
) -> Tensor:
    """One layer; (batch, places, dim) to the same."""
    attention = block.attention
    message = place(f"{name}.message", x)
    q, k, v = (
        place(f"{name}.{part}", F.linear(message, weight(f"{name}.{part}", w), b)).unflatten(-1, (attention.heads, -1))
        for part, w, b in zip(
            ("query", "key", "value"), attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3), strict=True
        )
    )
    seen = valid[:, :, None, None].to(x.dtype)
    q = place(f"{name}.phi_q", F.elu(q) + 1).transpose(1, 2)  # (batch, heads, places, head_dim)
    k = (place(f"{name}.phi_k", F.elu(k) + 1) * seen).transpose(1, 2)
    v = (v * seen).transpose(1, 2)
    written = k + table[:, : k.shape[2]] * seen.transpose(1, 2)
    place(f"{name}.written", written.mT @ v.abs())
    read = q @ place(f"{name}.weights", written.mT @ v)
    place(f"{name}.numerator", read.flatten(0, 1).flatten(1)[..., None])
    read = read / (attention.writers * attention.write_places)
    if attention.presynaptic:
        g = attention.presynaptic_plasticity(place(f"{name}.activity", k.sum(2, keepdim=True)))
        place(f"{name}.g", g.squeeze(2).mT)
        c = q @ g.mT
        place(f"{name}.c", c.squeeze(-1).mT)
        read = read / c.clamp_min(SMALLEST_ACTIVITY)
    place(f"{name}.attended", read.permute(0, 2, 3, 1))
    summed = place(f"{name}.residual", x + read.transpose(1, 2).flatten(2))
    y = place(f"{name}.y", _norm(block.attention_norm, summed, f"{name}.norm", place))
    hidden = F.relu(_dense(block.ffn_in, place(f"{name}.ffn_message", y), f"{name}.ffn_in", place, weight))
    summed = place(f"{name}.ffn", y + _dense(block.ffn_out, hidden, f"{name}.ffn_out", place, weight))
    return place(out, _norm(block.ffn_norm, summed, f"{name}.ffn_norm", place))


def _norm(norm: Any, x: Tensor, name: str, place: Place) -> Tensor:
    _squares(x, name, place)
    return norm(x)


def _squares(x: Tensor, name: str, place: Place) -> None:
    place(f"{name}.squares", (x - x.mean(-1, keepdim=True)).square().sum(-1, keepdim=True))
