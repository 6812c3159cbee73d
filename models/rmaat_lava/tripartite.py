"""Constants, tables and one time step of the tripartite unit, in real numbers and in 24-bit integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from astro_sim.functions import FUNCTIONS
from astro_sim.macro_parameters import MacroParameters
from rmaat_lava.arithmetic import MULTIPLIER_BITS, Integers, factor_of, multiply_shift, round_shift, saturate

State = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""s, p_short, p_long, gain, calcium."""

STATE_EXPONENT = 21
"""States lie within ±4."""
MESSAGE_EXPONENT = 14
"""Messages θθ, g, ψ(p) and arguments of the tables."""


class Unit:
    """What the process models of `TripartiteUnit` compute.

    Parameters
    ----------
    parameters : MacroParameters
    dt : float
        Time step [s], above 0.

    Attributes
    ----------
    saturated : Counter
        States cut to 24 bits so far, by name; `integer` counts them.
    """

    def __init__(self, parameters: MacroParameters, dt: float) -> None:
        self.parameters, self.dt = parameters, dt
        self.saturated: Counter = Counter()
        self.shape = parameters.shape
        self.synapses = int(np.prod(self.shape))
        self.transport = np.asarray(parameters.transport.dense)
        leaks = {name: getattr(parameters, f"leak_{name}") for name in ("s", "p_short", "p_long")}
        self.leaks = leaks
        self.rates = {name: -np.expm1(-leak * dt / getattr(parameters, f"tau_{name}")) for name, leak in leaks.items()}
        self.psi, self.kappa, self.g = (FUNCTIONS[getattr(parameters, name)].value for name in ("psi", "kappa", "g"))
        arguments = np.arange(-4 * 2**MESSAGE_EXPONENT, 4 * 2**MESSAGE_EXPONENT + 1) / 2.0**MESSAGE_EXPONENT
        self.tables = {name: _message(getattr(self, name)(arguments)) for name in ("psi", "kappa")}
        self.tables["g"] = _message(parameters.gain * self.g(arguments))
        self.integer_rates = {name: factor_of(rate / leaks[name]) for name, rate in self.rates.items()}
        self.integer_leaks = {name: factor_of(rate) for name, rate in self.rates.items()}
        self.integer_transport = _message(self.transport)
        self.integer_drive = int(_message(np.array(parameters.drive)))

    def real(self, pair: np.ndarray, s: np.ndarray, p_short: np.ndarray, p_long: np.ndarray) -> State:
        """One step in float64; every array (synapses,)."""
        calcium = self.psi(p_short)
        new_s = self._advance("s", s, pair + calcium)
        uptake = self.kappa((s + new_s) / 2)
        new_short = self._advance("p_short", p_short, self.transport @ calcium + self.parameters.drive * uptake)
        new_long = self._advance("p_long", p_long, uptake)
        return new_s, new_short, new_long, self.parameters.gain * self.g(new_s), self.psi(new_short)

    def _advance(self, name: str, y: np.ndarray, drive: np.ndarray) -> np.ndarray:
        return y + self.rates[name] * (drive / self.leaks[name] - y)

    def integer(self, pair: Integers, s: Integers, p_short: Integers, p_long: Integers) -> State:
        """One step in integers: states at 2^-21, messages and tables at 2^-14, rates with 15 bits."""
        calcium = self._look_up("psi", p_short)
        new_s = self._advance_integer("s", s, pair + calcium)
        uptake = self._look_up("kappa", round_shift(s + new_s, 1))
        moved = round_shift(self.integer_transport @ calcium + self.integer_drive * uptake, MESSAGE_EXPONENT)
        new_short = self._advance_integer("p_short", p_short, moved)
        new_long = self._advance_integer("p_long", p_long, uptake)
        return new_s, new_short, new_long, self._look_up("g", new_s), self._look_up("psi", new_short)

    def _advance_integer(self, name: str, y: Integers, drive: Integers) -> Integers:
        """Gain times input minus leak times state in one wide sum, rounded once."""
        (gain, gain_shift), (leak, leak_shift) = self.integer_rates[name], self.integer_leaks[name]
        wide = (drive << (STATE_EXPONENT - MESSAGE_EXPONENT)) * gain
        loss = multiply_shift(y, np.asarray(leak), leak_shift - gain_shift)
        return saturate(y + round_shift(wide - loss, gain_shift), name, self.saturated)

    def _look_up(self, name: str, state: Integers) -> Integers:
        """A function of a state by its table of every argument, (synapses,)."""
        return self.tables[name][round_shift(state, STATE_EXPONENT - MESSAGE_EXPONENT) + 4 * 2**MESSAGE_EXPONENT]

    def error_bound(self) -> dict[str, float]:
        """Largest distance of the integer states from `real`, to first order in the rounding errors.

        A step rounds once, by half of 2^-21, and the leak forgets it at the state's rate; messages, table arguments
        and table values are off by half of 2^-14 each, the rates by 2^-15 of themselves. How
        errors go round the loop is bounded by the largest row sum of T, where its spectral radius decides whether the
        loop settles: near latching the bounds are infinite.
        """
        half_state, half_message = 0.5 * 2.0**-STATE_EXPONENT, 0.5 * 2.0**-MESSAGE_EXPONENT
        looked_up = 2 * half_message  # argument and value, slopes at most 1
        relative = 2 * 2.0**-MULTIPLIER_BITS * 2.0  # gain and leak, of a state of at most 2
        rounding = {name: half_state / rate + relative for name, rate in self.rates.items()}
        load = float(np.abs(self.transport).sum(1).max())
        matrix = half_message * (self.synapses + 2)
        # s and p_short drive each other: bound of s = a + b·bound of p_short, and the reverse
        s_own = rounding["s"] + (looked_up + half_message) / self.leaks["s"]
        short_own = (
            rounding["p_short"]
            + (load * looked_up + self.parameters.drive * looked_up + matrix) / (self.leaks["p_short"])
        )
        to_s, to_short = 1 / self.leaks["s"], self.parameters.drive / self.leaks["p_short"]
        stay = 1 - load / self.leaks["p_short"] - to_s * to_short
        if stay <= 0:
            return dict.fromkeys(self.rates, np.inf)
        short = (short_own + to_short * s_own) / stay
        s = s_own + to_s * short
        return {"s": s, "p_short": short, "p_long": rounding["p_long"] + (s + looked_up) / self.leaks["p_long"]}


def _message(x: np.ndarray) -> Integers:
    return np.asarray(np.rint(x * 2.0**MESSAGE_EXPONENT), np.int64)


def run_unit(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Job of the child process: states after every step for a drive θ(x_i) θ(x_j).

    Parameters
    ----------
    arrays : mapping
        ``pair``, (synapses, steps): real, or integers at 2^-14 for ``"fixed_pt"``.
    settings : mapping
        ``parameters`` (fields of MacroParameters), ``dt``, ``tag``.
    """
    from lava.proc.io.source import RingBuffer

    from rmaat_lava.processes.astrocyte import TripartiteUnit
    from rmaat_lava.worker import record

    unit = Unit(MacroParameters(**settings["parameters"]), settings["dt"])
    process = TripartiteUnit(unit, name="tripartite")
    RingBuffer(data=arrays["pair"]).s_out.connect(process.pair_in)
    probes = {name: getattr(process, name) for name in ("s", "p_short", "p_long", "saturated")}
    recorded, _ = record(process, arrays["pair"].shape[1], settings["tag"], probes)
    process.stop()
    return recorded
