"""One of two processes that train together: write the gradients that the processes agree on, before and after.

Started by torchrun's environment variables; arguments: folder of the results, back-propagation.
"""

import sys
from pathlib import Path

import torch
from lightning.fabric import Fabric
from safetensors.torch import save_file
from torch import nn

from rmaat.config import RMAATConfig
from rmaat.data.listops import Grammar, generate
from rmaat.data.sequences import Sequences
from rmaat.heads import RMAATForSequenceClassification
from rmaat.training.evaluation import to_tensors


def model_and_examples(backprop: str) -> tuple[nn.Module, Sequences]:
    """What both processes, and the one that they are compared with, start from: float64, eight expressions."""
    torch.manual_seed(3)
    config = RMAATConfig(
        vocab_size=16,
        num_labels=10,
        dim=16,
        heads=2,
        segment_length=16,
        memory_tokens=4,
        trace_norm=True,
        backprop=backprop,
    )
    examples = generate(8, 5, Grammar(max_depth=6, min_length=20, max_length=90))
    return RMAATForSequenceClassification(config).double(), examples


def main(folder: Path, backprop: str) -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    plain, data = model_and_examples(backprop)
    model = fabric.setup(plain)
    mine = data.select(torch.arange(fabric.global_rank, 8, 2).numpy())
    longest = int(data.lengths.max())
    ids, lengths, labels = to_tensors(mine, torch.arange(4).numpy(), None, fabric.device)
    ids = torch.nn.functional.pad(ids, (0, longest - ids.shape[1]))
    fabric.backward(model(ids, lengths, labels).loss)
    gradients = {name: p.grad.contiguous() for name, p in model.module.named_parameters() if p.grad is not None}
    save_file(gradients, folder / f"rank{fabric.global_rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
