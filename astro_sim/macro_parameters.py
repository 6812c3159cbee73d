"""Parameters of the macro neuron–astrocyte model: names, units, bounds, defaults."""

import json
import math
import warnings
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import psutil

from astro_sim.coupling import KERNELS, Coupling, DistanceCoupling, Kernel, MemoryCoupling
from astro_sim.errors import InputError
from astro_sim.functions import FUNCTIONS


class LatchingWarning(UserWarning):
    """Rest is unstable: p_short will not decay after a stimulus but latch at another fixed point."""


def _number(default: float, unit: str, what: str, *, above: bool = False) -> Any:
    return field(default=default, metadata={"unit": unit, "what": what, "above": above})


def _choice(default: str, options: tuple[str, ...], what: str) -> Any:
    return field(default=default, metadata={"options": options, "what": what})


@dataclass(frozen=True)
class MacroParameters:
    """Parameters of the macro model (neurons x, synapses s, astrocytic processes p_short and p_long).

    Times are in seconds, lengths in grid steps, everything else is dimensionless. The equations are those of
    Kozachkov, Slotine, Krotov, arXiv 2311.08135, with the long-term process of Mia, Bal, Sengupta,
    arXiv 2601.00426; the constants are this project's (docs/decisions/astro_sim.md).

    Parameters
    ----------
    n_neurons : int
        Number of (postsynaptic) neurons, at least 1. Each is presynaptic too, unless `n_pre` is given.
    n_pre : int, optional
        Number of presynaptic neurons of their own, at least 1: a feed-forward network, in which these neurons
        have input and leak only. Inputs and x then list the presynaptic neurons first.
    layout : str
        ``"line"``, or ``"sheet"``: a square sheet (the numbers of neurons are squares).
    tau_n, tau_s, tau_p_short, tau_p_long : float
        Time constants of neurons, synapses, short-term and long-term processes [s], above 0.
    leak_x, leak_s, leak_p_short, leak_p_long : float
        Leak rates λ, β, γˢ, γˡ, above 0.
    gain : float
        g(s) = gain · g₀(s), with g₀ the function named by `g`; at least 0.
    drive : float
        Weight of κ(s) in the short-term line, at least 0.
    coupling : float
        T₀, the transport at distance 0, at least 0.
    coupling_length : float
        ℓ, the decay length of the transport [grid steps], above 0.
    coupling_kernel : str or callable
        ``"exponential-l1"``, ``"exponential"``, ``"gaussian"``, ``"memories"`` or a function of the Euclidean
        distance; see `DistanceCoupling` and `MemoryCoupling`.
    border : str
        ``"open"`` or ``"periodic"``.
    memories : tuple of tuple of float
        Patterns of the kernel ``"memories"``, one number a neuron each.
    theta, g, psi, kappa : str
        One of ``"tanh"``, ``"tanh-relu"``, ``"relu"``, ``"sigmoid"``, ``"identity"``.

    Raises
    ------
    InputError
        If a value is outside its bound.

    Warns
    -----
    LatchingWarning
        If `latching_margin` is negative.
    """

    n_neurons: int = 3
    n_pre: int | None = None
    layout: str = _choice("line", ("line", "sheet"), "layout of the neurons")
    tau_n: float = _number(0.05, "s", "neuronal time constant", above=True)
    tau_s: float = _number(0.5, "s", "synaptic time constant", above=True)
    tau_p_short: float = _number(5.0, "s", "short-term time constant", above=True)
    tau_p_long: float = _number(120.0, "s", "long-term time constant", above=True)
    leak_x: float = _number(1.0, "1", "λ", above=True)
    leak_s: float = _number(1.0, "1", "β", above=True)
    leak_p_short: float = _number(1.0, "1", "γˢ", above=True)
    leak_p_long: float = _number(1.0, "1", "γˡ", above=True)
    gain: float = _number(0.2, "1", "synaptic gain")
    drive: float = _number(0.25, "1", "weight of κ(s) in the short-term line")
    coupling: float = _number(0.1, "1", "T₀")
    coupling_length: float = _number(1.0, "grid step", "ℓ", above=True)
    coupling_kernel: Kernel = "exponential-l1"
    border: str = _choice("open", ("open", "periodic"), "border of the grid")
    memories: tuple[tuple[float, ...], ...] = ()
    theta: str = _choice("tanh-relu", tuple(FUNCTIONS), "θ")
    g: str = _choice("identity", tuple(FUNCTIONS), "g₀")
    psi: str = _choice("tanh", tuple(FUNCTIONS), "ψ")
    kappa: str = _choice("tanh", tuple(FUNCTIONS), "κ")

    def __post_init__(self) -> None:
        for entry in fields(self):
            if isinstance(value := getattr(self, entry.name), np.generic):
                object.__setattr__(self, entry.name, value.item())
            _check(entry.name, getattr(self, entry.name), dict(entry.metadata))
        for name in ("n_neurons", "n_pre"):
            count = getattr(self, name)
            if count is None and name == "n_pre":
                continue
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InputError(name, count, "a whole number >= 1")
            if self.layout == "sheet" and math.isqrt(count) ** 2 != count:
                raise InputError(name, count, "a square number, as layout is sheet")
        _check_room(self)
        try:
            object.__setattr__(self, "memories", tuple(tuple(map(float, row)) for row in self.memories))
        except (TypeError, ValueError):
            raise InputError("memories", str(self.memories)[:60], "patterns of numbers") from None
        if self.coupling_kernel == "memories":
            rows = self.memories
            good = rows and {len(row) for row in rows} == {self.n_neurons} and np.isfinite(rows).all()
            if not good or self.n_pre:
                allowed = f"patterns of {self.n_neurons} finite numbers, and no n_pre"
                raise InputError("memories", [len(row) for row in rows], allowed)
        elif not callable(self.coupling_kernel) and self.coupling_kernel not in KERNELS:
            kernels = ", ".join((*KERNELS, "memories"))
            raise InputError("coupling_kernel", self.coupling_kernel, f"one of {kernels}, or a function")
        if self.latching_margin < 0:
            warnings.warn(
                f"latching margin {self.latching_margin:.3g} < 0: p_short will not decay after a stimulus. "
                "Lower coupling or drive, or raise leak_s or leak_p_short.",
                LatchingWarning,
                stacklevel=3,
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Grid of synapses and processes, (n_post, n_pre)."""
        return self.n_neurons, self.n_pre or self.n_neurons

    @property
    def n_inputs(self) -> int:
        """Number of neurons, pre- and postsynaptic: length of x and of the input."""
        return self.n_neurons + (self.n_pre or 0)

    @property
    def rates(self) -> dict[str, float]:
        """Leak rate of each variable, leak/τ [1/s]."""
        return {
            "x": self.leak_x / self.tau_n,
            "s": self.leak_s / self.tau_s,
            "p_short": self.leak_p_short / self.tau_p_short,
            "p_long": self.leak_p_long / self.tau_p_long,
        }

    @cached_property
    def transport(self) -> Coupling:
        """The operator Σ_kl T_ijkl u_kl."""
        if self.coupling_kernel == "memories":
            return MemoryCoupling(self.memories, self.coupling)
        post, pre = ((math.isqrt(n),) * 2 if self.layout == "sheet" else (n,) for n in self.shape)
        return DistanceCoupling(post, pre, self.coupling, self.coupling_length, self.coupling_kernel, self.border)

    @property
    def rests_at_zero(self) -> bool:
        """Whether ψ and κ are 0 at 0, so that there is a state of rest at 0."""
        return not any(FUNCTIONS[name].value(np.zeros(1))[0] for name in (self.psi, self.kappa))

    @property
    def psi_slope(self) -> float:
        """ψ′(0)."""
        return float(FUNCTIONS[self.psi].slope(np.zeros(1))[0])

    @property
    def leak_at_rest(self) -> float:
        """γˢ − drive·κ′(0)·ψ′(0)/β: what p_short loses near 0, less what comes back to it by way of s."""
        kappa_slope = float(FUNCTIONS[self.kappa].slope(np.zeros(1))[0])
        return self.leak_p_short - self.drive * kappa_slope * self.psi_slope / self.leak_s

    @cached_property
    def latching_margin(self) -> float:
        """β(γˢ − ρ(T)ψ′(0)) − drive·κ′(0)·ψ′(0); below 0 the state of rest is unstable.

        From the linearised s and p_short lines at rest. Infinite where ψ or κ is not 0 at 0, as there is
        no state of rest at 0 then.
        """
        if not self.rests_at_zero:
            return math.inf
        return self.leak_s * (self.leak_at_rest - self.transport.spectral_radius * self.psi_slope)

    def to_json(self) -> str:
        """The parameters as a JSON object; a callable kernel by its name."""
        return json.dumps(asdict(self), default=lambda kernel: f"{kernel.__module__}:{kernel.__qualname__}")

    @classmethod
    def from_json(cls, text: str) -> "MacroParameters":
        """Parameters from the JSON object that `to_json` wrote.

        Raises
        ------
        InputError
            If it is not JSON, or names an unknown parameter or a callable kernel.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, json.JSONDecodeError) as error:
            raise InputError("parameters", text[:60], f"the JSON of MacroParameters ({error})") from None


def _check_room(parameters: MacroParameters) -> None:
    """Refuse more processes than memory can hold: a run takes 1 to 2 kB for each."""
    processes, free = math.prod(parameters.shape), psutil.virtual_memory().available
    if processes * 1000 > free:
        most = math.isqrt(free // 1000)
        allowed = f"some {most} at most, as {processes:.2g} processes do not fit into {free / 2**30:.1f} GiB"
        raise InputError("n_neurons", parameters.n_neurons, allowed)


def _check(name: str, value: Any, rule: dict[str, Any]) -> None:
    if "options" in rule and value not in rule["options"]:
        raise InputError(name, value, "one of " + ", ".join(rule["options"]))
    if "unit" not in rule:
        return
    sign, unit = (">" if rule["above"] else ">="), "" if rule["unit"] == "1" else f" {rule['unit']}"
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (rule["above"] and value == 0):
        raise InputError(name, value, f"a number {sign} 0{unit} ({rule['what']})")
