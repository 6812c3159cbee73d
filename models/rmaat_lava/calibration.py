"""Whether a classifier has an integer program, and the ranges of its values on data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch

from astro_sim.errors import InputError
from rmaat.heads import RMAATForSequenceClassification, RMAATForSequencePairClassification, trace
from rmaat_lava import twin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rmaat.config import RMAATConfig

Classifier = RMAATForSequenceClassification | RMAATForSequencePairClassification
"""Models that have an integer program."""

MAX_HEAD_DIM = 128
"""Widest head: φ(q) H, 24 by 24 bits, then stays below 2^53 and float64 products are exact."""

LARGEST = 2.0**40
"""Values up to this have exponents between -18 and 24, and every shift between two of them fits 64 bits."""

SUPPORTED: dict[str, tuple[object, str]] = {
    "mixer": ("astromorphic", "the other mixers have no integer form"),
    "picture_width": (None, "the stem's process holds a segment as a line of places"),
    "causal": (False, "the read mode gets H and g at the end of a segment, not at every place"),
}
"""What the model configuration has to be to have an integer program, and why; other fields may have any value."""


@dataclass(frozen=True)
class Calibration:
    """Data that the ranges are taken from.

    Parameters
    ----------
    inputs : Tensor
        Token ids (batch, length), or features (batch, length, input_dim); of pairs (batch, 2, length) and so on.
    lengths : Tensor of int64
        Tokens that exist, (batch,); of pairs (batch, 2).
    """

    inputs: torch.Tensor
    lengths: torch.Tensor

    def check(self, config: RMAATConfig, pairs: bool = False) -> None:
        """Refuse data that a model of this configuration, of `pairs` or not, cannot read.

        Raises
        ------
        InputError
        """
        inputs, lengths = self.inputs, self.lengths
        tokens, before = config.input_kind != "features", 1 + pairs  # axes before the length
        sizes: list[str | int] = ["batch", *[2] * pairs, "length", *[config.input_dim] * (not tokens)]
        right = inputs.ndim == len(sizes) and all(
            isinstance(size, str) or size == n for size, n in zip(sizes, inputs.shape, strict=True)
        )
        if not right or not inputs.numel() or inputs.is_floating_point() is tokens:
            shape = ", ".join(map(str, sizes))
            wanted = f"{'token ids' if tokens else 'real features'} of shape ({shape}), none of them 0"
            raise InputError("calibration inputs", f"{tuple(inputs.shape)} of {inputs.dtype}", wanted)
        if tokens and not (int(inputs.min()) >= 0 and int(inputs.max()) < config.vocab_size):
            found = f"{int(inputs.min())} to {int(inputs.max())}"
            raise InputError("calibration inputs", found, f"token ids from 0 to {config.vocab_size - 1}")
        longest = inputs.shape[before]
        whole = not lengths.is_floating_point() and lengths.dtype != torch.bool
        if not whole or lengths.shape != inputs.shape[:before] or not (lengths.min() >= 1 and lengths.max() <= longest):
            wanted = f"{' x '.join(map(str, inputs.shape[:before]))} whole numbers from 1 to {longest}"
            raise InputError("calibration lengths", lengths.tolist(), wanted)

    def batches(self, size: int = 32) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs, cut after their longest, and lengths of `size` examples after the other."""
        for inputs, lengths in zip(self.inputs.split(size), self.lengths.split(size), strict=True):
            yield inputs.narrow(lengths.ndim, 0, int(lengths.max())), lengths


def reads_pairs(classifier: Classifier) -> bool:
    """Whether an example is two documents."""
    return isinstance(classifier, RMAATForSequencePairClassification)


def check_supported(classifier: Classifier) -> None:
    """Refuse a model that has no integer program, with the reason.

    Raises
    ------
    InputError
    """
    kind = type(classifier)
    if kind not in get_args(Classifier):
        raise InputError("model", kind.__name__, " or ".join(f"an {head.__name__}" for head in get_args(Classifier)))
    config = classifier.config
    for field, (needed, reason) in SUPPORTED.items():
        if getattr(config, field) != needed:
            raise InputError(field, getattr(config, field), f"{needed!r}, for a model to be deployed: {reason}")
    if config.head_dim > MAX_HEAD_DIM:
        raise InputError("dim / heads", config.head_dim, f"at most {MAX_HEAD_DIM}, for a model to be deployed")
    known = dict(kind(config).named_modules())
    for name, module in classifier.named_modules():
        wanted = type(known.get(name))
        if type(module) is not wanted:
            raise InputError(name, type(module).__name__, f"{wanted.__name__}, for a model to be deployed")
    for name, parameter in classifier.named_parameters():
        if not torch.isfinite(parameter).all():
            raise InputError(name, "values that are not finite", "finite weights")


@torch.no_grad()
def float_traces(classifier: Classifier, calibration: Calibration) -> np.ndarray:
    """What the float model's head reads of the calibration data, not normalised, (sequences, 2 dim).

    The documents of a pair are two sequences.
    """
    found = []
    for inputs, lengths in calibration.batches():
        sequences = inputs.flatten(0, lengths.ndim - 1)
        found.append(trace(classifier.model, sequences, lengths.flatten()).double().numpy())
    return np.concatenate(found)


@torch.no_grad()
def find_ranges(classifier: Classifier, calibration: Calibration) -> twin.Ranges:
    """Run the calibration data, which have to fit the model, through it and record the range of every place.

    Raises
    ------
    InputError
        If a value is not finite or so large that its exponent has no use.
    """
    ranges = twin.Ranges()
    for inputs, lengths in calibration.batches():
        twin.logits(classifier, inputs, lengths, place=ranges)
    for place, largest in ranges.largest.items():
        if not (largest <= LARGEST).all():
            wanted = f"at most {LARGEST:.0e} on the calibration data, for a model to be deployed"
            raise InputError(f"values of {place}", f"{largest.max():.2g}", wanted)
    return ranges
