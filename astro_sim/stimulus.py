"""External input b_i(t) of every neuron, constant between edges: held as a whole, or made block by block."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sim.errors import InputError

Array = NDArray[np.float64]
Block = tuple[Array, Array]
Chunk = tuple[Array, NDArray[np.int64], float]
CLOCK_DECIMALS = 9  # edges closer than a nanosecond are one
BLOCK_VALUES = 2**17


@dataclass(frozen=True)
class Protocol:
    """Input that is held between edges: ``b_i(t) = values[k, i]`` for ``edges[k] <= t < edges[k + 1]``.

    Parameters
    ----------
    kind : str
        Name of the function that made it.
    edges : numpy.ndarray
        Times at which the input changes [s], shape (n_edges,), rising from 0.
    values : numpy.ndarray
        Input from each edge on (dimensionless), shape (n_edges, n_neurons).
    duration : float
        End of the protocol [s], after the last edge.
    description : dict
        What made it (JSON values), kept with every recording.

    Raises
    ------
    InputError
        If it is empty, not finite, or its edges do not rise from 0 to before `duration`.
    """

    kind: str
    edges: Array
    values: Array
    duration: float
    description: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.edges) == 0 or not 0 < self.duration < np.inf:
            raise InputError("protocol", f"{self.kind} of {self.duration} s", "a protocol that is not empty")
        if self.values.ndim != 2 or len(self.values) != len(self.edges) or self.n_neurons == 0:
            raise InputError("values", self.values.shape, f"an array of shape ({len(self.edges)}, n_neurons)")
        if self.edges[0] != 0 or not (np.diff(self.edges, append=self.duration) > 0).all():
            allowed = f"times that rise from 0 to < {self.duration} s"
            raise InputError("edges", self.edges[:4].tolist(), allowed)
        if not np.isfinite(self.values).all():
            raise InputError("values", "a number that is not finite", "finite inputs")

    @property
    def n_neurons(self) -> int:
        """Number of neurons that receive input."""
        return self.values.shape[1]

    def blocks(self) -> Iterator[Block]:
        """Edges and values in the order of time, a bounded number at once; each block holds from its first edge on."""
        rows = max(1, BLOCK_VALUES // self.n_neurons)
        for start in range(0, len(self.edges), rows):
            yield self.edges[start : start + rows], self.values[start : start + rows]

    def pieces(self) -> Iterator[tuple[float, float, Array]]:
        """Start, end [s] and input of every stretch of constant input."""
        start, value = 0.0, np.empty(0)
        for edges, values in self.blocks():
            for edge, now in zip(edges.tolist(), values, strict=True):
                if edge > start:
                    yield start, edge, value
                start, value = edge, now
        yield start, self.duration, value

    def at(self, times: ArrayLike) -> Array:
        """The input at `times` [s], at least 0, shape (n_times, n_neurons); after the end, that of the end."""
        times = numbers("times", times)
        if not (times >= 0).all():
            raise InputError("times", brief(times), "times >= 0 s")
        return self.values[np.searchsorted(self.edges, times, side="right") - 1]

    def changes(self, dt: float) -> Iterator[tuple[int, Array]]:
        """Steps of length `dt` [s] from which on the mean input over a step is another, and that input, (n_neurons,).

        The first is step 0. Where every edge falls on a step this is the input itself; an edge inside a step
        keeps its integral.
        """
        n_steps, done, blocks = round(self.duration / dt), 0, self.blocks()
        edges, values = next(blocks)
        last = np.full(self.n_neurons, np.nan)
        while done < n_steps:
            more = next(blocks, None)
            end = self.duration if more is None else float(more[0][0])
            whole = n_steps if more is None else int(end / dt + 1e-9)  # steps that end in this block
            inside = np.floor(edges / dt + 1e-9).astype(np.int64)
            steps = np.unique(np.concatenate([[done], inside, inside + 1]))
            steps = steps[(steps >= done) & (steps < whole)]
            for step, value in zip(steps.tolist(), _means(edges, values, steps, dt), strict=True):
                if not np.array_equal(value, last):
                    yield step, value
                last = value
            done = whole
            if more is not None:
                kept = max(0, int(np.searchsorted(edges, whole * dt + 1e-9 * dt, side="right")) - 1)
                edges, values = np.append(edges[kept:], more[0]), np.concatenate([values[kept:], more[1]])

    def step_means(self, dt: float) -> Array:
        """Mean input over each step of length `dt` [s], shape (n_steps, n_neurons): `changes`, written out."""
        steps, values = zip(*self.changes(dt), strict=True)
        return np.repeat(values, np.diff([*steps, round(self.duration / dt)]), axis=0)

    def to_json(self) -> str:
        """What made the protocol, as a JSON object."""
        return json.dumps({"kind": self.kind, "duration_s": self.duration, **self.description})


def _means(edges: Array, values: Array, steps: NDArray[np.int64], dt: float) -> Array:
    """Mean input over each of the `steps`, shape (n_steps, n_neurons); what is held after the last edge goes on."""
    start, stop = steps * dt, (steps + 1) * dt
    first = np.clip(np.searchsorted(edges, start + 1e-9 * dt, side="right") - 1, 0, None)
    last = np.clip(np.searchsorted(edges, stop - 1e-9 * dt, side="right") - 1, 0, None)
    integral = np.concatenate(
        [np.zeros((1, values.shape[1])), np.cumsum(values[:-1] * np.diff(edges)[:, None], axis=0)]
    )
    until, since = (integral[k] + values[k] * (t - edges[k])[:, None] for k, t in ((last, stop), (first, start)))
    return np.where((first == last)[:, None], values[first], (until - since) / dt)


class Pulses(Protocol):
    """Pulses of one length, whose starts are drawn anew, chunk by chunk, whenever the input is read.

    Its memory is that of one chunk, however long the protocol is; `edges` and `values` write the whole out.

    Parameters
    ----------
    kind, duration, description
        As in `Protocol`.
    chunks : callable
        Gives, in the order of time, the starts of pulses [s], the neuron of each, and the time [s] before which
        all of them lie and from which on those of the next chunk follow.
    pulse_s : float
        Length of a pulse [s].
    heights : numpy.ndarray
        Input during a pulse of each neuron, shape (n_neurons,); overlapping pulses add up.
    """

    _chunks: Callable[[], Iterator[Chunk]]
    _pulse_s: float
    _heights: Array

    def __init__(
        self,
        kind: str,
        chunks: Callable[[], Iterator[Chunk]],
        pulse_s: float,
        heights: Array,
        duration: float,
        description: dict[str, Any],
    ) -> None:
        own = {"kind": kind, "duration": duration, "description": description}
        self.__dict__.update(own, _chunks=chunks, _pulse_s=pulse_s, _heights=heights)  # frozen: no assignment

    @property
    def n_neurons(self) -> int:
        """Number of neurons that receive input."""
        return len(self._heights)

    @cached_property
    def edges(self) -> Array:
        """All times at which the input changes [s]."""
        return np.concatenate([edges for edges, _ in self.blocks()])

    @cached_property
    def values(self) -> Array:
        """The input from each edge on."""
        return np.concatenate([values for _, values in self.blocks()])

    def blocks(self) -> Iterator[Block]:
        """Edges and values of one chunk after the other."""
        heights, start = self._heights, 0.0
        times, neurons, changes = np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0)
        level = np.zeros(self.n_neurons)
        for starts, neuron, until in self._chunks():
            times = np.concatenate([times, starts, starts + self._pulse_s]).round(CLOCK_DECIMALS)
            neurons = np.concatenate([neurons, neuron, neuron])
            changes = np.concatenate([changes, heights[neuron], -heights[neuron]])
            now = times < until
            edges, where = np.unique(np.append(start, times[now]), return_inverse=True)
            values = np.zeros((len(edges), self.n_neurons))
            values[0] = level
            np.add.at(values, (where[1:], neurons[now]), changes[now])
            total = values.cumsum(axis=0)
            values = np.where(np.abs(total) < 1e-12 * np.abs(heights), 0.0, total)
            yield edges, values
            level, start = values[-1], until
            times, neurons, changes = times[~now], neurons[~now], changes[~now]


def brief(value: object) -> str:
    """`value` on one short line, for an error."""
    return " ".join(str(value).split())[:60]


def numbers(name: str, value: ArrayLike) -> Array:
    """`value` as an array of at least one dimension."""
    try:
        return np.atleast_1d(np.asarray(value, dtype=float))
    except (TypeError, ValueError):
        raise InputError(name, brief(value), "numbers") from None
