"""Whether a program fits the chip, and an estimate of its energy there from published constants.

The mapping that is counted: one neuron an output of each projection; one neuron an entry of H and of G, which keeps
its 24-bit state and gets graded spikes from φ(k), v and φ(q); one neuron a channel for the residual stream, which
keeps the tokens of two segments (the one that is written and the one that is read). Every process has cores of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from astro_sim.errors import InputError
from rmaat_lava.program import Layer, Program, flatten

STATE_BYTES = 3
TABLE_BYTES = 2


@dataclass(frozen=True)
class Constant:
    """A published figure.

    Parameters
    ----------
    value : float
        A limit of the chip, or the J or s of one event.
    source : str
        Who found it, on what.
    """

    value: float
    source: str


_INTEL = "Intel Labs, technology brief on Loihi 2, 2021, its table beside Loihi"
CHIP = {
    "neuro_cores": Constant(128, f"{_INTEL}: neuron cores a chip"),
    "neurons_per_core": Constant(8192, f"{_INTEL}: 1 million neurons a chip, taken as 2^20 over 128 cores"),
    "bytes_per_core": Constant(192 * 1024, f"{_INTEL}: 192 KB a core, allocated at will"),
    "state_bytes_per_neuron": Constant(4096, f"{_INTEL}: 0 to 4096 bytes a neuron"),
}
"""Limits of Loihi 2. Axons of a core and the length of a neuron's microcode have limits too, but none are published."""

_DAVIES = (
    "Davies et al., Loihi, IEEE Micro 38(1), 2018, Table 2: pre-silicon simulation of Loihi 1 (14 nm), not Loihi 2"
)
ENERGY = {
    "synaptic_operations": Constant(23.6e-12, f"{_DAVIES}; synaptic spike operation, minimum"),
    "neuron_updates": Constant(81e-12, f"{_DAVIES}; active neuron update"),
    "spikes": Constant(1.7e-12, f"{_DAVIES}; spike within a tile, hops between tiles not counted"),
}
LATENCY = {
    "synaptic_operations": Constant(3.5e-9, f"{_DAVIES}; time of a synaptic spike operation, maximum"),
    "neuron_updates": Constant(8.4e-9, f"{_DAVIES}; time of an active neuron update"),
    "time_step": Constant(465e-9, f"{_DAVIES}; barrier synchronisation of 32 tiles, the whole chip"),
}


@dataclass(frozen=True)
class Part:
    """What one process needs.

    Parameters
    ----------
    name : str
    neurons, synapses : int
    weight_bytes : int
        Mantissas of the synapses.
    state_bytes : int
        24-bit states, biases and factors.
    table_bytes : int
        Lookup tables and constants of the astrocyte, 16 bit.
    widest_state : int
        Bytes that one neuron has to keep.
    synaptic_operations, neuron_updates, spikes : int
        A token, every message counted as different from zero.
    """

    name: str
    neurons: int
    synapses: int
    weight_bytes: int
    state_bytes: int
    table_bytes: int
    widest_state: int
    synaptic_operations: int
    neuron_updates: int
    spikes: int

    @property
    def cores(self) -> int:
        """Neuro-cores, by neurons and by memory, at least one."""
        memory = self.weight_bytes + self.state_bytes + self.table_bytes
        by_neurons, by_memory = self.neurons / CHIP["neurons_per_core"].value, memory / CHIP["bytes_per_core"].value
        return max(ceil(by_neurons), ceil(by_memory), 1)


@dataclass(frozen=True)
class Resources:
    """What a program needs on the chip.

    Parameters
    ----------
    parts : tuple of Part
        One a Lava process.
    time_steps_per_token : float
        Layers times places of a segment over its tokens.
    places_per_token : float
        Places of a segment, memory and tokens, over its tokens.
    """

    parts: tuple[Part, ...]
    time_steps_per_token: float
    places_per_token: float

    def total(self, name: str) -> int:
        """Sum of a field, or of the cores, over the parts."""
        return sum(getattr(part, name) for part in self.parts)

    @property
    def joules_per_token(self) -> dict[str, float]:
        """Estimate by kind of event; each constant's source is in `ENERGY`."""
        return {name: self.total(name) * constant.value for name, constant in ENERGY.items()}

    @property
    def seconds_per_token(self) -> float:
        """Estimate: the cores of the slowest process work off a place one event after another, then all wait.

        Each process spreads its events evenly over its cores; spikes' way between cores, host traffic and a later
        chip's gains are left out. Each constant's source is in `LATENCY`.
        """

        def step(part: Part) -> float:
            events = sum(
                getattr(part, name) * LATENCY[name].value for name in ("synaptic_operations", "neuron_updates")
            )
            return events / self.places_per_token / part.cores

        return self.time_steps_per_token * (max(map(step, self.parts)) + LATENCY["time_step"].value)

    def check(self) -> None:
        """Refuse a program that no core, or not one chip, could hold.

        Raises
        ------
        InputError
        """
        for part in self.parts:
            if part.widest_state > (most := CHIP["state_bytes_per_neuron"].value):
                wanted = f"at most {most} bytes a neuron; use shorter segments"
                raise InputError(f"{part.name}: state", f"{part.widest_state} bytes", wanted)
        if (cores := self.total("cores")) > (most := CHIP["neuro_cores"].value):
            raise InputError("neuro-cores", cores, f"at most {most}, on one chip")

    def as_dict(self) -> dict[str, Any]:
        """For `deployment.json`."""
        names = (*asdict(self.parts[0]), "cores")
        return {
            "processes": len(self.parts),
            "total": {name: self.total(name) for name in names if name not in ("name", "widest_state")},
            "parts": [asdict(part) | {"cores": part.cores} for part in self.parts],
            "chip": {name: asdict(constant) for name, constant in CHIP.items()},
            "time_steps_per_token": self.time_steps_per_token,
            "estimated_joules_per_token": self.joules_per_token | {"total": sum(self.joules_per_token.values())},
            "energy_constants": {name: asdict(constant) for name, constant in ENERGY.items()},
            "estimated_seconds_per_token": self.seconds_per_token,
            "latency_constants": {name: asdict(constant) for name, constant in LATENCY.items()},
        }


def count(program: Program, weight_bits: int = 8) -> Resources:
    """Count what a program needs.

    Parameters
    ----------
    program : Program
    weight_bits : int
        Of a synapse, sign included.
    """
    dim, places, first = program.dim, program.places, program.memory_tokens
    norm, per_token = program.retention.norm, places / program.segment_length
    parts = [
        _embedding(program),
        *(_stem(program) if program.stem else ()),
        Part(
            "retention",
            **_memory(
                [program.retention],
                neurons=dim + len(norm) * (dim + 2),
                states=first * dim,
                widest=3 * STATE_BYTES * first,
            ),
            synaptic_operations=0,
            neuron_updates=round(dim * (per_token + len(norm) * first / program.segment_length)),
            spikes=round(dim * (per_token + len(norm) * first / program.segment_length)),
        ),
    ]
    for i, layer in enumerate(program.layers):
        parts += _layer(program, layer, i, places)
    parts.append(_readout(program, per_token))
    parts = [replace(part, weight_bytes=-(-part.synapses * weight_bits // 8)) for part in parts]
    return Resources(tuple(parts), len(program.layers) * per_token, per_token)


def _embedding(program: Program) -> Part:
    """The embedding and, where several tokens share a place, their merging."""
    dim, stride, embedding = program.dim, program.stride, program.embedding
    inputs = int(embedding.active) or len(embedding.linear.weight)  # active synapses of a channel
    merged = bool(embedding.merge)
    nodes = [embedding] if program.stem else [embedding, program.position]
    kept = 0 if program.stem else program.token_places
    return Part(
        "embedding",
        **_memory(nodes, neurons=dim * (stride + merged), states=0, widest=STATE_BYTES * kept),
        synaptic_operations=dim * (inputs + (dim if merged else 0)),
        neuron_updates=round(dim * (1 + merged / stride)),
        spikes=round(dim * (1 if merged else 0) + dim / stride),
    )


def _stem(program: Program) -> Iterable[Part]:
    """The convolutions; a channel keeps the segment that comes, that which leaves, and the messages between."""
    dim, stem, per_token = program.dim, program.stem, 1 / program.stride
    yield Part(
        "stem",
        **_memory(
            [*stem, program.position],
            neurons=len(stem) * (dim + dim + 2),
            states=len(stem) * 2 * program.token_places * dim,
            widest=3 * program.token_places * STATE_BYTES,
        ),
        synaptic_operations=round(per_token * sum(c.linear.weight.size for c in stem)),
        neuron_updates=round(per_token * len(stem) * 2 * dim),
        spikes=round(per_token * len(stem) * dim),
    )


def _layer(program: Program, layer: Layer, index: int, places: int) -> Iterable[Part]:
    """Write mode and read mode; a memory place costs as much as a token, so costs a token are a little higher."""
    dim, heads, width = program.dim, program.heads, program.head_dim
    hidden = layer.read.ffn_in.weight.shape[1]
    matrix = heads * width * width
    share = places / program.segment_length
    yield Part(
        f"layers.{index}.write",
        **_memory([layer.write], neurons=2 * dim + matrix + dim, states=matrix + dim, widest=places * TABLE_BYTES),
        synaptic_operations=round(share * (2 * dim * dim + 2 * matrix + dim)),
        neuron_updates=round(share * (2 * dim + matrix + dim)),
        spikes=round(share * 2 * dim),
    )
    yield Part(
        f"layers.{index}.read",
        **_memory(
            [layer.read],
            neurons=dim + matrix + dim + heads + 2 * (dim + 2) + hidden + dim,
            states=matrix + dim + 2 * places * dim,
            widest=2 * places * STATE_BYTES,
        ),
        synaptic_operations=round(share * (dim * dim + matrix + dim + 2 * dim * hidden)),
        neuron_updates=round(share * (dim + matrix + dim + heads + 3 * dim + hidden)),
        spikes=round(share * (dim + matrix + 3 * dim + hidden)),
    )


def _readout(program: Program, per_token: float) -> Part:
    """Sums, pool and classes; for pairs the pool of the first document, a * b, a - b and the hidden layer.

    What is done once a sequence is not counted among the events of a token.
    """
    dim, pairs = program.dim, program.readout.matching
    hidden = sum(len(matching.hidden.bias) for matching in pairs)
    return Part(
        "readout",
        **_memory(
            [program.readout],
            neurons=2 * dim * (3 if pairs else 1) + hidden + program.labels,
            states=4 * dim + (2 * dim if pairs else 0),
            widest=(3 if pairs else 2) * STATE_BYTES,
        ),
        synaptic_operations=0,
        neuron_updates=round(dim * per_token),
        spikes=0,
    )


def _memory(nodes: list[Any], neurons: int, states: int, widest: int) -> dict[str, int]:
    """Synapses and bytes of parts of a program."""
    arrays = flatten(tuple(nodes))
    weights = sum(array.size for array in arrays.values() if array.dtype == np.int8)
    tables = [
        name for name in arrays if name.endswith(("table", "fraction", "octave", "astrocytic", "factor", "share"))
    ]
    constants = sum(arrays[name].size for name in tables)
    others = sum(array.size for name, array in arrays.items() if array.dtype != np.int8 and name not in tables)
    return {
        "neurons": neurons,
        "synapses": weights,
        "weight_bytes": weights,
        "state_bytes": (states + others) * STATE_BYTES,
        "table_bytes": constants * TABLE_BYTES,
        "widest_state": widest,
    }
