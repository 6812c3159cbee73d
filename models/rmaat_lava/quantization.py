"""From a trained classifier to integers: ranges on data, exponents that fit them, tables and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from astro_sim.errors import InputError
from rmaat_lava import twin
from rmaat_lava.arithmetic import (
    LIMIT,
    MULTIPLIER_BITS,
    UNIT_BITS,
    WEIGHT_LIMIT,
    Curve,
    Integers,
    Linear,
    Norm,
    Octaves,
    Power,
)
from rmaat_lava.program import Embedding, Layer, Program, Read, ReadOut, Retention, Write

if TYPE_CHECKING:
    from rmaat.heads import RMAATForSequenceClassification

STATE = 22
"""Bits that the calibrated range of a 24-bit state may fill: one is left free."""
MESSAGE = 15
"""Bits that the calibrated range of a graded spike between cores may fill."""
FINEST = 18
"""Largest exponent: a range that happens to be tiny is not blown up without end."""
RATIO_SHIFT = 24
"""Largest scale of φ(q) H / C: with it no product leaves 53 bits."""
MAX_HEAD_DIM = 128
"""Widest head: φ(q) H, 24 by 24 bits, then stays below 2^53 and float64 products are exact."""
PHI_NODES_PER_UNIT = 5
"""log2 of the nodes of φ's table in one unit of its argument; it starts at -8."""
PHI_LOW = -8


@dataclass(frozen=True)
class Calibration:
    """Data that the ranges are taken from.

    Parameters
    ----------
    inputs : Tensor
        Token ids (batch, length), or features (batch, length, input_dim).
    lengths : Tensor of int64
        Tokens that exist, (batch,).
    """

    inputs: torch.Tensor
    lengths: torch.Tensor


def check_supported(classifier: RMAATForSequenceClassification) -> None:
    """Refuse a model that has no integer program, with the reason.

    Raises
    ------
    InputError
    """
    from rmaat.heads import RMAATForSequenceClassification

    if type(classifier) is not RMAATForSequenceClassification:
        raise InputError("model", type(classifier).__name__, "an RMAATForSequenceClassification")
    config = classifier.config
    for field, allowed in (("mixer", "astromorphic"), ("causal", False)):
        if getattr(config, field) != allowed:
            raise InputError(field, getattr(config, field), f"{allowed!r}, for a model to be deployed")
    if config.head_dim > MAX_HEAD_DIM:
        raise InputError("dim / heads", config.head_dim, f"at most {MAX_HEAD_DIM}, for a model to be deployed")
    for name, parameter in classifier.named_parameters():
        if not torch.isfinite(parameter).all():
            raise InputError(name, "values that are not finite", "finite weights")


@torch.no_grad()
def find_ranges(classifier: RMAATForSequenceClassification, calibration: Calibration) -> twin.Ranges:
    """Run the calibration data through the float model and record the range of every place."""
    ranges = twin.Ranges()
    for inputs, lengths in zip(calibration.inputs.split(32), calibration.lengths.split(32), strict=True):
        twin.logits(classifier, inputs[:, : int(lengths.max())], lengths, place=ranges)
    return ranges


def build(
    classifier: RMAATForSequenceClassification, ranges: twin.Ranges, per_channel: bool, max_segments: int
) -> tuple[Program, dict[str, int]]:
    """The integer program for these ranges, and the exponent of every place that the twin names."""
    builder = _Builder(classifier, ranges, per_channel, max_segments)
    return builder.program(), builder.exponents


def weight_scale(weight: torch.Tensor, per_channel: bool) -> torch.Tensor:
    """Real value of one step of the 8-bit mantissa, (out, 1) or (1, 1)."""
    largest = weight.abs().amax(1, keepdim=True) if per_channel else weight.abs().amax().reshape(1, 1)
    return largest.clamp_min(2.0**-20) / WEIGHT_LIMIT


def _fit(largest: float, bits: float, at_most: int = FINEST) -> int:
    """Largest exponent e with ``largest * 2**e <= 2**bits``."""
    return min(int(np.floor(bits - np.log2(largest))), at_most)


def _split(together: int, a: float, b: float) -> tuple[int, int]:
    """Exponents of two factors of ranges a and b whose sum is at most `together`, with equally many bits each."""
    first = int(np.floor((together - np.log2(a / b)) / 2))
    return min(first, 12), min(together - first, 12)


def _multipliers(factor: np.ndarray, each: bool = False) -> tuple[Integers, Integers]:
    """15-bit multipliers and the shift (shared, or one each) with ``multiplier / 2**shift`` close to `factor`."""
    largest = np.abs(factor) if each else np.abs(factor).max()
    shift = MULTIPLIER_BITS - 1 - np.floor(np.log2(np.maximum(largest, 2.0**-40)))
    return _rounded(factor * 2.0**shift), _rounded(shift)


def _rounded(x: object) -> Integers:
    return np.asarray(np.clip(np.rint(np.asarray(x, np.float64)), -LIMIT, LIMIT), np.int64)


def _numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().cpu().numpy()


class _Builder:
    """Chooses exponents place by place, from the input to the read-out, and fills in the tables."""

    def __init__(
        self,
        classifier: RMAATForSequenceClassification,
        ranges: twin.Ranges,
        per_channel: bool,
        max_segments: int,
    ) -> None:
        self.classifier, self.model, self.config = classifier, classifier.model, classifier.config
        self.ranges, self.per_channel, self.max_segments = ranges, per_channel, max_segments
        self.exponents: dict[str, int] = {}

    def program(self) -> Program:
        self._residual_exponents()
        return Program(
            embedding=self._embedding(),
            retention=self._retention(),
            layers=tuple(self._layer(i) for i in range(self.config.layers)),
            readout=self._readout(),
        )

    def _residual_exponents(self) -> None:
        """One exponent for the input of each layer and what attention adds to it."""
        layers = self.config.layers
        for i in range(layers):
            largest = max(self.ranges[f"layers.{i}.x"], self.ranges[f"layers.{i}.residual"])
            self.exponents[f"layers.{i}.x"] = _fit(largest, STATE)
            largest = max(self.ranges[f"layers.{i}.y"], self.ranges[f"layers.{i}.ffn"])
            self.exponents[f"layers.{i}.y"] = _fit(largest, STATE)
        self.exponents[f"layers.{layers}.x"] = _fit(self.ranges[f"layers.{layers}.x"], STATE)

    def _linear(self, name: str, weight: torch.Tensor, bias: torch.Tensor | None, message: int, out: int) -> Linear:
        """Weights (out, in) at 8 bits; messages come at exponent `message`, outputs leave at `out`."""
        scale = _numpy(weight_scale(weight, self.per_channel))
        multiplier, shift = _multipliers(scale[:, 0] * 2.0 ** (out - message))
        offset = np.zeros(len(weight)) if bias is None else _numpy(bias)
        self.exponents[name] = out
        return Linear(
            weight=np.rint(_numpy(weight) / scale).astype(np.int8).T.copy(),
            bias=_rounded(offset / scale[:, 0] * 2.0**message),
            multiplier=multiplier,
            shift=shift,
        )

    def _message(self, place: str, consumers: Mapping[str, torch.Tensor]) -> int:
        """Finest exponent at which the messages fit their bits and no consumer's sum leaves the state."""
        choice = _fit(self.ranges[place], MESSAGE)
        for name, weight in consumers.items():
            scale = _numpy(weight_scale(weight, self.per_channel))[:, 0]
            choice = min(choice, _fit(float((self.ranges.largest[name] / scale).max()), STATE))
        self.exponents[place] = choice
        return choice

    def _embedding(self) -> Embedding:
        embedding: Any = self.model.embedding
        out = self.exponents["layers.0.x"]
        if self.config.input_kind == "tokens":
            linear = self._linear("embedding", embedding.weight.mT, None, 0, out)
        else:
            message = self._message("inputs", {"embedding": embedding.weight})
            linear = self._linear("embedding", embedding.weight, embedding.bias, message, out)
        return Embedding(linear, _rounded(_numpy(self.model.position) * 2.0**out))

    def _retention(self) -> Retention:
        memory, first, last = self.model.memory, "layers.0.x", f"layers.{self.config.layers}.x"
        scale = 2.0 ** self.exponents[first]
        factor = self._shares() if memory.schedule is not None else np.ones((self.max_segments + 1,) * 2)
        return Retention(
            initial=_rounded(_numpy(memory.initial) * scale),
            identity=_rounded(_numpy(memory.identity) * scale),
            factor=_rounded(factor * 2**MULTIPLIER_BITS),
            shift=_rounded(MULTIPLIER_BITS + self.exponents[last] - self.exponents[first]),
        )

    def _shares(self) -> np.ndarray:
        """RF, row T, column t; row and column 0 are not used."""
        lengths = torch.arange(1, self.max_segments + 1)
        with torch.no_grad():
            shares = _numpy(self.model.memory.shares(lengths, self.max_segments)).T
        return np.pad(shares, ((1, 0), (1, 0)))

    def _block(self, i: int) -> Any:
        return self.model.blocks[i]

    def _layer(self, i: int) -> Layer:
        name, block = f"layers.{i}", self._block(i)
        attention = block.attention
        stream = self.exponents[f"{name}.x"]
        weights = dict(zip(("query", "key", "value"), attention.qkv.weight.detach().chunk(3), strict=True))
        biases = dict(zip(("query", "key", "value"), attention.qkv.bias.detach().chunk(3), strict=True))
        message = self._message(f"{name}.message", {f"{name}.{part}": w for part, w in weights.items()})

        # the sums H = Σ φ(k) v and φ(q) H may fill the state; the two factors of each get equally many bits
        phi_k, phi_q, weights_range = (self.ranges[f"{name}.{part}"] for part in ("phi_k", "phi_q", "weights"))
        e_k, e_v = _split(_fit(self.ranges[f"{name}.written"], STATE + 0.5, 24), phi_k, self.ranges[f"{name}.value"])
        e_k = min(e_k, _fit(self.ranges[f"{name}.activity"], STATE)) if attention.presynaptic else e_k
        e_q, e_h = _split(_fit(self.ranges[f"{name}.numerator"], STATE, 24), phi_q, weights_range)
        e_h = min(e_h, e_k + e_v)
        self.exponents |= {f"{name}.phi_k": e_k, f"{name}.phi_q": e_q, f"{name}.weights": e_h}

        e_in = {part: min(_fit(self.ranges[f"{name}.{part}"], STATE), 12) for part in ("query", "key")}
        linear = {
            part: self._linear(f"{name}.{part}", weights[part], biases[part], message, (e_in | {"value": e_v})[part])
            for part in weights
        }
        response, to_stream = self._response(name, attention, e_k, e_q, e_h)
        raw = self._heads(f"{name}.attended", attention.heads) / to_stream
        ratio_shift = np.array([_fit(x, STATE, RATIO_SHIFT) for x in raw]) if response else np.zeros(attention.heads)
        multiplier, shift = _multipliers(to_stream * 2.0 ** (stream - ratio_shift), each=True)
        with torch.no_grad():
            table = _numpy(twin._table(attention)) * 2.0**e_k
        write = Write(
            message_shift=_rounded(stream - message),
            key=linear["key"],
            value=linear["value"],
            phi=_phi(e_in["key"], e_k),
            astrocytic=_rounded(table),
            shift=_rounded(e_k + e_v - e_h),
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
        heads, places = attention.heads, attention.places
        if not attention.presynaptic:
            return (), np.full(heads, 2.0 ** -(e_q + e_h) / places)
        e_g = min(_fit(self.ranges[f"{name}.g"], MESSAGE, 24), _fit(self.ranges[f"{name}.c"], STATE, 40) - e_q)
        activity = torch.from_numpy(Octaves.nodes() * 2.0**-e_k).float()
        with torch.no_grad():
            g = attention.presynaptic_plasticity(activity.expand(1, heads, 1, -1))[0, :, 0]
        return (Octaves(_rounded(_numpy(g) * 2.0**e_g)),), np.full(heads, 2.0 ** (e_g - e_h) / places)

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
        ffn_message = self._message(f"{name}.ffn_message", {f"{name}.ffn_in": block.ffn_in.weight})
        hidden = self._message(f"{name}.ffn_in", {f"{name}.ffn_out": block.ffn_out.weight})
        return Read(
            message_shift=_rounded(stream - message),
            query=query,
            phi=_phi(e_in, self.exponents[f"{name}.phi_q"]),
            reciprocal=(Power.of(-1.0),) if presynaptic else (),
            ratio_shift=_rounded(ratio_shift),
            multiplier=multiplier,
            shift=shift,
            norm=self._norm(block.attention_norm, f"{name}.norm", stream, y),
            ffn_shift=_rounded(y - ffn_message),
            ffn_in=self._linear(f"{name}.ffn_in", block.ffn_in.weight, block.ffn_in.bias, ffn_message, hidden),
            ffn_out=self._linear(f"{name}.ffn_out", block.ffn_out.weight, block.ffn_out.bias, hidden, y),
            ffn_norm=self._norm(block.ffn_norm, f"{name}.ffn_norm", y, out),
        )

    def _norm(self, norm: Any, name: str, e_in: int, e_out: int) -> Norm:
        width = norm.weight.shape[0]
        square_shift = 2 * max(0, int(np.ceil((np.log2(self.ranges[f"{name}.squares"]) + 2 * e_in - STATE) / 2)))
        mean_multiplier, mean_shift = _multipliers(np.array(1.0 / width))
        gain, gain_shift = _multipliers(_numpy(norm.weight) * np.sqrt(width) * 2.0 ** (e_out - UNIT_BITS))
        return Norm(
            mean_multiplier=mean_multiplier,
            mean_shift=mean_shift,
            square_shift=_rounded(square_shift),
            epsilon=_rounded(norm.eps * width * 2.0 ** (2 * e_in - square_shift)),
            root=Power.of(-0.5),
            gain=gain,
            gain_shift=gain_shift,
            bias=_rounded(_numpy(norm.bias) * 2.0**e_out),
        )

    def _readout(self) -> ReadOut:
        config, last = self.config, self.exponents[f"layers.{self.config.layers}.x"]
        weight, bias = self.classifier.classifier.weight.detach(), self.classifier.classifier.bias
        if not config.memory_tokens:
            weight = weight[:, : config.dim] + weight[:, config.dim :]
        message = self._message("features", {"classifier": weight})
        summand = min(_fit(self.ranges["sum"], STATE), last)
        pool = _fit(self.ranges["mean"], STATE)
        return ReadOut(
            sum_shift=_rounded(last - summand),
            reciprocal=Power.of(-1.0),
            mean_shift=_rounded(summand - pool),
            share=_rounded(self._shares() * 2**MULTIPLIER_BITS),
            message_shift=_rounded(pool - message),
            classifier=self._linear("classifier", weight, bias, message, _fit(self.ranges["classifier"], STATE)),
        )


def _phi(e_in: int, e_out: int) -> Curve:
    """φ = elu + 1: exp(x) for x < 0 by table from -8 on, 1 + x beyond."""
    step_bits = max(e_in - PHI_NODES_PER_UNIT, 0)
    low = PHI_LOW * 2**e_in
    nodes = (low + np.arange(-low // 2**step_bits + 1) * 2**step_bits) / 2.0**e_in
    return Curve(
        table=_rounded(np.exp(nodes) * 2.0**e_out),
        low=np.array(low),
        step_bits=np.array(step_bits),
        tail_shift=np.array(e_in - e_out),
    )
