"""What a training step of a recipe takes: launched kernel by kernel, with AMRB or BPTT, and as one CUDA graph.

Each is a whole step of the trainer (forward, backward, clipping, AdamW, moving average, metrics) on random examples
of ListOps, Image or Pathfinder; the first steps, in which graphs are recorded, are not counted. Without a GPU there
are no graphs and the rest is timed on the processor.
Run ``python benchmarks/training_step.py image-small pathfinder-paper --out runs/bench/training_step.json``.
"""

import argparse
import time
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from measure import write_json

from rmaat.data import listops
from rmaat.data.sequences import Sequences
from rmaat.data.splits import Splits
from rmaat.training.models import build, trainable
from rmaat.training.recipe import Recipe, load_recipe
from rmaat.training.trainer import Trainer, accelerator
from rmaat_bridge.bio_parameters import BioParameters

EXAMPLES = 2048
TASKS = ("listops", "image", "pathfinder")
WAYS: dict[str, dict[str, Any]] = {
    "amrb": {"model.backprop": "amrb", "optimisation.cuda_graph": False},
    "bptt": {"model.backprop": "bptt", "optimisation.cuda_graph": False},
    "graph": {"model.backprop": "bptt", "optimisation.cuda_graph": True},
}


def examples(task: str) -> Sequences:
    """Random expressions of ListOps, or random grey pictures with random labels."""
    if task == "listops":
        return listops.generate(EXAMPLES, seed=0)
    rng, labels = np.random.default_rng(0), 10 if task == "image" else 2
    tokens = rng.integers(1, 257, EXAMPLES * 1024).astype(np.uint16)
    offsets = np.arange(EXAMPLES + 1, dtype=np.int64) * 1024
    return Sequences(tokens, offsets, rng.integers(0, labels, EXAMPLES), 257, labels)


def milliseconds(recipe: Recipe, steps: int, out: Path) -> tuple[float, int]:
    """Wall time of a step, and the parameters of the model."""
    data = examples(recipe.task)
    torch.manual_seed(0)
    model = build(recipe, data, BioParameters.reference())
    fabric = Fabric(accelerator=accelerator(), devices=1, precision=recipe.optimisation.precision)
    trainer = Trainer(recipe, Splits(data, data, data), model, out, fabric)
    batches = trainer.batches.after(0)
    for number in range(2 * steps):
        if number == steps:
            _wait()
            began = time.perf_counter()
        trainer._step(number, batches)
    _wait()
    return 1e3 * (time.perf_counter() - began) / steps, trainable(model)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Print a row for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=["image-small", "pathfinder-small", "listops-small"])
    parser.add_argument("--steps", type=int, default=100, help="steps that are timed, after as many that are not")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/training_step.json"))
    options = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    for name in options.recipes:
        if (task := load_recipe(name).task) not in TASKS:
            parser.error(f"{name} is of {task}; allowed are recipes of {', '.join(TASKS)}")
    ways = WAYS if torch.cuda.is_available() else {name: WAYS[name] for name in ("amrb", "bptt")}
    table: dict[str, Any] = {}
    with TemporaryDirectory() as out:
        for name, (way, changes) in product(options.recipes, ways.items()):
            recipe = load_recipe(name, changes | {"data.curriculum": []})
            took, parameters = milliseconds(recipe, options.steps, Path(out))
            table.setdefault(name, {"parameters": parameters})[way] = took
            print(f"{name}, {parameters:,} parameters, {way}: {took:.1f} ms a step on {device}", flush=True)
    write_json(options.out, device=device, milliseconds=table)


if __name__ == "__main__":
    main()
