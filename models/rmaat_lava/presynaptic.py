"""Constants and one time step of Tsodyks-Markram release, in real numbers and in 24-bit integers.

The state belongs to the presynaptic neuron, because it depends on its spikes alone and on the gliotransmitter that one
astrocyte lets all its synapses see; what leaves is a graded spike, the released fraction (`astro_sim.synapse`):

    u <- u e^(-Ω_f Δt)        x <- 1 - (1 - x) e^(-Ω_d Δt)
    at a spike: U_0 = U_0* + Γ (α - U_0*);  u += U_0 (1 - u);  r = u x;  x -= r
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from astro_sim.synapse import SynapseParameters
from rmaat_lava.arithmetic import Integers, factor_of, multiply_shift, round_shift

State = tuple[np.ndarray, np.ndarray, np.ndarray]
"""u, x and the released fraction r, each (neurons,)."""

STATE_EXPONENT = 22
"""u and x lie within 0 and 1."""
MESSAGE_EXPONENT = 14
"""Γ in, r out."""


class Release:
    """What the process models of `processes.presynaptic.Presynaptic` compute.

    Parameters
    ----------
    synapse : SynapseParameters
    dt : float
        Time step [s], above 0.
    neurons : int
    """

    def __init__(self, synapse: SynapseParameters, dt: float, neurons: int) -> None:
        self.synapse, self.neurons = synapse, neurons
        self.forget, self.recover = (-np.expm1(-rate * dt) for rate in (synapse.Omega_f, synapse.Omega_d))
        self.rest, self.swing = synapse.U_0_star, synapse.alpha - synapse.U_0_star
        self.integer_forget, self.integer_recover = factor_of(self.forget), factor_of(self.recover)
        self.integer_rest, self.integer_swing = (round(value * 2**STATE_EXPONENT) for value in (self.rest, self.swing))

    def real(self, spikes: np.ndarray, bound: np.ndarray, u: np.ndarray, x: np.ndarray) -> State:
        """One step in float64; `spikes` are zero or not, `bound` is Γ, cut to 0 .. 1, every array (neurons,)."""
        bound = np.clip(bound, 0, 1)
        u, x = u - self.forget * u, x + self.recover * (1 - x)
        raised = u + (self.rest + self.swing * bound) * (1 - u)
        fired = spikes != 0
        released = np.where(fired, raised * x, 0.0)
        return np.where(fired, raised, u), x - released, released

    def integer(self, spikes: Integers, bound: Integers, u: Integers, x: Integers) -> State:
        """One step in integers: u and x at 2^-22, Γ and r at 2^-14, rates with 15 bits; no state leaves 0 .. 1."""
        one, bound = 1 << STATE_EXPONENT, np.clip(bound, 0, 1 << MESSAGE_EXPONENT)
        u = u - multiply_shift(u, *self.integer_forget)
        x = x + multiply_shift(one - x, *self.integer_recover)
        resting = self.integer_rest + round_shift(self.integer_swing * bound, MESSAGE_EXPONENT)
        raised = u + round_shift(resting * (one - u), STATE_EXPONENT)
        fired = spikes != 0
        released = np.where(fired, round_shift(raised * x, STATE_EXPONENT), 0)
        return (
            np.where(fired, raised, u),
            x - released,
            round_shift(released, STATE_EXPONENT - MESSAGE_EXPONENT),
        )

    def error_bound(self, lowest: float) -> dict[str, float]:
        """Largest distance of the integers from `real`, whatever the spikes.

        Parameters
        ----------
        lowest : float
            Least release probability U_0 that gliotransmission leaves.

        Notes
        -----
        A quiet step and a spike are both contractions of the error, with a rounding added; the error stays below
        the larger of their fixed points. A state rounds by half of 2^-22, Γ and r by half of 2^-14, a rate is off by
        2^-15 of itself.
        """
        half, message = 0.5 * 2.0**-STATE_EXPONENT, 0.5 * 2.0**-MESSAGE_EXPONENT

        def largest(rate: float, at_spike: float, keeps: float) -> float:
            quiet = half + rate * 2.0**-15
            return max(quiet / rate, (keeps * quiet + at_spike) / (1 - keeps * (1 - rate)))

        keeps = 1 - lowest
        u = largest(self.forget, abs(self.swing) * message + 4 * half, keeps)
        x = largest(self.recover, u + half, keeps)
        return {"u": u, "x": x, "released": u + x + half + message}


def run_release(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Job of the child process: u, x and released fractions after every step of given spikes and Γ.

    Parameters
    ----------
    arrays : mapping
        ``spikes`` and ``bound``, (neurons, steps); ``bound`` real, or integers at 2^-14 for ``"fixed_pt"``.
    settings : mapping
        ``synapse`` (fields of SynapseParameters), ``dt``, ``tag``.
    """
    from lava.proc.io.source import RingBuffer

    from rmaat_lava.processes.presynaptic import Presynaptic
    from rmaat_lava.worker import record

    neurons, steps = arrays["spikes"].shape
    release = Release(SynapseParameters(**settings["synapse"]), settings["dt"], neurons)
    process = Presynaptic(release, settings["tag"], name="presynaptic")
    for name, port in (("spikes", process.s_in), ("bound", process.bound_in)):
        RingBuffer(data=arrays[name]).s_out.connect(port)
    probes = {"u": process.u, "x": process.x, "released": process.s_out}
    recorded, _ = record(process, steps, settings["tag"], probes)
    process.stop()
    return recorded


def run_loop(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Job of the child process: Lava's LIF and Dense, presynaptic release and tripartite units in a closed loop.

        LIF -> Presynaptic -> Dense -> LIF
                   ^    |
                   |    +-> Dense -> TripartiteUnit -> Dense -> (Γ, back to Presynaptic)

    Parameters
    ----------
    arrays : mapping
        ``current`` (neurons, steps) into the first LIF; ``weights`` (neurons, neurons) of the Dense between the two,
        ``drive`` (synapses, neurons) from release to the tripartite units, ``mean`` (neurons, synapses) from their
        calcium to Γ.
    settings : mapping
        ``synapse``, ``macro`` (fields of SynapseParameters and MacroParameters), ``dt``, ``tag``, ``lif`` (arguments
        of Lava's LIF), ``drive_exponent`` and ``mean_exponent`` (shared weight exponents of the two other Dense).
    """
    from lava.proc.dense.process import Dense
    from lava.proc.io.source import RingBuffer
    from lava.proc.lif.process import LIF

    from astro_sim.macro_parameters import MacroParameters
    from rmaat_lava.processes.astrocyte import TripartiteUnit
    from rmaat_lava.processes.presynaptic import Presynaptic
    from rmaat_lava.tripartite import Unit
    from rmaat_lava.worker import record

    neurons, steps = arrays["current"].shape
    unit = Unit(MacroParameters(**settings["macro"]), settings["dt"])
    source, before, after = (
        RingBuffer(data=arrays["current"]),
        *(LIF(shape=(neurons,), **settings["lif"]) for _ in range(2)),
    )
    release = Release(SynapseParameters(**settings["synapse"]), settings["dt"], neurons)
    presynaptic = Presynaptic(release, settings["tag"], name="presynaptic")
    tripartite = TripartiteUnit(unit, name="tripartite")
    synapses = Dense(weights=arrays["weights"], num_message_bits=24)
    drive = Dense(weights=arrays["drive"], num_message_bits=24, weight_exp=settings["drive_exponent"])
    mean = Dense(weights=arrays["mean"], num_message_bits=24, weight_exp=settings["mean_exponent"])
    source.s_out.connect(before.a_in)
    before.s_out.connect(presynaptic.s_in)
    for dense, target in ((synapses, after.a_in), (drive, tripartite.pair_in)):
        presynaptic.s_out.connect(dense.s_in)
        dense.a_out.connect(target)
    tripartite.calcium_out.connect(mean.s_in)
    mean.a_out.connect(presynaptic.bound_in)
    probes = {
        "spikes": before.s_out,
        "bound": mean.a_out,
        "u": presynaptic.u,
        "x": presynaptic.x,
        "released": presynaptic.s_out,
        "pair": drive.a_out,
        "s": tripartite.s,
        "p_short": tripartite.p_short,
        "p_long": tripartite.p_long,
        "calcium": tripartite.calcium_out,
        "spikes_after": after.s_out,
    }
    recorded, _ = record(presynaptic, steps, settings["tag"], probes)
    presynaptic.stop()
    return recorded
