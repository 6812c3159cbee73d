"""Language modelling: the next token from the tokens before it, and nothing after."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sim.errors import InputError
from rmaat.config import RMAATConfig
from rmaat.evaluating import evaluating
from rmaat.model import RMAATModel
from rmaat.pretrained import Pretrained

NOT_SCORED = -100  # PyTorch's label of what `cross_entropy` leaves out


@dataclass
class NextTokens:
    """Logits (batch, length, vocab_size); or where labels were given the mean loss in nats a token.

    With the loss come how many tokens are told rightly and how many were scored.
    """

    logits: Tensor | None = None
    loss: Tensor | None = None
    right: Tensor | None = None
    count: Tensor | None = None


class SegmentLoss(nn.Module):
    """Summed cross-entropy, in float32, of one segment and how many of its tokens are told rightly.

    The segment's logits live no longer than its replay.
    """

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head

    def forward(self, memory: Tensor, features: Tensor, mask: Tensor | None, targets: Tensor) -> Tensor:
        """(nats, tokens), shape (2,); targets (batch, n) are token ids or `NOT_SCORED`."""
        logits, targets = self.head(features).flatten(0, 1).float(), targets.flatten()
        loss = F.cross_entropy(logits, targets, ignore_index=NOT_SCORED, reduction="sum")
        return torch.stack([loss, logits.argmax(-1).eq(targets).sum().to(loss)])


class RMAATForCausalLM(Pretrained):
    """Logits of the next token at every token.

    The memory is read in front of a segment and written behind it, and its factors are those of an unknown
    length, so that no output depends on a later token, nor on how many there will be.

    Parameters
    ----------
    config : RMAATConfig
        With `causal=True` and tokens as inputs.
    """

    def __init__(self, config: RMAATConfig) -> None:
        super().__init__()
        if not config.causal or config.input_kind != "tokens":
            raise InputError("causal", config.causal, "true, with input_kind 'tokens', for a language model")
        self.model = RMAATModel(config)
        self.config = self.model.config
        self.head = nn.Linear(config.dim, config.vocab_size)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None, labels: Tensor | None = None) -> NextTokens:
        """Predict every next token.

        Parameters
        ----------
        inputs : Tensor
            Token ids (batch, length).
        lengths : Tensor of int64, optional
            Tokens that are not padding, (batch,).
        labels : Tensor of int64, optional
            Token ids (batch, length), shifted here: the logits at t are scored on ``labels[:, t + 1]``; -100
            and padding are left out.

        Returns
        -------
        NextTokens
            The logits; or with labels the loss and its counts, formed segment by segment inside what AMRB
            replays, so that the logits of one segment are all that is ever kept.

        Raises
        ------
        InputError
            If `labels` are of another shape, or are no token ids, or the inputs cannot be read.
        """
        if labels is None:
            return NextTokens(logits=self.head(torch.cat(self.model(inputs, lengths).outputs, dim=1)))
        if labels.shape != inputs.shape:
            raise InputError("labels", tuple(labels.shape), f"the shape of the inputs, {tuple(inputs.shape)}")
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise InputError("labels", str(labels.dtype), "token ids of a whole type")
        if labels.device.type == "cpu":
            wrong = labels[(labels >= self.config.vocab_size) | ((labels < 0) & (labels != NOT_SCORED))]
            if len(wrong):
                raise InputError("labels", int(wrong[0]), f"ids below {self.config.vocab_size}, or {NOT_SCORED}")
        targets = F.pad(labels[:, 1:].long(), (0, 1), value=NOT_SCORED)
        if lengths is not None:
            lengths = self.model.checked_lengths(lengths, *inputs.shape[:2])
            scored = torch.arange(1, labels.shape[1] + 1, device=labels.device) < lengths.to(labels.device)[:, None]
            targets = targets.masked_fill(~scored, NOT_SCORED)
        loss, right = torch.stack(self.model(inputs, lengths, SegmentLoss(self.head), targets).outputs).sum(0)
        count = targets.ne(NOT_SCORED).sum()
        return NextTokens(loss=loss / count.clamp_min(1), right=right.detach(), count=count)

    @torch.no_grad()
    def generate(
        self,
        prompt: Tensor,
        new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Continue sequences; each new token costs the same, however long the text before.

        Parameters
        ----------
        prompt : Tensor
            Token ids (batch, length >= 1).
        new_tokens : int
            How many to add.
        temperature : float
            0 takes the likeliest token, 1 samples from the model's distribution.
        top_k : int, optional
            Sample among the k likeliest only.
        generator : torch.Generator, optional
            Source of the random numbers.

        Returns
        -------
        Tensor
            Prompt and continuation, (batch, length + new_tokens).

        Raises
        ------
        InputError
            If an argument is out of its bounds.
        """
        self.model.check(prompt)
        for name, value, allowed, holds in (
            ("new_tokens", new_tokens, "a whole number from 0 on", isinstance(new_tokens, int) and new_tokens >= 0),
            ("temperature", temperature, "a number from 0 on", 0 <= temperature < math.inf),
            ("top_k", top_k, "a whole number from 1 on", top_k is None or (isinstance(top_k, int) and top_k >= 1)),
        ):
            if not holds:
                raise InputError(name, value, allowed)
        with evaluating(self):
            decoder = Decoder(self.model, len(prompt))
            tokens = [prompt]
            for _ in range(new_tokens):
                features = decoder.feed(tokens[-1])
                tokens.append(_sample(self.head(features[:, -1]), temperature, top_k, generator))
        return torch.cat(tokens, dim=1)


class Decoder:
    """A causal model fed any number of tokens at a time; between feeds it keeps a state of constant size.

    Parameters
    ----------
    model : RMAATModel
        Causal.
    batch : int
        Sequences decoded side by side.
    """

    def __init__(self, model: RMAATModel, batch: int) -> None:
        self.model, self.tables = model, model.tables()
        if model.memory.write_identity is None:
            raise InputError("causal", model.config.causal, "true, for a model that decodes")
        self.write_identity = model.memory.write_identity
        self.memory = model.memory.initial.expand(batch, -1, -1)
        self.segments = 0
        self.stem: list[Tensor] | None = None
        self._open()

    def feed(self, tokens: Tensor) -> Tensor:
        """Features of the next tokens, (batch, n) to (batch, n, dim)."""
        features = []
        while tokens.shape[1]:
            room = self.model.config.segment_length - self.position
            piece, tokens = tokens[:, :room], tokens[:, room:]
            features.append(self._resume(self._embed(piece)))
            self.position += piece.shape[1]
            if self.position == self.model.config.segment_length:
                self.memory = self._resume(self.scaled + self.write_identity)
                self.segments += 1
                self._open()
        return torch.cat(features, dim=1)

    def _open(self) -> None:
        """Start a segment with its memory in front."""
        memory = self.model.memory
        scale = memory.streaming_factor(self.segments) if self.segments else torch.ones(())
        self.scaled, self.position = memory.enter(self.memory, scale.to(self.memory)), 0
        self.states: list[Any] = [None] * len(self.tables)
        self._resume(self.scaled + memory.identity)

    def _embed(self, tokens: Tensor) -> Tensor:
        x = self.model.embedding(tokens)
        if self.model.stem is not None:
            x, self.stem = self.model.stem.resume(x, self.stem)
        return x + self.model.position[self.position : self.position + tokens.shape[1]]

    def _resume(self, x: Tensor) -> Tensor:
        if not x.shape[1]:
            return x
        for i, (block, table) in enumerate(zip(self.model.blocks, self.tables, strict=True)):
            x, self.states[i] = block.resume(x, self.states[i], table)
        return x


def _sample(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> Tensor:
    """One token a row, (batch, vocab) to (batch, 1)."""
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    below = logits - logits.amax(-1, keepdim=True)  # however small the temperature, the largest stays 0
    return torch.multinomial((below / temperature).softmax(-1), 1, generator=generator)
