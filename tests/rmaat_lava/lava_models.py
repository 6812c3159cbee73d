"""A small classifier and a task that needs the whole sequence."""

from collections.abc import Callable

import numpy as np
import torch

from rmaat.config import RMAATConfig
from rmaat.heads import RMAATForSequenceClassification, RMAATForSequencePairClassification

VOCAB, LABELS = 12, 4


def frequent_token(n: int, seed: int, shortest: int = 64, longest: int = 128) -> tuple[torch.Tensor, ...]:
    """Random sequences in which one of the tokens 1-4 occurs more often; the label is which one."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, longest + 1, n)
    labels = rng.integers(0, LABELS, n)
    tokens = rng.integers(1, VOCAB, (n, longest))
    planted = rng.random((n, longest)) < 0.2
    tokens[planted] = np.broadcast_to(labels[:, None] + 1, tokens.shape)[planted]
    tokens[np.arange(longest) >= lengths[:, None]] = 0
    return torch.from_numpy(tokens), torch.from_numpy(lengths), torch.from_numpy(labels)


def same_frequent_token(n: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Pairs of sequences of `frequent_token`; the label is whether it is the same token."""
    inputs, lengths, tokens = frequent_token(2 * n, seed)
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(0, 2, n))
    seconds = [int(rng.choice(np.flatnonzero((tokens[n:] == tokens[i]) == labels[i]))) + n for i in range(n)]
    rows = torch.stack([torch.arange(n), torch.tensor(seconds)], dim=1)
    return inputs[rows], lengths[rows], labels


def small_config(**changes: object) -> RMAATConfig:
    """Two layers, segments of 32 tokens: the sequences of `frequent_token` have two to four segments."""
    fields = {
        "vocab_size": VOCAB,
        "num_labels": LABELS,
        "dim": 32,
        "layers": 2,
        "heads": 4,
        "ffn_dim": 64,
        "segment_length": 32,
        "memory_tokens": 4,
    }
    return RMAATConfig(**(fields | changes))


def random_model(
    seed: int, pairs: bool = False, **changes: object
) -> RMAATForSequenceClassification | RMAATForSequencePairClassification:
    """A small model, its biases and gains not at their initial 0 and 1."""
    torch.manual_seed(seed)
    model = (RMAATForSequencePairClassification if pairs else RMAATForSequenceClassification)(small_config(**changes))
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    if getattr(model, "trace_norm", None) is not None:  # as if it had been fitted to sequences of 2 to 100 tokens
        slopes = torch.randn(2, model.config.dim) * 0.1  # without memory both halves of the trace are the same
        model.trace_norm.slopes.copy_(slopes.repeat(1, 2))
        model.trace_norm.log_lengths.copy_(torch.tensor([2.0, 100.0]).log())
    return model.eval()


def in_pairs(inputs, lengths):
    """Neighbouring sequences as the two documents of a pair."""
    return inputs.reshape(-1, 2, *inputs.shape[1:]), lengths.reshape(-1, 2)


def train(
    model: RMAATForSequenceClassification | RMAATForSequencePairClassification,
    steps: int,
    seed: int,
    task: Callable[..., tuple[torch.Tensor, ...]] = frequent_token,
):
    """Train on `task`; seconds for small models."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        inputs, lengths, labels = task(32, seed=seed + step)
        loss = model(inputs, lengths, labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
