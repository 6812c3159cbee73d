"""Stimulation protocols: the external input b_i(t) of every neuron, constant between edges."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sim.errors import InputError

Array = NDArray[np.float64]
CLOCK_DECIMALS = 9  # edges closer than a nanosecond are one


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

    def at(self, times: ArrayLike) -> Array:
        """The input at `times` [s], at least 0, shape (n_times, n_neurons); after the end, that of the end."""
        times = _numbers("times", times)
        if not (times >= 0).all():
            raise InputError("times", _brief(times), "times >= 0 s")
        return self.values[np.searchsorted(self.edges, times, side="right") - 1]

    def step_means(self, dt: float) -> Array:
        """Mean input over each step of length `dt` [s], shape (n_steps, n_neurons).

        Where every edge falls on a step this is the input itself; an edge inside a step keeps its integral.
        """
        n_steps = round(self.duration / dt)
        grid = np.arange(n_steps + 1) * dt
        widths = np.diff(np.append(self.edges, self.duration))
        integral = np.vstack([np.zeros(self.n_neurons), np.cumsum(self.values * widths[:, None], axis=0)])
        k = np.clip(np.searchsorted(self.edges, grid + 1e-9 * dt, side="right") - 1, 0, len(self.edges) - 1)
        means = np.diff(integral[k] + self.values[k] * (grid - self.edges[k])[:, None], axis=0) / dt
        inside = k[:-1] == np.clip(
            np.searchsorted(self.edges, grid[1:] - 1e-9 * dt, side="right") - 1, 0, len(self.edges) - 1
        )
        return np.where(inside[:, None], self.values[k[:-1]], means)

    def to_json(self) -> str:
        """What made the protocol, as a JSON object."""
        return json.dumps({"kind": self.kind, "duration_s": self.duration, **self.description})


def _brief(value: object) -> str:
    """`value` on one short line, for an error."""
    return " ".join(str(value).split())[:60]


def _numbers(name: str, value: ArrayLike) -> Array:
    """`value` as an array of at least one dimension."""
    try:
        return np.atleast_1d(np.asarray(value, dtype=float))
    except (TypeError, ValueError):
        raise InputError(name, _brief(value), "numbers") from None


def _amplitudes(amplitude: ArrayLike, n_neurons: int | None = None, name: str = "amplitude") -> Array:
    """One finite number a neuron; with `n_neurons`, one number stands for all."""
    values = _numbers(name, amplitude)
    if n_neurons and values.size == 1:
        values = np.repeat(values.ravel(), n_neurons)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all() or n_neurons not in (None, len(values)):
        raise InputError(name, _brief(amplitude), f"{n_neurons or 'finite'} numbers, one a neuron")
    return values


def _positive(name: str, value: float, unit: str = "s") -> float:
    if not isinstance(value, (int, float, np.number)) or not 0 < value < np.inf:
        raise InputError(name, value, f"a number > 0 {unit}")
    return float(value)


def stp_cycles(
    n_cycles: int,
    cycle_s: float,
    on_s: float,
    amplitude: ArrayLike,
    *,
    jitter_s: float = 0.0,
    seed: int = 0,
) -> Protocol:
    """Repeated short-term-plasticity cycles: input on for `on_s`, off for the rest of each cycle.

    Parameters
    ----------
    n_cycles : int
        Number of cycles, at least 1.
    cycle_s, on_s : float
        Length of a cycle and of its pulse [s], 0 < on_s < cycle_s; their ratio is the duty.
    amplitude : array_like
        Input during the pulse, one number a neuron, shape (n_neurons,).
    jitter_s : float
        Each pulse starts late by a uniform random time in [0, jitter_s] [s], jitter_s < cycle_s − on_s.
    seed : int
        Seed of the jitter.

    Raises
    ------
    InputError
        If a number is outside its bound.
    """
    if isinstance(n_cycles, bool) or not isinstance(n_cycles, (int, np.integer)) or n_cycles < 1:
        raise InputError("n_cycles", n_cycles, "a whole number >= 1")
    if not _positive("on_s", on_s) < _positive("cycle_s", cycle_s):
        raise InputError("on_s", on_s, f"a pulse of more than 0 s and less than the cycle of {cycle_s} s")
    if jitter_s and not _positive("jitter_s", jitter_s) < cycle_s - on_s:
        raise InputError("jitter_s", jitter_s, f"0 s or more, less than the pause of {cycle_s - on_s} s")
    amplitudes = _amplitudes(amplitude)
    starts = np.asarray(np.arange(n_cycles) * float(cycle_s), dtype=np.float64)
    if jitter_s:
        starts = starts + np.random.default_rng(seed).uniform(0, jitter_s, n_cycles)
    description = {
        "n_cycles": int(n_cycles),
        "cycle_s": float(cycle_s),
        "on_s": float(on_s),
        "amplitude": amplitudes.tolist(),
        "jitter_s": float(jitter_s),
        "seed": seed,
    }
    pulses = [starts] * len(amplitudes)
    return _pulses("stp_cycles", pulses, on_s, amplitudes, float(n_cycles * cycle_s), description)


def poisson(
    rate_hz: ArrayLike, duration_s: float, amplitude: ArrayLike, *, pulse_s: float = 0.05, seed: int = 0
) -> Protocol:
    """Independent Poisson trains of pulses, one train a neuron; overlapping pulses add up.

    Parameters
    ----------
    rate_hz : array_like
        Mean rate of each neuron [Hz], at least 0, shape (n_neurons,).
    duration_s : float
        Length of the protocol [s].
    amplitude : array_like
        Height of a pulse, one number for all or one a neuron.
    pulse_s : float
        Length of a pulse [s], above 0.
    seed : int
        Seed of the trains.
    """
    rates = _numbers("rate_hz", rate_hz)
    if rates.ndim != 1 or rates.size == 0 or not (np.isfinite(rates) & (rates >= 0)).all():
        raise InputError("rate_hz", _brief(rate_hz), "one or more finite rates >= 0 Hz")
    duration_s = _positive("duration_s", duration_s)
    rng = np.random.default_rng(seed)
    trains = [np.sort(rng.uniform(0, duration_s, rng.poisson(rate * duration_s))) for rate in rates]
    heights = _amplitudes(amplitude, len(rates))
    description = {
        "rate_hz": rates.tolist(),
        "amplitude": heights.tolist(),
        "pulse_s": pulse_s,
        "seed": seed,
    }
    return _pulses("poisson", trains, pulse_s, heights, duration_s, description)


def spike_times(
    times_s: Sequence[ArrayLike], duration_s: float, amplitude: ArrayLike, *, pulse_s: float = 0.05
) -> Protocol:
    """A pulse at each of the given times, one sequence of times a neuron; overlapping pulses add up.

    Parameters
    ----------
    times_s : sequence of array_like
        Spike times of each neuron [s], from 0 to below `duration_s`.
    duration_s, amplitude, pulse_s
        As in `poisson`.
    """
    duration_s = _positive("duration_s", duration_s)
    if not isinstance(times_s, (Sequence, np.ndarray)) or len(times_s) == 0 or np.isscalar(times_s[0]):
        raise InputError("times_s", _brief(times_s), "a sequence of times for each of one or more neurons")
    trains = [np.sort(_numbers("times_s", train)) for train in times_s]
    for train in trains:
        if train.ndim != 1 or not ((train >= 0) & (train < duration_s)).all():
            raise InputError("times_s", _brief(train), f"times from 0 to below {duration_s:g} s")
    heights = _amplitudes(amplitude, len(trains))
    description = {
        "times_s": [train.tolist() for train in trains],
        "amplitude": heights.tolist(),
        "pulse_s": pulse_s,
    }
    return _pulses("spike_times", trains, pulse_s, heights, duration_s, description)


def ramp(duration_s: float, start: ArrayLike, stop: ArrayLike, *, resolution_s: float = 0.1) -> Protocol:
    """Input that moves linearly from `start` to `stop`, as a staircase whose steps have the ramp's mean.

    Parameters
    ----------
    duration_s : float
        Length of the ramp [s].
    start, stop : array_like
        Input at both ends, one number a neuron, shape (n_neurons,).
    resolution_s : float
        Length of a stair [s], above 0, at most the duration.
    """
    if not _positive("resolution_s", resolution_s) <= _positive("duration_s", duration_s):
        raise InputError("resolution_s", resolution_s, f"a number > 0 and <= {duration_s:g} s")
    first = _amplitudes(start, name="start")
    last = _amplitudes(stop, len(first), "stop")
    n = int(np.ceil(duration_s / resolution_s - 1e-9))
    middle = (np.arange(n) + 0.5)[:, None] / n
    description = {"start": first.tolist(), "stop": last.tolist(), "resolution_s": resolution_s}
    edges = np.linspace(0, duration_s, n, endpoint=False)
    return Protocol("ramp", edges, first + (last - first) * middle, float(duration_s), description)


def array(values: ArrayLike, interval_s: float) -> Protocol:
    """Input from an array: row k is held from k·interval_s to (k + 1)·interval_s.

    Parameters
    ----------
    values : array_like
        Shape (n_intervals, n_neurons).
    interval_s : float
        Time between rows [s], above 0.
    """
    rows = _numbers("values", values)
    if rows.ndim != 2 or rows.size == 0:
        raise InputError("values", rows.shape, "an array of shape (n_intervals, n_neurons) that is not empty")
    edges = np.arange(len(rows), dtype=float) * _positive("interval_s", interval_s)
    return Protocol("array", edges, rows, float(len(rows) * interval_s), {"interval_s": interval_s})


def _pulses(
    kind: str,
    trains: Sequence[Array],
    pulse_s: float,
    heights: Array,
    duration: float,
    description: dict[str, Any],
) -> Protocol:
    """Sum of pulses of length `pulse_s`, those of neuron i starting at ``trains[i]``."""
    _positive("pulse_s", pulse_s)
    starts = np.concatenate(trains) if trains else np.empty(0)
    neuron = np.repeat(np.arange(len(trains)), [len(train) for train in trains])
    times = np.round(np.concatenate([[0.0], starts, starts + pulse_s]), CLOCK_DECIMALS)
    change = np.concatenate([[0.0], heights[neuron], -heights[neuron]])
    edges, where = np.unique(times, return_inverse=True)
    values = np.zeros((len(edges), len(heights)))
    np.add.at(values, (where, np.concatenate([[0], neuron, neuron])), change)
    values = np.where(np.abs(total := values.cumsum(axis=0)) < 1e-12 * np.abs(heights), 0.0, total)
    kept = edges < duration
    return Protocol(kind, edges[kept], values[kept], float(duration), description)
