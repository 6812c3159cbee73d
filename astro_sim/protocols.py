"""Stimulation protocols: the external input b_i(t) of every neuron, constant between edges."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from astro_sim.errors import InputError
from astro_sim.stimulus import BLOCK_VALUES, Array, Chunk, Protocol, Pulses, brief, numbers

MOST_PULSES = 1e12  # of Poisson trains: years of computing


def _amplitudes(amplitude: ArrayLike, n_neurons: int | None = None, name: str = "amplitude") -> Array:
    """One finite number a neuron; with `n_neurons`, one number stands for all."""
    values = numbers(name, amplitude)
    if n_neurons and values.size == 1:
        values = np.repeat(values.ravel(), n_neurons)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all() or n_neurons not in (None, len(values)):
        raise InputError(name, brief(amplitude), f"{n_neurons or 'finite'} numbers, one a neuron")
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
    description = {
        "n_cycles": int(n_cycles),
        "cycle_s": float(cycle_s),
        "on_s": float(on_s),
        "amplitude": amplitudes.tolist(),
        "jitter_s": float(jitter_s),
        "seed": seed,
    }
    n, at_once = len(amplitudes), max(1, BLOCK_VALUES // (2 * len(amplitudes)))

    def chunks() -> Iterator[Chunk]:
        rng = np.random.default_rng(seed)
        for first in range(0, n_cycles, at_once):
            cycles = np.arange(first, min(first + at_once, n_cycles))
            starts = cycles * float(cycle_s) + (rng.uniform(0, jitter_s, len(cycles)) if jitter_s else 0.0)
            yield np.repeat(starts, n), np.tile(np.arange(n), len(cycles)), float((cycles[-1] + 1) * cycle_s)

    return Pulses("stp_cycles", chunks, on_s, amplitudes, float(n_cycles * cycle_s), description)


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
    rates = numbers("rate_hz", rate_hz)
    if rates.ndim != 1 or rates.size == 0 or not (np.isfinite(rates) & (rates >= 0)).all():
        raise InputError("rate_hz", brief(rate_hz), "one or more finite rates >= 0 Hz")
    duration_s = _positive("duration_s", duration_s)
    _positive("pulse_s", pulse_s)
    heights = _amplitudes(amplitude, len(rates))
    description = {
        "rate_hz": rates.tolist(),
        "amplitude": heights.tolist(),
        "pulse_s": pulse_s,
        "seed": seed,
    }
    expected = rates.sum() * duration_s
    if expected > MOST_PULSES:
        raise InputError(
            "rate_hz", brief(rate_hz), f"at most {MOST_PULSES:.0e} pulses in duration_s = {duration_s:g} s"
        )
    windows = int(np.ceil(expected * 2 * len(rates) / BLOCK_VALUES)) or 1
    ends = np.linspace(0, duration_s, windows + 1)[1:]

    def chunks() -> Iterator[Chunk]:
        rng, start = np.random.default_rng(seed), 0.0
        for end in ends.tolist():
            neuron = np.repeat(np.arange(len(rates)), rng.poisson(rates * (end - start)))
            yield rng.uniform(start, end, len(neuron)), neuron, end
            start = end

    return Pulses("poisson", chunks, pulse_s, heights, duration_s, description)


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
        raise InputError("times_s", brief(times_s), "a sequence of times for each of one or more neurons")
    trains = [np.sort(numbers("times_s", train)) for train in times_s]
    for train in trains:
        if train.ndim != 1 or not ((train >= 0) & (train < duration_s)).all():
            raise InputError("times_s", brief(train), f"times from 0 to below {duration_s:g} s")
    if not any(len(train) for train in trains):
        raise InputError("times_s", brief(times_s), "at least one spike")
    _positive("pulse_s", pulse_s)
    heights = _amplitudes(amplitude, len(trains))
    description = {
        "times_s": [train.tolist() for train in trains],
        "amplitude": heights.tolist(),
        "pulse_s": pulse_s,
    }
    times, neuron = np.concatenate(trains), np.repeat(np.arange(len(trains)), [len(train) for train in trains])
    order, at_once = np.argsort(times, kind="stable"), max(1, BLOCK_VALUES // len(trains))

    def chunks() -> Iterator[Chunk]:
        for first in range(0, max(1, len(order)), at_once):
            mine, after = order[first : first + at_once], order[first + at_once : first + at_once + 1]
            yield times[mine], neuron[mine], float(times[after[0]]) if len(after) else duration_s

    return Pulses("spike_times", chunks, pulse_s, heights, duration_s, description)


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
    rows = numbers("values", values)
    if rows.ndim != 2 or rows.size == 0:
        raise InputError("values", rows.shape, "an array of shape (n_intervals, n_neurons) that is not empty")
    edges = np.arange(len(rows), dtype=float) * _positive("interval_s", interval_s)
    description = {"values": rows.tolist(), "interval_s": float(interval_s)}
    return Protocol("array", edges, rows, float(len(rows) * interval_s), description)
