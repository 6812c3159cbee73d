"""Presynaptic spike trains as two flat arrays: which synapse, at what time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sim.errors import InputError
from astro_sim.stimulus import brief, numbers

MOST_TRIALS = 100_000  # of self-repair a million neurons and more at the defaults


def check_trials(trials: int) -> None:
    """InputError if `trials`, repetitions side by side, is no whole number from 1 to `MOST_TRIALS`."""
    if not isinstance(trials, int) or not 1 <= trials <= MOST_TRIALS:
        raise InputError("trials", trials, f"a whole number from 1 to {MOST_TRIALS:,}")


class SpikeTrains(NamedTuple):
    """Spikes of `size` trains on a raster of `dt` seconds, ordered by time.

    Attributes
    ----------
    synapse : ndarray of int, shape (n_spikes,)
    time : ndarray of float, shape (n_spikes,)
        Seconds; at most one spike of a train in a step.
    size : int
    """

    synapse: NDArray[np.int64]
    time: NDArray[np.float64]
    size: int

    def of(self, train: int) -> NDArray[np.float64]:
        """Times of one train."""
        return self.time[self.synapse == train]

    def description(self) -> dict[str, Any]:
        """The trains as the protocol of a recording."""
        return {"kind": "spike_times", "times_s": [self.of(train).tolist() for train in range(self.size)]}


def poisson_trains(rate_hz: ArrayLike, duration: float, dt: float, seed: int) -> SpikeTrains:
    """Draw Poisson trains: in each step of `dt` a spike with probability ``rate·dt``.

    Parameters
    ----------
    rate_hz : array_like, shape (n_trains,)
        Rates ≥ 0, with ``rate·dt ≤ 0.5``.
    """
    rates = _rates(rate_hz, dt, 0.5)
    steps = round(duration / dt)
    rng = np.random.default_rng(seed)
    counts = rng.binomial(steps, rates * dt)
    chosen = [np.sort(rng.choice(steps, size=count, replace=False)) for count in counts]
    return _ordered(chosen, dt)


def regular_trains(rate_hz: ArrayLike, duration: float, dt: float) -> SpikeTrains:
    """Regular trains: spikes at 1/rate, 2/rate, … on the raster, with ``rate·dt ≤ 1``."""
    rates = _rates(rate_hz, dt, 1)
    counts = np.floor(rates * duration * (1 - 1e-12)).astype(int)
    chosen = [np.rint(np.arange(1, count + 1) / rate / dt) for count, rate in zip(counts, rates, strict=True)]
    return _ordered(chosen, dt)


def given_trains(times: Sequence[ArrayLike], duration: float, dt: float) -> SpikeTrains:
    """Place given spike times (seconds, one sequence a train) on the raster of `dt`."""
    if len(times) == 0 or np.isscalar(times[0]):
        raise InputError("spike_times", brief(times), "a sequence of times for each of one or more synapses")
    chosen = []
    for train in times:
        array = np.sort(np.asarray(train, dtype=float))
        if array.size and not (np.isfinite(array).all() and array[0] >= 0 and array[-1] < duration):
            raise InputError("spike_times", array.tolist()[:3], f"times in 0 … {duration:g} s")
        steps = np.rint(array / dt)
        if np.any(np.diff(steps) == 0):
            raise InputError("spike_times", array.tolist()[:3], f"at most one spike in a step of {dt:g} s")
        chosen.append(steps)
    return _ordered(chosen, dt)


def _rates(rate_hz: ArrayLike, dt: float, most: float) -> NDArray[np.float64]:
    """One rate a train, of at most `most` spikes in a step."""
    rates = numbers("rate_hz", rate_hz)
    if rates.ndim != 1 or rates.size == 0 or not np.all(np.isfinite(rates) & (rates >= 0)):
        raise InputError("rate_hz", brief(rate_hz), "one or more finite rates >= 0 Hz")
    if np.any(rates * dt > most):
        raise InputError("rate_hz", float(rates.max()), f"at most {most / dt:g} Hz at a step of {dt:g} s")
    return rates


def _ordered(steps: Sequence[ArrayLike], dt: float) -> SpikeTrains:
    index = np.repeat(np.arange(len(steps)), [np.size(train) for train in steps])
    flat = np.concatenate([np.asarray(train, dtype=float) for train in steps])
    order = np.lexsort((index, flat))
    return SpikeTrains(index[order], flat[order] * dt, len(steps))
