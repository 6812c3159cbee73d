"""The read-out in integers: a trace normalised and classified, or the traces of a pair compared and classified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from rmaat.heads import RMAATForSequencePairClassification
from rmaat_lava.arithmetic import MULTIPLIER_BITS, Power
from rmaat_lava.program import Matching, ReadOut
from rmaat_lava.scales import FINEST, MESSAGE, STATE, as_numpy, fit, multipliers, whole
from rmaat_lava.twin import compared_weight, told_weight

if TYPE_CHECKING:
    from rmaat.heads import RMAATForSequenceClassification
    from rmaat_lava.calibration import Classifier
    from rmaat_lava.places import Places


BANDS = 32  # of a sequence's length, on a logarithmic scale


def read_out(places: Places, model: Classifier, shares: np.ndarray) -> ReadOut:
    """The read-out for these ranges; the exponents of its places are added to `places`.

    Parameters
    ----------
    places : Places
    model : RMAATForSequenceClassification or RMAATForSequencePairClassification
    shares : array of shape (max_segments, max_segments)
        Row T - 1, column t - 1: how much segment t of T counts in the trace.

    Raises
    ------
    InputError
        If the traces of a pair are lost beside their product.
    """
    last = places.exponents[f"layers.{model.config.layers}.x"]
    summand = min(fit(places.ranges["sum"], STATE), last)
    places.exponents["trace"] = fit(places.ranges["mean"], STATE)
    decision = _pair(places, model) if isinstance(model, RMAATForSequencePairClassification) else _single(places, model)
    return ReadOut(
        sum_shift=whole(last - summand),
        reciprocal=Power.of(-1.0),
        mean_shift=whole(summand - places.exponents["trace"]),
        share=whole(np.pad(shares, ((1, 0), (1, 0))) * 2**MULTIPLIER_BITS),
        **decision,
    )


def _single(places: Places, model: RMAATForSequenceClassification) -> dict[str, Any]:
    """Normalisation and classifier of a trace."""
    (weight, bias), norm, pool = told_weight(model), cast(Any, model.trace_norm), places.exponents["trace"]
    weight, bias, width = weight.detach(), bias.detach(), weight.shape[1]
    centre, gain = (np.zeros(width), np.ones(1)) if norm is None else _statistics(norm, width)
    message = places.message("features", {"classifier": weight}, pool if model.trace_norm is None else FINEST)
    out = fit(places.ranges["classifier"], STATE)
    return {
        **_normalisation(model, centre, gain * 2.0 ** (message - pool), pool),
        "matching": (),
        "classifier": places.linear("classifier", weight, bias, message, out),
    }


def _normalisation(model: Classifier, centre: np.ndarray, gain: np.ndarray, pool: int) -> dict[str, Any]:
    """What is taken from a trace at the exponent `pool`, and its factors to messages."""
    (drift, bands), (multiplier, shift) = _drift(model), multipliers(gain)
    return {
        "centre": whole(centre * 2.0**pool),
        "drift": whole(drift[:, : len(centre)] * 2.0**pool),
        "bands": bands,
        "gain": multiplier,
        "gain_shift": shift,
    }


def _statistics(norm: Any, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1 / standard deviation of the first `width` entries of a trace."""
    return as_numpy(norm.running_mean)[:width], as_numpy((norm.running_var + norm.eps).rsqrt())[:width]


def _drift(model: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """What the mean of the trace moves by in the middle of each of `BANDS` bands of u, and where the bands begin.

    (bands, 2 dim), and in token places (bands - 1,). One band where the mean does not follow the length.
    """
    norm = cast(Any, model.trace_norm)
    if norm is None or not norm.slopes.any():
        return np.zeros((1, 2 * model.config.dim)), np.zeros(0, np.int64)
    low, high = as_numpy(norm.log_lengths)
    ends = np.exp(low + (high - low) * np.arange(1, 2 * BANDS) / (2 * BANDS))  # of half bands, in tokens
    drift = as_numpy(norm.drift(torch.from_numpy(ends[::2])))
    return drift, whole(np.ceil(ends[1::2] / model.config.stem_stride))


def _pair(places: Places, model: RMAATForSequencePairClassification) -> dict[str, Any]:
    """Normalisation of the traces a and b, and the two layers that compare them; a * b has to fit where a and b do."""
    head: Any = model.classifier
    first, last, ranges, norm = head[0], head[2], places.ranges, cast(Any, model.trace_norm)
    weight, pool = compared_weight(model).detach(), places.exponents["trace"]
    width = weight.shape[1] // 4  # half of the trace where there is no memory: both halves are the same
    if norm is None:
        centre, gain = np.zeros(width), np.ones(1)
        largest = max(ranges["features"], ranges["trace"] ** 2)
        message = places.message("features", {"hidden": weight}, fit(largest, MESSAGE, pool))
        places.check_resolution("trace", message)
    else:
        centre, gain = _statistics(norm, width)
        message = places.message("features", {"hidden": weight})
    hidden = places.message("hidden", {"classifier": last.weight})
    matching = Matching(whole(message), places.linear("hidden", weight, first.bias, message, hidden))
    return {
        **_normalisation(model, centre, gain * 2.0 ** (message - pool), pool),
        "matching": (matching,),
        "classifier": places.linear("classifier", last.weight, last.bias, hidden, fit(ranges["classifier"], STATE)),
    }
