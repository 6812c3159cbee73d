"""The classifier's equations in PyTorch with every place marked at which the integer program rounds.

One forward pass, three uses: as it is, it equals the model; with a recorder, it finds the range of every place; with
rounding to the program's exponents (straight-through), it is what quantisation-aware fine-tuning trains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rmaat.attention import SMALLEST_ACTIVITY

if TYPE_CHECKING:
    from rmaat.heads import RMAATForSequenceClassification


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


def keep(name: str, values: Tensor) -> Tensor:
    """A place where nothing happens."""
    return values


def logits(
    classifier: RMAATForSequenceClassification,
    inputs: Tensor,
    lengths: Tensor,
    place: Place = keep,
    weight: Place = keep,
) -> Tensor:
    """Logits of the classifier, (batch, labels).

    Parameters
    ----------
    classifier : RMAATForSequenceClassification
    inputs, lengths : Tensor
        As in the classifier's forward pass; lengths (batch,) are needed.
    place : callable
        Applied to every value that the integer program stores or sends.
    weight : callable
        Applied to every weight matrix, by its name.
    """
    model, config = classifier.model, classifier.config
    size, n_memory = config.segment_length, config.memory_tokens
    segments = lengths.add(size - 1).div(size, rounding_mode="floor")
    shares = model.memory.shares(segments, int(segments.max()))
    factors = model.memory.factors(shares)
    exists = torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]
    tables = [place(f"layers.{i}.phi_k", _table(block.attention)) for i, block in enumerate(model.blocks)]
    memory = model.memory.initial.expand(len(inputs), -1, -1)
    pool = torch.zeros(())
    pieces = zip(shares, factors, inputs.split(size, dim=1), exists.split(size, dim=1), strict=False)
    for share, factor, piece, mask in pieces:
        scaled = memory * factor[:, None, None] + model.memory.identity
        tokens = _embed(model.embedding, piece, place, weight) + model.position[: piece.shape[1]]
        x = place("layers.0.x", torch.cat([scaled, tokens], dim=1))
        valid = F.pad(mask, (n_memory, 0), value=True)
        for i, (block, table) in enumerate(zip(model.blocks, tables, strict=True)):
            x = _block(block, x, table, valid, place, weight, f"layers.{i}", f"layers.{i + 1}.x")
        memory = torch.where(mask.any(1)[:, None, None], x[:, :n_memory], memory)
        tokens = _mean(x[:, n_memory:], mask, place)
        final = _mean(memory, torch.ones_like(memory[..., 0], dtype=torch.bool), place) if n_memory else tokens
        pool = pool + share[:, None] * torch.cat([tokens, final], dim=-1)
    features = place("features", pool)
    return _dense(classifier.classifier, features, "classifier", place, weight)


def _mean(x: Tensor, mask: Tensor, place: Place) -> Tensor:
    """Mean over the places that exist, (batch, dim)."""
    total = (x * mask[..., None]).sum(1)
    place("sum", (x.abs() * mask[..., None]).sum(1))
    return place("mean", total / mask.sum(1, keepdim=True).clamp_min(1))


def _embed(embedding: Any, piece: Tensor, place: Place, weight: Place) -> Tensor:
    if isinstance(embedding, nn.Embedding):
        return place("embedding", F.embedding(piece, weight("embedding", embedding.weight.mT).mT))
    return _dense(embedding, place("inputs", piece), "embedding", place, weight)


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
    read = read / attention.places
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
    place(f"{name}.squares", (x - x.mean(-1, keepdim=True)).square().sum(-1, keepdim=True))
    return norm(x)
