"""A classifier that trains as it will be deployed: its forward pass rounds where the integer program rounds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rmaat.heads import Prediction, prediction
from rmaat_lava import twin
from rmaat_lava.arithmetic import LIMIT
from rmaat_lava.calibration import Calibration, Classifier
from rmaat_lava.deployment import quantize
from rmaat_lava.scales import WeightFormat


class QuantizationAware(nn.Module):
    """Wraps a classifier for fine-tuning; any training loop that takes a classifier takes this.

    Values and weights are rounded to the exponents and weight scales of the program that `quantize` builds from the
    same calibration data, and the trace that the read-out normalises moves by the program's centre;
    gradients pass straight through the rounding (Bengio et al., arXiv 1308.3432)
    and stop where a value saturates. The wrapped classifier is trained in place and deployed with `quantize`.

    Parameters
    ----------
    classifier : RMAATForSequenceClassification or RMAATForSequencePairClassification
    calibration : Calibration
    weights : WeightFormat
        As for `quantize`.
    """

    def __init__(self, classifier: Classifier, calibration: Calibration, weights: WeightFormat | None = None) -> None:
        super().__init__()
        self.classifier, self.weights = classifier, weights or WeightFormat()
        self.exponents: dict[str, int] = {}
        self.calibrate(calibration)

    def calibrate(self, calibration: Calibration) -> None:
        """Take exponents, and what the integers' trace is shifted by, from data again after the weights have moved."""
        deployment = quantize(self.classifier, calibration, weights=self.weights)
        self.exponents = deployment.description["exponents"]
        centre = torch.from_numpy(deployment.program.readout.centre * 2.0 ** -self.exponents["trace"]).float()
        norm: Any = getattr(self.classifier, "trace_norm", None)
        self.shift = centre if norm is None else centre - norm.running_mean[: len(centre)].cpu()

    def forward(self, inputs: Tensor, lengths: Tensor, labels: Tensor | None = None) -> Prediction:
        """As the classifier's; lengths are needed."""
        logits = twin.logits(self.classifier, inputs, lengths, self._place, self._weight)
        return prediction(logits, labels)

    def _place(self, name: str, values: Tensor) -> Tensor:
        if name not in self.exponents:
            return values
        scale = 2.0 ** self.exponents[name]
        if name == "trace":  # both halves are the same where there is no memory
            values = values - self.shift.to(values).repeat(values.shape[1] // len(self.shift))
        return _rounded(values.clamp(-LIMIT / scale, LIMIT / scale), scale)

    def _weight(self, name: str, values: Tensor) -> Tensor:
        return _rounded(values, 1 / self.weights.step(values.detach()))


def _rounded(x: Tensor, scale: float | Tensor) -> Tensor:
    """``round(x * scale) / scale`` with the gradient of x."""
    return x + (torch.round(x.detach() * scale) / scale - x.detach())
