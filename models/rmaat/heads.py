"""Heads: what users train."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rmaat.config import RMAATConfig
from rmaat.model import RMAATModel
from rmaat.pretrained import Pretrained


@dataclass
class Prediction:
    """Logits, and the mean cross-entropy (nats) where labels were given."""

    logits: Tensor
    loss: Tensor | None = None


class RMAATForSequenceClassification(Pretrained, nn.Module):
    """One label a sequence.

    logits = W_c [mean of the tokens' features ; mean of the final memory] + b_c

    Parameters
    ----------
    config : RMAATConfig
    """

    def __init__(self, config: RMAATConfig) -> None:
        super().__init__()
        self.model = RMAATModel(config)
        self.config = self.model.config
        self.classifier = nn.Linear(2 * config.dim, config.num_labels)

    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, labels: Tensor | None = None
    ) -> Prediction:
        """Classify sequences.

        Parameters
        ----------
        inputs : Tensor
            Token ids (batch, length) or features (batch, length, input_dim).
        lengths : Tensor of int64, optional
            Tokens that are not padding, (batch,).
        labels : Tensor of int64, optional
            (batch,), each below `num_labels`.
        """
        logits = self.classifier(pooled(self.model, inputs, lengths))
        return Prediction(logits, None if labels is None else F.cross_entropy(logits.float(), labels))


def pooled(model: RMAATModel, inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """sum_t RF(t, T) [mean of the tokens of segment t ; mean of mem'_t], (batch, 2 * dim)."""
    read = model(inputs, lengths, segment_summary)
    return torch.einsum("tb,tbd->bd", read.retention, torch.stack(read.outputs))


def segment_summary(memory: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the tokens that exist and mean of the memory, (batch, 2 * dim)."""
    if mask is None:
        tokens = features.mean(1)
    else:
        weights = mask.to(features).unsqueeze(1)
        tokens = (weights @ features).squeeze(1) / weights.sum(-1).clamp_min(1)
    return torch.cat([tokens, memory.mean(1) if memory.shape[1] else tokens], dim=-1)
