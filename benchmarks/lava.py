"""Integers on Lava's simulator against NumPy, and both against the float model: equality, speed, accuracy.

    python benchmarks/lava.py RUN --short 1000 --long 20 --out runs/bench/lava.json

RUN is a folder of `rmaat train --task listops`. Speeds are wall time; run it on a quiet machine. The bare network has
the processes and ports of the classifier and models that only pass messages.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from astro_sim.provenance import replacing, timestamp, versions
from rmaat.data import listops
from rmaat.data.sequences import Sequences
from rmaat.heads import RMAATForSequenceClassification
from rmaat_lava import Calibration, Deployment, QuantizationAware, quantize, run
from rmaat_lava.child import run_in_child
from rmaat_lava.program import flatten
from rmaat_lava.trial import find_run, float_logits

BARE = Path(__file__).parent / "lava_bare"


def compare(deployment: Deployment, data: Sequences, max_length: int | None = None) -> dict[str, Any]:
    """Run the sequences on both targets."""
    inputs, lengths = data.padded(np.arange(len(data)), max_length)
    lava = run(deployment, inputs, "lava", lengths=lengths)
    numpy = [run(deployment, inputs, "numpy", lengths=lengths) for _ in range(3)]
    best = min(found.seconds for found in numpy)
    return {
        "sequences": len(lengths),
        "tokens": int(lengths.sum()),
        "equal": bool((lava.logits == numpy[0].logits).all() and lava.saturated == numpy[0].saturated),
        "lava_sequences_per_second": len(lengths) / lava.seconds,
        "numpy_sequences_per_second": len(lengths) / best,
        "numpy_over_lava": lava.seconds / best,
        "lava_seconds_per_step": lava.seconds_per_step,
    }


def against_bare(deployment: Deployment, data: Sequences, steps: int = 2000, repeats: int = 3) -> dict[str, float]:
    """Wall time of a time step, classifier and bare network in turn; the least of each."""
    os.environ["PYTHONPATH"] = str(BARE)
    inputs, lengths = data.padded(np.arange(8))
    full, bare = [], []
    for _ in range(repeats):
        full.append(run(deployment, inputs, "lava", lengths=lengths).seconds_per_step)
        found = run_in_child("bare_models:bare", flatten(deployment.program), {"steps": steps}, 600.0)
        bare.append(float(found["seconds_per_step"]))
    return {"seconds_per_step": min(full), "bare_seconds_per_step": min(bare), "ratio": min(full) / min(bare)}


def accuracy(
    model: RMAATForSequenceClassification,
    calibration: Calibration,
    train: Sequences,
    test: Sequences,
    steps: int,
    learning_rate: float,
) -> dict[str, Any]:
    """Accuracy of the float model, after calibration alone, and after quantisation-aware fine-tuning."""
    inputs, lengths = test.padded(np.arange(len(test)))

    def integer(per_channel: bool) -> float:
        deployment = quantize(model, calibration, per_channel=per_channel)
        return float((run(deployment, inputs, "numpy", lengths=lengths).predictions == test.labels).mean())

    def real() -> float:
        return float((float_logits(model, inputs, lengths).argmax(1) == test.labels).mean())

    found = {"sequences": len(test), "float": real(), "per_channel": integer(True), "per_tensor": integer(False)}
    aware = QuantizationAware(model, calibration)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        some = rng.integers(0, len(train), 32)
        ids, n = map(torch.from_numpy, train.padded(some))
        optimizer.zero_grad()
        aware(ids, n, torch.from_numpy(train.labels[some])).loss.backward()
        optimizer.step()
    return found | {"tuned_float": real(), "tuned_per_channel": integer(True), "fine_tuning_steps": steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--short", type=int, default=1000, help="sequences of 64 to 128 tokens")
    parser.add_argument("--long", type=int, default=20, help="sequences of 501 to 1999 tokens")
    parser.add_argument("--accuracy", type=int, default=2000, help="sequences of each accuracy")
    parser.add_argument("--steps", type=int, default=60, help="fine-tuning steps")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/lava.json"))
    arguments = parser.parse_args()

    checkpoint, recipe = find_run(arguments.run)
    model = RMAATForSequenceClassification.from_pretrained(checkpoint).eval()
    grammar = listops.Grammar(min_length=63, max_length=129)
    short = listops.generate(max(arguments.short, arguments.accuracy, 64), 90_001, grammar)
    calibration = Calibration(*map(torch.from_numpy, listops.generate(64, 90_002).padded(np.arange(64))))
    deployment = quantize(model, calibration)
    result: dict[str, Any] = {"recipe": recipe, "versions": versions(), "created": timestamp(), "cores": os.cpu_count()}
    stages = {
        "short": lambda: compare(deployment, short.select(np.arange(arguments.short))),
        "long": lambda: compare(deployment, listops.generate(arguments.long, 90_003)),
        "against_bare": lambda: against_bare(deployment, short),
        "accuracy_short": lambda: accuracy(
            model,
            Calibration(*map(torch.from_numpy, short.padded(np.arange(64)))),
            listops.generate(4000, 90_004, grammar),
            short.select(np.arange(arguments.accuracy)),
            arguments.steps,
            2e-4,
        ),
    }
    for name, stage in stages.items():
        if getattr(arguments, name.split("_")[-1], 1) == 0:
            continue
        start = time.perf_counter()
        result[name] = stage()
        print(f"{name} ({time.perf_counter() - start:.0f} s): {json.dumps(result[name])}", flush=True)
        with replacing(arguments.out) as room:
            room.write_text(json.dumps(result, indent=2), encoding="utf-8")
    print(f"{arguments.out}")


if __name__ == "__main__":
    main()
