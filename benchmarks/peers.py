"""Models of other packages at the benchmark's sizes; each is left out, with the reason, where it is absent."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Pooled(nn.Module):
    """Embedding, learned positions, a package's encoder, mean, linear read-out."""

    def __init__(self, encoder: nn.Module, dim: int, longest: int) -> None:
        super().__init__()
        self.embedding, self.encoder = nn.Embedding(256, dim), encoder
        self.position = nn.Parameter(torch.zeros(longest, dim))
        self.classifier = nn.Linear(dim, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.classifier(self.encoder(self.embedding(inputs) + self.position).mean(1))


class Recurrent(nn.Module):
    """lucidrains' recurrent memory transformer over all segments, plain BPTT."""

    def __init__(self, net: nn.Module, segment: int) -> None:
        super().__init__()
        self.net, self.segment = net, segment

    def forward(self, inputs: Tensor) -> Tensor:
        memory, total = None, 0.0
        for piece in inputs.split(self.segment, dim=1):
            logits, memory, _ = self.net(piece, memory)
            total = total + logits.mean((1, 2))
        return total


def linear_attention_transformer(sizes: dict[str, int], longest: int) -> nn.Module:
    """Linear attention with a global read (lucidrains), its encoder alone."""
    from linear_attention_transformer import linear_attention_transformer as package

    encoder = package.LinearAttentionTransformer(sizes["dim"], sizes["layers"], longest, heads=sizes["heads"])
    return Pooled(encoder, sizes["dim"], longest)


def performer(sizes: dict[str, int], longest: int) -> nn.Module:
    """Performer: softmax by random features."""
    from performer_pytorch import Performer

    head = sizes["dim"] // sizes["heads"]
    return Pooled(Performer(sizes["dim"], sizes["layers"], sizes["heads"], head), sizes["dim"], longest)


def lucidrains_rmt(sizes: dict[str, int], longest: int) -> nn.Module:
    """Recurrent memory transformer, softmax within segments."""
    from recurrent_memory_transformer_pytorch import RecurrentMemoryTransformer

    net = RecurrentMemoryTransformer(
        sizes["dim"],
        num_tokens=256,
        depth=sizes["layers"],
        num_memory_tokens=sizes["memory_tokens"],
        seq_len=sizes["segment_length"],
        causal=False,
        dim_head=sizes["dim"] // sizes["heads"],
        heads=sizes["heads"],
        use_flash_attn=True,
        use_xl_memories=False,
        num_residual_streams=1,
    )
    return Recurrent(net, sizes["segment_length"])


PEERS: dict[str, Callable[[dict[str, int], int], nn.Module]] = {
    "linear-attention-transformer": linear_attention_transformer,
    "performer-pytorch": performer,
    "recurrent-memory-transformer-pytorch": lucidrains_rmt,
}


def peer_steps(sizes: dict[str, int], inputs: Tensor) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """Training steps of the peers that are installed, and why the others are absent."""
    steps, absent = {}, {}
    for name, make in PEERS.items():
        torch.manual_seed(0)
        try:
            model = make(sizes, inputs.shape[1])
        except ImportError as error:
            absent[name] = str(error)
            continue
        steps[name] = _step(model, inputs)
    return steps, absent


def _step(model: nn.Module, inputs: Tensor) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad()
        model(inputs).square().sum().backward()

    return step
