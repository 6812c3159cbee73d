"""The integer program of a deployed classifier: every table, weight and shift that a target needs, and nothing else.

A program is a tree of frozen dataclasses whose leaves are integer arrays; `flatten` and `rebuild` turn it into the
named arrays of a deployment file and back. The steps that the numbers belong to are in `rmaat_lava.reference` (whole
matrices) and in `rmaat_lava.processes.classifier` (token by token).
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from rmaat_lava.arithmetic import Curve, Integers, Linear, Norm, Octaves, Power


@dataclass(frozen=True)
class Merge:
    """`stride` neighbouring tokens to one place: `y = W [x_1 ; ... ; x_stride]`, tokens that do not exist being 0.

    Parameters
    ----------
    message_shift : int64 array of shape ()
        From the embedded tokens to the messages.
    linear : Linear
        (stride * dim, dim).
    """

    message_shift: Integers
    linear: Linear


@dataclass(frozen=True)
class Embedding:
    """From token ids (one-hot, so rows of the weight) or feature messages to one vector a place.

    Parameters
    ----------
    active : int64 array of shape ()
        Rows that a token activates, its own and one for each length of n-grams; 0 where features come.
    linear : Linear
        (rows, dim), the vocabulary and then the buckets of bigrams, trigrams, ...; or (features, dim).
    merge : tuple of Merge
        Empty if every token has a place of its own.
    """

    active: Integers
    linear: Linear
    merge: tuple[Merge, ...]


@dataclass(frozen=True)
class Convolution:
    """`y = norm(x + relu(W * x))` over the places of a segment, those that do not exist being 0.

    The i-th of the stem takes places that lie 2**i apart.

    Parameters
    ----------
    message_shift : int64 array of shape ()
        From x to the messages.
    linear : Linear
        (kernel * dim, dim), the places from left to right.
    norm : Norm
    """

    message_shift: Integers
    linear: Linear
    norm: Norm


@dataclass(frozen=True)
class Retention:
    """Memory from segment to segment: `memory = round(memory' · factor[T, t] / 2**shift) + identity`.

    Where the model normalises the scaled memory, `memory = norm[T, t](memory') + identity`: with RF x of variance
    RF² σ², LN(RF x) = (x - mean) / sqrt(σ² + ε / RF²), and no bit is lost to a small RF.

    Parameters
    ----------
    initial, identity : int64 array of shape (memory_tokens, dim)
        Memory that enters the first segment, identity not yet added; what marks each place.
    factor : int64 array of shape (max_segments + 1, max_segments + 1)
        15-bit RF; row T, column t scales mem' of segment t. Without entries where `norm` has them.
    shift : int64 array of shape ()
    norm : tuple of Norm
        Its `epsilon` and `square_shift` are tables by T and t; empty unless the model normalises the scaled memory.
    """

    initial: Integers
    identity: Integers
    factor: Integers
    shift: Integers
    norm: tuple[Norm, ...]


@dataclass(frozen=True)
class Write:
    """`H += (φ(k) + φ(R)) vᵀ`, `G += φ(k)`; handed over as `H / 2**shift` and `g(G)`.

    Parameters
    ----------
    message_shift : int64 array of shape ()
        From the residual stream to the messages that the projections get.
    key, value : Linear
        (dim, dim).
    phi : Curve
    astrocytic : int64 array of shape (heads, places, head_dim)
        φ(R) at φ(k)'s exponent; 0 without H_astro.
    shift : int64 array of shape ()
    response : tuple of Octaves
        g; empty if the model has no presynaptic factor.
    """

    message_shift: Integers
    key: Linear
    value: Linear
    phi: Curve
    astrocytic: Integers
    shift: Integers
    response: tuple[Octaves, ...]


@dataclass(frozen=True)
class Read:
    """`L = X + φ(q) H / C` with `C = φ(q) gᵀ`, layer norm, feed-forward network, layer norm.

    Parameters
    ----------
    message_shift : int64 array of shape ()
    query : Linear
    phi : Curve
    reciprocal : tuple of Power
        `1 / C`; empty if the model has no presynaptic factor.
    ratio_shift : int64 array of shape (heads,)
        Scale of φ(q) H / C before it is brought to the residual stream.
    multiplier, shift : int64 array of shape (heads,)
        From the ratio to the residual stream.
    norm : Norm
    ffn_shift : int64 array of shape ()
        From the first norm to the messages of the feed-forward network.
    ffn_in, ffn_out : Linear
    ffn_norm : Norm
    """

    message_shift: Integers
    query: Linear
    phi: Curve
    reciprocal: tuple[Power, ...]
    ratio_shift: Integers
    multiplier: Integers
    shift: Integers
    norm: Norm
    ffn_shift: Integers
    ffn_in: Linear
    ffn_out: Linear
    ffn_norm: Norm


@dataclass(frozen=True)
class Layer:
    """One astromorphic block."""

    write: Write
    read: Read


@dataclass(frozen=True)
class Matching:
    """Two documents compared by the messages a and b of their traces: `relu(W [a ; b ; a * b ; a - b])`.

    Parameters
    ----------
    product_shift : int64 array of shape ()
        From a * b to the exponent of a and b.
    hidden : Linear
        (4 * 2 dim, hidden); (4 * dim, hidden) without memory.
    """

    product_shift: Integers
    hidden: Linear


@dataclass(frozen=True)
class ReadOut:
    """`Σ_t w_t [mean of the tokens of segment t ; mean of mem'_t]`, normalised, then a linear classifier.

    The normalised traces of a pair are compared before the classifier.

    Parameters
    ----------
    sum_shift : int64 array of shape ()
        From the last norm to the summands of the two means.
    reciprocal : Power
        1 / number of summands.
    mean_shift : int64 array of shape ()
        From `sum · reciprocal` to the pool.
    share : int64 array of shape (max_segments + 1, max_segments + 1)
        15-bit RF; row T, column t weighs segment t.
    centre : int64 array of shape (2 dim,) or (dim,)
        Taken from the pool: the mean by which the model normalises it, and what rounding shifts it on average.
    drift : int64 array of shape (bands, 2 dim) or (bands, dim)
        Taken from it too: what that mean moves by with the length of a sequence, in steps.
    bands : int64 array of shape (bands - 1,)
        Token places of a sequence from which on the next row of `drift` counts.
    gain : int64 array of shape (2 dim,), (dim,) or (1,)
        15-bit factors from the centred pool to messages.
    gain_shift : int64 array of shape ()
    matching : tuple of Matching
        Empty unless the model reads pairs.
    classifier : Linear
        (2 dim, labels); (dim, labels) without memory, its two halves added; (hidden, labels) of a pair.
    """

    sum_shift: Integers
    reciprocal: Power
    mean_shift: Integers
    share: Integers
    centre: Integers
    drift: Integers
    bands: Integers
    gain: Integers
    gain_shift: Integers
    matching: tuple[Matching, ...]
    classifier: Linear


@dataclass(frozen=True)
class Program:
    """A whole classifier in integers.

    Parameters
    ----------
    tokens : int64 array of shape ()
        Of a full segment.
    position : int64 array of shape (token places, dim)
        Added to what stands at each place after the stem.
    """

    tokens: Integers
    embedding: Embedding
    stem: tuple[Convolution, ...]
    position: Integers
    retention: Retention
    layers: tuple[Layer, ...]
    readout: ReadOut

    @property
    def segment_length(self) -> int:
        """Tokens of a full segment."""
        return int(self.tokens)

    @property
    def stride(self) -> int:
        """Tokens that share a place."""
        return len(self.embedding.merge[0].linear.weight) // self.dim if self.embedding.merge else 1

    @property
    def token_places(self) -> int:
        """Places of the tokens of a full segment."""
        return len(self.position)

    @property
    def memory_tokens(self) -> int:
        """Places of the memory."""
        return len(self.retention.initial)

    @property
    def places(self) -> int:
        """Places of a full segment: memory, then tokens."""
        return self.memory_tokens + self.token_places

    @property
    def dim(self) -> int:
        """Width of the residual stream."""
        return self.position.shape[1]

    @property
    def heads(self) -> int:
        """Attention heads."""
        return len(self.layers[0].write.astrocytic)

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.dim // self.heads

    @property
    def documents(self) -> int:
        """Sequences that are classified together: 2 of a pair, else 1."""
        return 2 if self.readout.matching else 1

    @property
    def trace_width(self) -> int:
        """Width of what the read-out pools, 2 dim, or dim without memory."""
        return len(self.readout.centre)

    @property
    def labels(self) -> int:
        """Number of classes."""
        return len(self.readout.classifier.bias)


def token_places(program: Program, lengths: Integers) -> Integers:
    """Places that the tokens of sequences of these lengths take in the blocks; of the same shape."""
    full, rest = np.divmod(lengths, program.segment_length)
    return full * program.token_places - (-rest // program.stride)


def centred(readout: Any, pool: np.ndarray, places: Integers | int) -> np.ndarray:
    """Pools of sequences over so many token places, less their mean at that length; of the same shape."""
    return pool - readout.centre - readout.drift[np.searchsorted(readout.bands, places, side="right")]


def time_steps(program: Program, lengths: np.ndarray) -> int:
    """Time steps in which the Lava network reads sequences of these lengths, an array of any shape.

    L·T + 1 phases of a segment's places, and one more in which a stem fills.
    """
    segments = int((-(-np.asarray(lengths) // program.segment_length)).sum())
    return (len(program.layers) * segments + 1 + bool(program.stem)) * program.places


def flatten(node: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Named arrays of a program, ``"layers.0.write.key.weight"`` and so on."""
    if isinstance(node, np.ndarray):
        return {prefix: node}
    if isinstance(node, tuple):
        children = {str(i): child for i, child in enumerate(node)}
    else:
        children = {field.name: getattr(node, field.name) for field in fields(node)}
    named: dict[str, np.ndarray] = {}
    for name, child in children.items():
        named |= flatten(child, f"{prefix}.{name}" if prefix else name)
    return named


def rebuild(arrays: Mapping[str, np.ndarray], kind: Any = Program, prefix: str = "") -> Any:
    """The program whose `flatten` gave `arrays`; a missing array is a KeyError with its name."""
    if get_origin(kind) is tuple:
        inner, items = get_args(kind)[0], list[Any]()
        while any(name.startswith(f"{prefix}.{len(items)}.") for name in arrays):
            items.append(rebuild(arrays, inner, f"{prefix}.{len(items)}"))
        return tuple(items)
    if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(
            **{
                field.name: rebuild(arrays, hints[field.name], f"{prefix}.{field.name}" if prefix else field.name)
                for field in fields(kind)
            }
        )
    return arrays[prefix]
