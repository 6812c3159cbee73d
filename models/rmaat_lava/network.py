"""The classifier's Lava network: what the child process builds, runs and reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rmaat_lava.processes.classifier import AstromorphicLayer, Embedding, MemoryRetention, ReadOut
from rmaat_lava.program import Program, rebuild, time_steps
from rmaat_lava.worker import record


class ClassifierNetwork:
    """Embedding → memory retention → layers → read-out, the last layer feeding back to the retention.

    Parameters
    ----------
    program : Program
    inputs : list of int64 arrays
        One a sequence.

    Attributes
    ----------
    embedding, retention, layers, readout
        The processes; any Var or OutPort of them can be probed with a Lava Monitor.
    """

    def __init__(self, program: Program, inputs: list[np.ndarray]) -> None:
        self.embedding = Embedding(program, inputs, name="embedding")
        self.retention = MemoryRetention(program, name="retention")
        self.layers = [AstromorphicLayer(program, i, name=f"layers.{i}") for i in range(len(program.layers))]
        self.readout = ReadOut(program, len(inputs), name="readout")
        self.embedding.x_out.connect(self.retention.token_in)
        source = self.retention.x_out
        for layer in self.layers:
            source.connect(layer.x_in)
            source = layer.x_out
        source.connect(self.retention.memory_in)
        source.connect(self.readout.x_in)

    def probes(self) -> dict[str, Any]:
        """Every state that can be watched, by name."""
        named = {"retention.memory": self.retention.memory, "readout.pool": self.readout.pool}
        for i, layer in enumerate(self.layers):
            for name in ("weights", "activity", "attended", "features"):
                named[f"layers.{i}.{name}"] = getattr(layer, name)
        return named

    def saturated(self) -> int:
        """Values that had to be cut to 24 bits, in all processes."""
        counters = [self.embedding.saturated, self.retention.saturated, self.readout.saturated]
        counters += [counter for layer in self.layers for counter in (layer.write_saturated, layer.read_saturated)]
        return int(sum(counter.get()[0] for counter in counters))


def classify(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Job of the child process: logits of sequences, and on request what every probe shows at every step.

    Parameters
    ----------
    arrays : mapping
        The program's arrays under ``program.``, ``inputs`` and ``lengths``.
    settings : mapping
        ``probe`` (bool).
    """
    program = rebuild({name.removeprefix("program."): a for name, a in arrays.items() if name.startswith("program.")})
    lengths = arrays["lengths"]
    network = ClassifierNetwork(program, [row[:n] for row, n in zip(arrays["inputs"], lengths, strict=True)])
    steps = time_steps(program, lengths)
    probes = network.probes() if settings["probe"] else {}
    recorded, seconds = record(network.embedding, steps, "fixed_pt", probes)
    outputs = {
        "seconds_per_step": np.array(seconds / steps),
        "logits": network.readout.logits.get().astype(np.int64),
        "saturated": np.array(network.saturated()),
    }
    outputs |= {f"probe.{name}": np.asarray(values).astype(np.int64) for name, values in recorded.items()}
    network.embedding.stop()
    return outputs
