"""The classifier on Lava: what the child process builds, runs and reads."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from rmaat_lava.processes.classifier import Classifier
from rmaat_lava.program import rebuild, time_steps
from rmaat_lava.worker import record


def classify(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Job of the child process: logits of sequences, and on request what every probe shows at every step.

    Parameters
    ----------
    arrays : mapping
        The program's arrays under ``program.``, ``inputs`` and ``lengths``.
    settings : mapping
        ``probe`` (bool); ``neuro_core_models``, a module whose ``MODELS`` has a process model of the chip for each
        process, or None for Lava's CPU simulator.
    """
    program = rebuild({name.removeprefix("program."): a for name, a in arrays.items() if name.startswith("program.")})
    lengths = arrays["lengths"]
    inputs = [row[:n] for row, n in zip(arrays["inputs"], lengths, strict=True)]
    classifier = Classifier(program, inputs, name="classifier")
    steps = time_steps(program, lengths)
    probes = classifier.probes() if settings["probe"] else {}
    chip = settings["neuro_core_models"]
    models = importlib.import_module(chip).MODELS if chip else None
    recorded, seconds = record(classifier, steps, "fixed_pt", probes, models, on_chip=bool(chip))
    outputs = {
        "seconds_per_step": np.array(seconds / steps),
        "logits": classifier.logits.get().astype(np.int64),
        "saturated": np.array(classifier.saturated()),
    }
    outputs |= {f"probe.{name}": np.asarray(values).astype(np.int64) for name, values in recorded.items()}
    classifier.stop()
    return outputs
