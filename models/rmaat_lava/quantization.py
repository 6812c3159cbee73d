"""From a trained classifier to integers: exponents that fit the ranges, tables and weights, place by place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from rmaat_lava import twin
from rmaat_lava.arithmetic import MULTIPLIER_BITS, Integers, Linear, Norm, Octaves, Power
from rmaat_lava.places import Places
from rmaat_lava.program import Convolution, Embedding, Layer, Merge, Program, Read, Retention, Write
from rmaat_lava.readout_quantization import read_out
from rmaat_lava.scales import MESSAGE, STATE, WeightFormat, as_numpy, fit, multipliers, phi_table, split_bits, whole

if TYPE_CHECKING:
    from rmaat_lava.calibration import Classifier

RATIO_SHIFT = 24
"""Largest scale of φ(q) H / C: with it no product leaves 53 bits."""


def build(
    classifier: Classifier, ranges: twin.Ranges, weights: WeightFormat, max_segments: int
) -> tuple[Program, dict[str, int]]:
    """The integer program for these ranges, and the exponent of every place that the twin names.

    Raises
    ------
    InputError
        If values are lost beside others with which they share an exponent.
    """
    builder = _Builder(classifier, ranges, weights, max_segments)
    program = builder.program()
    for place, exponent in builder.exponents.items():
        if place.startswith("layers") and place.endswith((".x", ".y", ".message")):
            builder.check_resolution(place, exponent)
    return program, builder.exponents


class _Builder(Places):
    """Chooses exponents place by place, from the input to the read-out, and fills in the tables."""

    def __init__(
        self,
        classifier: Classifier,
        ranges: twin.Ranges,
        weights: WeightFormat,
        max_segments: int,
    ) -> None:
        super().__init__(ranges, weights)
        self.classifier, self.model, self.config = classifier, classifier.model, classifier.config
        self.max_segments = max_segments

    def program(self) -> Program:
        self._residual_exponents()
        return Program(
            tokens=whole(self.config.segment_length),
            embedding=self._embedding(),
            stem=tuple(self._convolution(i) for i in range(self.config.stem_layers)),
            position=whole(as_numpy(self.model.position) * 2.0 ** self.exponents["layers.0.x"]),
            retention=self._retention(),
            layers=tuple(self._layer(i) for i in range(self.config.layers)),
            readout=read_out(self, self.classifier, self._by_length(self.model.memory.shares)),
        )

    def _residual_exponents(self) -> None:
        """One exponent for the input of each layer, of stem and stack, and what the layer adds to it."""
        layers = self.config.layers
        for i in range(self.config.stem_layers):
            largest = max(self.ranges[f"stem.{i}.x"], self.ranges[f"stem.{i}.residual"])
            self.exponents[f"stem.{i}.x"] = fit(largest, STATE)
        for i in range(layers):
            largest = max(self.ranges[f"layers.{i}.x"], self.ranges[f"layers.{i}.residual"])
            self.exponents[f"layers.{i}.x"] = fit(largest, STATE)
            largest = max(self.ranges[f"layers.{i}.y"], self.ranges[f"layers.{i}.ffn"])
            self.exponents[f"layers.{i}.y"] = fit(largest, STATE)
        self.exponents[f"layers.{layers}.x"] = fit(self.ranges[f"layers.{layers}.x"], STATE)

    def _embedding(self) -> Embedding:
        embedding, stem = cast(Any, self.model.embedding), cast(Any, self.model.stem)
        merge, features = stem and stem.merge, self.config.input_kind == "features"
        entry = self.exponents["stem.0.x" if self.config.stem_layers else "layers.0.x"]
        out = entry if merge is None else fit(self.ranges["embedding"], STATE)
        if features:
            message = self.message("inputs", {"embedding": embedding.weight})
            linear = self.linear("embedding", embedding.weight, embedding.bias, message, out)
        else:
            linear = self.linear("embedding", twin.embedding_table(self.model).mT, None, 0, out)
        return Embedding(
            active=whole(0 if features else self.config.stem_ngrams),
            linear=linear,
            merge=() if merge is None else (self._merge(merge, out, entry),),
        )

    def _merge(self, merge: Any, stream: int, out: int) -> Merge:
        message = self.message("merge.message", {"merge": merge.weight}, stream)
        return Merge(whole(stream - message), self.linear("merge", merge.weight, merge.bias, message, out))

    def _convolution(self, i: int) -> Convolution:
        name, last, stem = f"stem.{i}", i == self.config.stem_layers - 1, cast(Any, self.model.stem)
        convolution, stream = stem.convolutions[i], self.exponents[f"stem.{i}.x"]
        out = self.exponents["layers.0.x" if last else f"stem.{i + 1}.x"]
        weight = convolution.weight.permute(0, 2, 1).flatten(1)  # (out, kernel * in)
        message = self.message(f"{name}.message", {f"{name}.linear": weight}, stream)
        return Convolution(
            message_shift=whole(stream - message),
            linear=self.linear(f"{name}.linear", weight, convolution.bias, message, stream),
            norm=self.norm(stem.norms[i], f"{name}.norm", stream, out),
        )

    def _retention(self) -> Retention:
        memory, first, last = self.model.memory, "layers.0.x", f"layers.{self.config.layers}.x"
        enter, leave = self.exponents[first], self.exponents[last]
        factor = np.pad(self._by_length(memory.factors), ((1, 0), (0, 1)))  # row T, column t - 1: enters segment t
        norm = tuple[Norm, ...]()
        if memory.norm_after and self.config.memory_tokens:
            plain = torch.nn.LayerNorm(self.config.dim)
            norm, factor = (self.norm(plain, "retention.norm", leave, enter, factor),), np.zeros((0, 0))
        with torch.no_grad():
            initial = memory.enter(memory.initial, torch.ones(()))
        return Retention(
            initial=whole(as_numpy(initial) * 2.0**enter),
            identity=whole(as_numpy(memory.identity) * 2.0**enter),
            factor=whole(factor * 2**MULTIPLIER_BITS),
            shift=whole(MULTIPLIER_BITS + leave - enter),
            norm=norm,
        )

    def _by_length(self, of_segments: Callable[[torch.Tensor, int], torch.Tensor]) -> np.ndarray:
        """The memory's factors or shares for sequences of 1 to `max_segments` segments, (T - 1, t - 1)."""
        with torch.no_grad():
            return as_numpy(of_segments(torch.arange(1, self.max_segments + 1), self.max_segments)).T

    def _block(self, i: int) -> Any:
        return self.model.blocks[i]

    def _layer(self, i: int) -> Layer:
        name, block = f"layers.{i}", self._block(i)
        attention = block.attention
        stream = self.exponents[f"{name}.x"]
        weights = dict(zip(("query", "key", "value"), attention.qkv.weight.detach().chunk(3), strict=True))
        biases = dict(zip(("query", "key", "value"), attention.qkv.bias.detach().chunk(3), strict=True))
        message = self.message(f"{name}.message", {f"{name}.{part}": w for part, w in weights.items()}, stream)

        # the sums H = Σ φ(k) v and φ(q) H may fill the state; the two factors of each get equally many bits
        phi_k, phi_q, weights_range = (self.ranges[f"{name}.{part}"] for part in ("phi_k", "phi_q", "weights"))
        e_k, e_v = split_bits(fit(self.ranges[f"{name}.written"], STATE + 0.5, 24), phi_k, self.ranges[f"{name}.value"])
        e_k = min(e_k, fit(self.ranges[f"{name}.activity"], STATE)) if attention.presynaptic else e_k
        e_q, e_h = split_bits(fit(self.ranges[f"{name}.numerator"], STATE, 24), phi_q, weights_range)
        e_h = min(e_h, e_k + e_v)
        self.exponents |= {f"{name}.phi_k": e_k, f"{name}.phi_q": e_q, f"{name}.weights": e_h}

        e_in = {part: min(fit(self.ranges[f"{name}.{part}"], STATE), 12) for part in ("query", "key")}
        linear = {
            part: self.linear(f"{name}.{part}", weights[part], biases[part], message, (e_in | {"value": e_v})[part])
            for part in weights
        }
        response, to_stream = self._response(name, attention, e_k, e_q, e_h)
        raw = self._heads(f"{name}.attended", attention.heads) / to_stream
        ratio_shift = np.array([fit(x, STATE, RATIO_SHIFT) for x in raw]) if response else np.zeros(attention.heads)
        multiplier, shift = multipliers(to_stream * 2.0 ** (stream - ratio_shift), each=True)
        with torch.no_grad():
            table = as_numpy(twin._table(attention)) * 2.0**e_k
        write = Write(
            message_shift=whole(stream - message),
            key=linear["key"],
            value=linear["value"],
            phi=phi_table(e_in["key"], e_k),
            astrocytic=whole(table),
            shift=whole(e_k + e_v - e_h),
            response=response,
        )
        return Layer(
            write,
            self._read(i, message, linear["query"], e_in["query"], bool(response), ratio_shift, multiplier, shift),
        )

    def _response(
        self, name: str, attention: Any, e_k: int, e_q: int, e_h: int
    ) -> tuple[tuple[Octaves, ...], np.ndarray]:
        """g's table, and per head the real value of one unit of φ(q) H / C."""
        heads, writes = attention.heads, attention.writers * attention.write_places
        if not attention.presynaptic:
            return (), np.full(heads, 2.0 ** -(e_q + e_h) / writes)
        e_g = min(fit(self.ranges[f"{name}.g"], MESSAGE, 24), fit(self.ranges[f"{name}.c"], STATE, 40) - e_q)
        activity = torch.from_numpy(Octaves.nodes() * 2.0**-e_k).float()
        with torch.no_grad():
            g = attention.presynaptic_plasticity(activity.expand(1, heads, 1, -1))[0, :, 0]
        return (Octaves(whole(as_numpy(g) * 2.0**e_g)),), np.full(heads, 2.0 ** (e_g - e_h) / writes)

    def _heads(self, place: str, heads: int) -> np.ndarray:
        return np.maximum(np.broadcast_to(self.ranges.largest[place], (heads,)), 2.0**-12)

    def _read(
        self,
        i: int,
        message: int,
        query: Linear,
        e_in: int,
        presynaptic: bool,
        ratio_shift: np.ndarray,
        multiplier: Integers,
        shift: Integers,
    ) -> Read:
        name, block = f"layers.{i}", self._block(i)
        stream, y, out = (self.exponents[place] for place in (f"{name}.x", f"{name}.y", f"layers.{i + 1}.x"))
        ffn_message = self.message(f"{name}.ffn_message", {f"{name}.ffn_in": block.ffn_in.weight}, y)
        hidden = self.message(f"{name}.ffn_in", {f"{name}.ffn_out": block.ffn_out.weight})
        return Read(
            message_shift=whole(stream - message),
            query=query,
            phi=phi_table(e_in, self.exponents[f"{name}.phi_q"]),
            reciprocal=(Power.of(-1.0),) if presynaptic else (),
            ratio_shift=whole(ratio_shift),
            multiplier=multiplier,
            shift=shift,
            norm=self.norm(block.attention_norm, f"{name}.norm", stream, y),
            ffn_shift=whole(y - ffn_message),
            ffn_in=self.linear(f"{name}.ffn_in", block.ffn_in.weight, block.ffn_in.bias, ffn_message, hidden),
            ffn_out=self.linear(f"{name}.ffn_out", block.ffn_out.weight, block.ffn_out.bias, hidden, y),
            ffn_norm=self.norm(block.ffn_norm, f"{name}.ffn_norm", y, out),
        )
