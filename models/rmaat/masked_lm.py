"""Masked modelling: hidden tokens from the tokens around them, to train a model on its task's data without labels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sim.errors import InputError
from rmaat.causal_lm import NOT_SCORED
from rmaat.config import RMAATConfig
from rmaat.model import RMAATModel
from rmaat.pretrained import Pretrained


@dataclass
class HiddenTokens:
    """What a batch's hidden tokens cost: mean loss (nats a token), how many were named rightly, how many there are."""

    loss: Tensor
    right: Tensor
    count: Tensor


class HiddenLoss(nn.Module):
    """Summed cross-entropy, in float32, of one segment's hidden tokens and how many of them are named rightly.

    A place names each of the tokens that the stem merged into it; places without a hidden token cost nothing.

    Parameters
    ----------
    dim, vocab_size, stride : int
        Width of the model, token ids, and tokens of a place.
    """

    def __init__(self, dim: int, vocab_size: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.linear = nn.Linear(dim, stride * vocab_size)

    def forward(self, memory: Tensor, features: Tensor, mask: Tensor | None, targets: Tensor) -> Tensor:
        """(nats, tokens), shape (2,); targets (batch, n) are token ids or `NOT_SCORED`."""
        filled = F.pad(targets, (0, -targets.shape[1] % self.stride), value=NOT_SCORED)
        wanted = filled.unflatten(1, (-1, self.stride))
        here = wanted.ne(NOT_SCORED).any(-1)
        wanted = wanted[here].flatten()
        logits = self.linear(features[here]).unflatten(-1, (self.stride, -1)).flatten(0, 1).float()
        loss = F.cross_entropy(logits, wanted, ignore_index=NOT_SCORED, reduction="sum")
        return torch.stack([loss, logits.argmax(-1).eq(wanted).sum().to(loss)])


class RMAATForMaskedLM(Pretrained):
    """Names the tokens of a sequence that were replaced by id 0, which never occurs inside one.

    A share `mask_share` of the places is hidden, in runs of `mask_span`, with all tokens of a place at once: one
    that was left would give the others away. Which ones is drawn from PyTorch's generator, in evaluation
    from a fixed seed.

    Parameters
    ----------
    config : RMAATConfig
        Not causal, with tokens or levels as inputs.

    Source: the objective is BERT's, arXiv 1810.04805; on the task's own data, Amos et al., arXiv 2310.02980.
    """

    def __init__(self, config: RMAATConfig) -> None:
        super().__init__()
        for field, refused in (("causal", True), ("input_kind", "features")):
            if getattr(config, field) == refused:
                raise InputError(field, refused, "another value, for masked modelling")
        if config.picture_width is not None:  # whose places are no runs of tokens
            raise InputError("picture_width", config.picture_width, "none, for masked modelling")
        self.model = RMAATModel(config)
        self.config = self.model.config
        self.head = HiddenLoss(config.dim, config.vocab_size, config.stem_stride)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> HiddenTokens:
        """Hide tokens and name them.

        Parameters
        ----------
        inputs : Tensor
            Token ids (batch, length), or of pairs (batch, 2, length).
        lengths : Tensor of int64, optional
            Tokens that are not padding, (batch,), or of pairs (batch, 2).

        Raises
        ------
        InputError
            If `inputs` or `lengths` are of another shape, or no ids of the model.
        """
        if inputs.dim() not in (2, 3):
            raise InputError("inputs", tuple(inputs.shape), "a tensor of shape (batch, length) or (batch, 2, length)")
        inputs = inputs.flatten(0, -2)
        self.model.check(inputs)
        inputs = inputs.long()
        if lengths is not None:
            lengths = self.model.checked_lengths(lengths.flatten(), *inputs.shape)
        hidden = self.hidden(inputs, lengths)
        targets = inputs.masked_fill(~hidden, NOT_SCORED)
        read = self.model(inputs.masked_fill(hidden, 0), lengths, self.head, targets)
        loss, right = torch.stack(read.outputs).sum(0)
        count = hidden.sum()
        return HiddenTokens(loss / count.clamp_min(1), right.detach(), count)

    def hidden(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Draw the tokens to hide, (batch, length) of bool; runs are counted from the start of each segment."""
        batch, length = inputs.shape
        size, run = self.config.segment_length, self.config.mask_span * self.config.stem_stride
        position = torch.arange(length, device=inputs.device)
        runs = position // size * -(-size // run) + position % size // run
        count = (length - 1) // size * -(-size // run) + (length - 1) % size // run + 1  # a GPU would be waited for
        generator = None if self.training else torch.Generator(inputs.device).manual_seed(0)
        drawn = torch.rand(batch, count, device=inputs.device, generator=generator)
        hidden = drawn[:, runs] < self.config.mask_share
        return hidden if lengths is None else hidden & (position < lengths.to(inputs.device)[:, None])
