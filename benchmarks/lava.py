"""Integers on Lava's simulator against NumPy, and both against the float model: equality, speed, accuracy.

    python benchmarks/lava.py RUN --second RUN2 --short 1000 --long 20 --out runs/bench/lava.json

RUN is a folder of `rmaat train --task listops`, RUN2 of another task, whose accuracy is compared too. Speeds are wall
time; run it on a quiet machine. The bare network has the processes and ports of the classifier and models that only
pass messages.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from processor_time import cpu_seconds

from astro_sim.provenance import timestamp, versions, write_json
from rmaat.data import listops
from rmaat.data.sequences import Sequences
from rmaat.data.splits import load_splits
from rmaat.heads import RMAATForSequenceClassification
from rmaat_lava import Calibration, Deployment, QuantizationAware, WeightFormat, quantize, run
from rmaat_lava.child import run_in_child
from rmaat_lava.program import flatten, time_steps
from rmaat_lava.trial import float_logits, load_run

BARE = Path(__file__).parent / "lava_bare"
BARE_SEQUENCES, BARE_ROUNDS = 20, 3
TUNING_RATE, TUNING_BATCH = 2e-5, 32


def compare(deployment: Deployment, data: Sequences) -> dict[str, Any]:
    """Run the sequences on both targets; ratios of wall time (the least of three on NumPy) and of processor time."""
    inputs, lengths = data.padded(np.arange(len(data)))
    before = cpu_seconds(resource.RUSAGE_CHILDREN)
    lava = run(deployment, inputs, "lava", lengths=lengths)
    lava_cpu, before = cpu_seconds(resource.RUSAGE_CHILDREN) - before, cpu_seconds(resource.RUSAGE_SELF)
    numpy = [run(deployment, inputs, "numpy", lengths=lengths) for _ in range(3)]
    best, numpy_cpu = min(found.seconds for found in numpy), (cpu_seconds(resource.RUSAGE_SELF) - before) / 3
    return {
        "sequences": len(lengths),
        "tokens": int(lengths.sum()),
        "equal": bool((lava.logits == numpy[0].logits).all() and lava.saturated == numpy[0].saturated),
        "lava_sequences_per_second": len(lengths) / lava.seconds,
        "numpy_sequences_per_second": len(lengths) / best,
        "numpy_over_lava": lava.seconds / best,
        "numpy_over_lava_cpu": lava_cpu / numpy_cpu,
        "lava_seconds_per_step": lava.seconds_per_step,
        "load": os.getloadavg()[0],
    }


def probes(deployment: Deployment, data: Sequences) -> dict[str, Any]:
    """Every state that a Monitor can show, at every time step, on Lava and as NumPy works it out."""
    inputs, lengths = data.padded(np.arange(len(data)))
    arguments = {"lengths": lengths, "probe": True, "time_limit": 3600.0}  # Monitors hold every state of every step
    lava, numpy = (run(deployment, inputs, target, **arguments).probes for target in ("lava", "numpy"))
    different = [name for name in lava if not np.array_equal(lava[name], numpy[name])]
    return {
        "sequences": len(lengths),
        "probes": len(lava),
        "time_steps": len(next(iter(lava.values()))),
        "values": sum(states.size for states in lava.values()),
        "equal": not different and lava.keys() == numpy.keys(),
        "different": different,
    }


def against_bare(deployment: Deployment, data: Sequences) -> dict[str, float]:
    """A time step of classifier and bare network in turn: wall time, the least of each; processor time, the median.

    Processor time of start and end is taken off by runs of one sequence.
    """
    os.environ["PYTHONPATH"] = str(BARE)
    inputs, lengths = data.padded(np.arange(BARE_SEQUENCES))
    program = flatten(deployment.program)

    def measured(simulated: Callable[[int], float]) -> tuple[float, float]:
        """Seconds a step, wall and processor."""
        used, steps = [], [time_steps(deployment.program, lengths[:count]) for count in (1, BARE_SEQUENCES)]
        for count in (1, BARE_SEQUENCES):
            before = cpu_seconds(resource.RUSAGE_CHILDREN)
            wall = simulated(count)
            used.append(cpu_seconds(resource.RUSAGE_CHILDREN) - before)
        return wall, (used[1] - used[0]) / (steps[1] - steps[0])

    def classifier(count: int) -> float:
        return run(deployment, inputs[:count], "lava", lengths=lengths[:count]).seconds_per_step

    def bare(count: int) -> float:
        settings = {"steps": int(time_steps(deployment.program, lengths[:count]))}
        return float(run_in_child("bare_models:bare", program, settings, 600.0)["seconds_per_step"])

    full, empty = np.array([[measured(form) for form in (classifier, bare)] for _ in range(BARE_ROUNDS)]).swapaxes(0, 1)
    return {
        "seconds_per_step": full[:, 0].min(),
        "bare_seconds_per_step": empty[:, 0].min(),
        "ratio": full[:, 0].min() / empty[:, 0].min(),
        "cpu_ratio": float(np.median(full[:, 1]) / np.median(empty[:, 1])),
        "load": os.getloadavg()[0],
    }


def accuracy(
    model: RMAATForSequenceClassification,
    calibration: Calibration,
    train: Sequences,
    test: Sequences,
    steps: int,
    formats: list[WeightFormat],
) -> dict[str, Any]:
    """Points of accuracy that the integers lose, after calibration and after fine-tuning, with standard errors.

    Fine-tuning is quantisation-aware, and its control trains the floats in the same steps on the same batches.
    """
    inputs, lengths = test.padded(np.arange(len(test)))

    def tuned(weights: WeightFormat | None) -> RMAATForSequenceClassification:
        copied = copy.deepcopy(model).train()
        forward = QuantizationAware(copied, calibration, weights) if weights else copied
        optimizer, rng = torch.optim.AdamW(copied.parameters(), lr=TUNING_RATE), np.random.default_rng(0)
        for _ in range(steps):
            some = rng.integers(0, len(train), TUNING_BATCH)
            ids, n = map(torch.from_numpy, train.padded(some))
            optimizer.zero_grad()
            forward(ids, n, torch.from_numpy(train.labels[some])).loss.backward()
            optimizer.step()
        return copied.eval()

    def right(model: RMAATForSequenceClassification, weights: WeightFormat | None = None) -> np.ndarray:
        if weights is None:
            found = float_logits(model, inputs, lengths).argmax(1)
        else:
            found = run(quantize(model, calibration, weights=weights), inputs, "numpy", lengths=lengths).predictions
        return (found == test.labels).astype(float)

    def compared(these: np.ndarray, those: np.ndarray) -> dict[str, float]:
        """Accuracy in percent, and how much less than the other's, with the standard error of paired answers."""
        lost = those - these
        return {
            "accuracy": 100 * these.mean(),
            "lost": 100 * lost.mean(),
            "standard_error": 100 * lost.std() / np.sqrt(len(lost)),
        }

    real, control = right(model), tuned(None)
    real_control = right(control)
    found: dict[str, Any] = {
        "sequences": len(test),
        "float": 100 * real.mean(),
        "float_tuned": 100 * real_control.mean(),
        "fine_tuning_steps": steps,
    }
    for weights in formats:
        aware = tuned(weights)
        found[f"{weights.bits} bits, a {'channel' if weights.per_channel else 'tensor'}"] = {
            "calibrated": compared(right(model, weights), real),
            "control": compared(right(control, weights), real_control),
            "aware": compared(right(aware, weights), right(aware)),
            "aware_against_float": compared(right(aware, weights), real),
            "aware_against_float_tuned": compared(right(aware, weights), real_control),
        }
    return found


def second_task(folder: Path, held_out: int, steps: int, formats: list[WeightFormat]) -> dict[str, Any]:
    """`accuracy` on another run's own task, test split."""
    _, model, recipe = load_run(folder)
    splits = load_splits(recipe.task, recipe.data, recipe.seed)
    some = np.random.default_rng(0).permutation(len(splits.test))[:held_out]
    calibration = Calibration(*map(torch.from_numpy, splits.validation.padded(np.arange(64))))
    return {"task": recipe.task} | accuracy(model, calibration, splits.train, splits.test.select(some), steps, formats)


def main() -> None:
    """Measure the stages that were asked for; the JSON is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--short", type=int, default=1000, help="sequences of 64 to 128 tokens")
    parser.add_argument("--long", type=int, default=20, help="sequences of 501 to 1999 tokens")
    parser.add_argument("--probed", type=int, default=20, help="short sequences whose states are compared")
    parser.add_argument("--accuracy", type=int, default=2000, help="sequences of each accuracy")
    parser.add_argument("--steps", type=int, default=60, help="fine-tuning steps")
    parser.add_argument(
        "--formats", nargs="+", default=["8", "8t", "4", "3"], help="bits of the weights; t: one scale a tensor"
    )
    parser.add_argument("--second", type=Path, help="folder of a run on another task")
    names = ["short", "long", "probes", "against_bare", "accuracy", "accuracy_second"]
    parser.add_argument("--stages", nargs="+", default=names, choices=names)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/lava.json"))
    arguments = parser.parse_args()

    formats = [WeightFormat(int(name.rstrip("t")), not name.endswith("t")) for name in arguments.formats]
    _, model, recipe = load_run(arguments.run)
    grammar = listops.Grammar(min_length=63, max_length=129)
    short = listops.generate(max(arguments.short, arguments.accuracy, 64), 90_001, grammar)
    calibration = Calibration(*map(torch.from_numpy, listops.generate(64, 90_002).padded(np.arange(64))))
    deployment = quantize(model, calibration)
    about = recipe.model_dump(mode="json")
    result: dict[str, Any] = {"recipe": about, "versions": versions(), "created": timestamp(), "cores": os.cpu_count()}
    stages = {
        "short": lambda: compare(deployment, short.select(np.arange(arguments.short))),
        "long": lambda: compare(deployment, listops.generate(arguments.long, 90_003)),
        "probes": lambda: probes(deployment, short.select(np.arange(arguments.probed))),
        "against_bare": lambda: against_bare(deployment, short),
        "accuracy": lambda: accuracy(
            model,
            Calibration(*map(torch.from_numpy, short.padded(np.arange(64)))),
            listops.generate(4000, 90_004, grammar),
            short.select(np.arange(arguments.accuracy)),
            arguments.steps,
            formats,
        ),
        "accuracy_second": lambda: second_task(arguments.second, arguments.accuracy, arguments.steps, formats),
    }
    for name, stage in stages.items():
        if name not in arguments.stages or (name == "accuracy_second" and arguments.second is None):
            continue
        start = time.perf_counter()
        result[name] = stage()
        print(f"{name} ({time.perf_counter() - start:.0f} s): {json.dumps(result[name])}", flush=True)
        write_json(arguments.out, result)
    print(f"{arguments.out}")


if __name__ == "__main__":
    main()
