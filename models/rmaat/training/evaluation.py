"""Scores of a classifier on a set of sequences."""

from __future__ import annotations

import math

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from rmaat.data.sequences import Sequences


def to_tensors(
    data: Sequences, indices: NDArray[np.int64], max_length: int | None, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """One batch on `device`: ids (batch, longest), lengths (batch,), labels (batch,).

    Of pairs, ids are (batch, 2, longest) and lengths (batch, 2).
    """
    ids, lengths = data.padded(indices, max_length)
    if data.parts > 1:
        ids, lengths = ids.reshape(-1, data.parts, ids.shape[1]), lengths.reshape(-1, data.parts)
    batch = ids, lengths, np.asarray(data.labels[indices])
    first, second, third = (torch.from_numpy(array).to(device, non_blocking=True) for array in batch)
    return first, second, third


def scored(logits: Tensor, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (m, classes) in float32 and their targets (m,): the labels, or of a language model the next ids."""
    if logits.ndim == 2:
        return logits.float(), labels
    return logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten()


@torch.no_grad()
def evaluate(
    model: nn.Module, data: Sequences, batch_size: int, max_length: int | None, fabric: Fabric
) -> dict[str, float]:
    """Mean loss (nats) and accuracy over all of `data`, in evaluation mode.

    Batches hold examples of similar length; with several processes each takes its share of them.
    """
    loss_mean = MeanMetric(nan_strategy="disable").to(fabric.device)
    accuracy = MulticlassAccuracy(data.num_labels, average="micro").to(fabric.device)
    order = np.argsort(data.lengths, kind="stable")[fabric.global_rank :: fabric.world_size]
    training = model.training
    model.eval()
    with fabric.autocast():
        for start in range(0, len(order), batch_size):
            ids, lengths, labels = to_tensors(data, order[start : start + batch_size], max_length, fabric.device)
            logits, targets = scored(model(ids, lengths).logits, ids, labels)
            loss_mean.update(cross_entropy(logits, targets), len(targets))
            accuracy.update(logits, targets)
    model.train(training)
    return {"loss": loss_mean.compute().item(), "accuracy": accuracy.compute().item()}


def standard_error(accuracy: float, n: int) -> float:
    """Binomial standard error of an accuracy over `n` examples."""
    return math.sqrt(accuracy * (1 - accuracy) / n)
