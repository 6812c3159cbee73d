"""Stimulation protocols: the external input b_i(t) of every neuron, constant between edges."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sim.errors import InputError

Array = NDArray[np.float64]


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
        if len(self.edges) == 0 or self.duration <= 0:
            raise InputError("protocol", f"{self.kind} of {self.duration} s", "a protocol that is not empty")
        if self.values.ndim != 2 or len(self.values) != len(self.edges):
            raise InputError("values", self.values.shape, f"an array of shape ({len(self.edges)}, n_neurons)")
        if self.edges[0] != 0 or (np.diff(self.edges) <= 0).any() or self.edges[-1] >= self.duration:
            allowed = f"times that rise from 0 to < {self.duration} s"
            raise InputError("edges", self.edges[:4].tolist(), allowed)
        if not (np.isfinite(self.values).all() and np.isfinite(self.duration)):
            raise InputError("values", "a number that is not finite", "finite inputs")

    @property
    def n_neurons(self) -> int:
        """Number of neurons that receive input."""
        return self.values.shape[1]

    def at(self, times: ArrayLike) -> Array:
        """The input at `times` [s], shape (n_times, n_neurons)."""
        return self.values[np.searchsorted(self.edges, np.asarray(times), side="right") - 1]

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


def stp_cycles(n_cycles: int, cycle_s: float, on_s: float, amplitude: ArrayLike) -> Protocol:
    """Repeated short-term-plasticity cycles: input on for `on_s`, off for the rest of each cycle.

    Parameters
    ----------
    n_cycles : int
        Number of cycles, at least 1.
    cycle_s, on_s : float
        Length of a cycle and of its pulse [s], 0 < on_s < cycle_s.
    amplitude : array_like
        Input during the pulse, one number a neuron, shape (n_neurons,).

    Raises
    ------
    InputError
        If a number is outside its bound.
    """
    if isinstance(n_cycles, bool) or int(n_cycles) != n_cycles or n_cycles < 1:
        raise InputError("n_cycles", n_cycles, "a whole number >= 1")
    if not cycle_s > 0:
        raise InputError("cycle_s", cycle_s, "a length of a cycle > 0 s")
    if not 0 < on_s < cycle_s:
        raise InputError("on_s", on_s, f"a pulse of more than 0 s and less than the cycle of {cycle_s} s")
    amplitudes = np.atleast_1d(np.asarray(amplitude, dtype=float))
    starts = np.arange(n_cycles) * cycle_s
    edges = np.column_stack([starts, starts + on_s]).ravel()
    values = np.tile(np.vstack([amplitudes, np.zeros_like(amplitudes)]), (n_cycles, 1))
    description = {
        "n_cycles": int(n_cycles),
        "cycle_s": float(cycle_s),
        "on_s": float(on_s),
        "amplitude": amplitudes.tolist(),
    }
    return Protocol("stp_cycles", edges, values, float(n_cycles * cycle_s), description)
