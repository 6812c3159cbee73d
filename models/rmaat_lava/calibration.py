"""Whether a classifier has an integer program, and the ranges of its values on data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from astro_sim.errors import InputError
from rmaat.heads import RMAATForSequenceClassification, trace
from rmaat_lava import twin

if TYPE_CHECKING:
    from rmaat.config import RMAATConfig

MAX_HEAD_DIM = 128
"""Widest head: φ(q) H, 24 by 24 bits, then stays below 2^53 and float64 products are exact."""

LARGEST = 2.0**40
"""Values up to this have exponents between -18 and 24, and every shift between two of them fits 64 bits."""

SUPPORTED: dict[str, tuple[object, ...]] = {
    "mixer": ("astromorphic",),
    "causal": (False,),
    "memory_norm": ("before",),
}
"""Values of the model configuration that have an integer program; fields that are not named may have any."""


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

    def check(self, config: RMAATConfig) -> None:
        """Refuse data that a model of this configuration cannot read.

        Raises
        ------
        InputError
        """
        inputs, lengths = self.inputs, self.lengths
        tokens = config.input_kind != "features"
        shape = "(batch, length)" if tokens else f"(batch, length, {config.input_dim})"
        right = inputs.ndim == 2 if tokens else inputs.ndim == 3 and inputs.shape[2] == config.input_dim
        if not right or not inputs.numel() or inputs.is_floating_point() is tokens:
            wanted = f"{'token ids' if tokens else 'real features'} of shape {shape}, none of them 0"
            raise InputError("calibration inputs", f"{tuple(inputs.shape)} of {inputs.dtype}", wanted)
        if tokens and not (int(inputs.min()) >= 0 and int(inputs.max()) < config.vocab_size):
            found = f"{int(inputs.min())} to {int(inputs.max())}"
            raise InputError("calibration inputs", found, f"token ids from 0 to {config.vocab_size - 1}")
        if lengths.shape != inputs.shape[:1] or not (lengths.min() >= 1 and lengths.max() <= inputs.shape[1]):
            wanted = f"{inputs.shape[0]} values from 1 to {inputs.shape[1]}"
            raise InputError("calibration lengths", lengths.tolist(), wanted)


def check_supported(classifier: RMAATForSequenceClassification) -> None:
    """Refuse a model that has no integer program, with the reason.

    Raises
    ------
    InputError
    """
    if type(classifier) is not RMAATForSequenceClassification:
        raise InputError("model", type(classifier).__name__, "an RMAATForSequenceClassification")
    config = classifier.config
    for field, allowed in SUPPORTED.items():
        if getattr(config, field) not in allowed:
            choices = " or ".join(map(repr, allowed))
            raise InputError(field, getattr(config, field), f"{choices}, for a model to be deployed")
    if config.head_dim > MAX_HEAD_DIM:
        raise InputError("dim / heads", config.head_dim, f"at most {MAX_HEAD_DIM}, for a model to be deployed")
    known = dict(RMAATForSequenceClassification(config).named_modules())
    for name, module in classifier.named_modules():
        wanted = type(known.get(name))
        if type(module) is not wanted:
            raise InputError(name, type(module).__name__, f"{wanted.__name__}, for a model to be deployed")
    for name, parameter in classifier.named_parameters():
        if not torch.isfinite(parameter).all():
            raise InputError(name, "values that are not finite", "finite weights")


@torch.no_grad()
def float_traces(classifier: RMAATForSequenceClassification, calibration: Calibration) -> np.ndarray:
    """What the float model's classifier reads of the calibration data, not normalised, (batch, 2 dim)."""
    found = []
    for inputs, lengths in zip(calibration.inputs.split(32), calibration.lengths.split(32), strict=True):
        found.append(trace(classifier.model, inputs[:, : int(lengths.max())], lengths).double().numpy())
    return np.concatenate(found)


@torch.no_grad()
def find_ranges(classifier: RMAATForSequenceClassification, calibration: Calibration) -> twin.Ranges:
    """Run the calibration data through the float model and record the range of every place.

    Raises
    ------
    InputError
        If the data do not fit the model, or a value is not finite or so large that its exponent has no use.
    """
    calibration.check(classifier.config)
    ranges = twin.Ranges()
    for inputs, lengths in zip(calibration.inputs.split(32), calibration.lengths.split(32), strict=True):
        twin.logits(classifier, inputs[:, : int(lengths.max())], lengths, place=ranges)
    for place, largest in ranges.largest.items():
        if not (largest <= LARGEST).all():
            wanted = f"at most {LARGEST:.0e} on the calibration data, for a model to be deployed"
            raise InputError(f"values of {place}", f"{largest.max():.2g}", wanted)
    return ranges
