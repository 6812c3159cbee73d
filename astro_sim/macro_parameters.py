"""Parameters of the macro neuron–astrocyte model: names, units, bounds, defaults."""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from astro_sim.errors import InputError
from astro_sim.functions import FUNCTIONS

KERNELS = ("exponential-l1", "exponential", "gaussian")
BORDERS = ("open", "periodic")


def _number(default: float, unit: str, low: float, what: str, *, strict: bool = False) -> Any:
    return field(default=default, metadata={"unit": unit, "low": low, "strict": strict, "what": what})


def _choice(default: str, options: tuple[str, ...], what: str) -> Any:
    return field(default=default, metadata={"options": options, "what": what})


@dataclass(frozen=True)
class MacroParameters:
    """Parameters of the macro model (neurons x, synapses s, astrocytic processes p_short and p_long).

    Each neuron is pre- and postsynaptic, so that `n_neurons` neurons have ``n_neurons**2`` synapses, each
    with one astrocytic process. Times are in seconds, lengths in grid steps, everything else is dimensionless.
    The equations are those of Kozachkov, Slotine, Krotov, arXiv 2311.08135, with the long-term process of
    Mia, Bal, Sengupta, arXiv 2601.00426; the constants are this project's (docs/decisions/astro_sim.md).

    Parameters
    ----------
    n_neurons : int
        Number of neurons, at least 1.
    tau_n, tau_s, tau_p_short, tau_p_long : float
        Time constants of neurons, synapses, short-term and long-term processes [s], above 0.
    leak_x, leak_s, leak_p_short, leak_p_long : float
        Leak rates λ, β, γˢ, γˡ, above 0.
    gain : float
        g(s) = gain · g₀(s), with g₀ the function named by `g`; at least 0.
    drive : float
        Weight of κ(s) in the short-term line, at least 0.
    coupling : float
        T₀, the transport between a process and itself (distance 0), at least 0.
    coupling_length : float
        ℓ, the decay length of the transport [grid steps], above 0.
    coupling_kernel : str
        ``"exponential-l1"`` T₀ exp(−(|Δi|+|Δj|)/ℓ), ``"exponential"`` T₀ exp(−√(Δi²+Δj²)/ℓ) or
        ``"gaussian"`` T₀ exp(−(Δi²+Δj²)/2ℓ²).
    border : str
        ``"open"`` or ``"periodic"``.
    theta, g, psi, kappa : str
        One of ``"tanh"``, ``"tanh-relu"``, ``"relu"``, ``"sigmoid"``, ``"identity"``.

    Raises
    ------
    InputError
        If a value is outside its bound.
    """

    n_neurons: int = field(default=3, metadata={"unit": "1", "low": 1, "strict": False, "what": "neurons"})
    tau_n: float = _number(0.05, "s", 0, "neuronal time constant", strict=True)
    tau_s: float = _number(0.5, "s", 0, "synaptic time constant", strict=True)
    tau_p_short: float = _number(5.0, "s", 0, "short-term time constant", strict=True)
    tau_p_long: float = _number(120.0, "s", 0, "long-term time constant", strict=True)
    leak_x: float = _number(1.0, "1", 0, "λ", strict=True)
    leak_s: float = _number(1.0, "1", 0, "β", strict=True)
    leak_p_short: float = _number(1.0, "1", 0, "γˢ", strict=True)
    leak_p_long: float = _number(1.0, "1", 0, "γˡ", strict=True)
    gain: float = _number(0.2, "1", 0, "synaptic gain")
    drive: float = _number(0.25, "1", 0, "weight of κ(s) in the short-term line")
    coupling: float = _number(0.1, "1", 0, "T₀")
    coupling_length: float = _number(1.0, "1", 0, "ℓ in grid steps", strict=True)
    coupling_kernel: str = _choice("exponential-l1", KERNELS, "transport against distance")
    border: str = _choice("open", BORDERS, "border of the grid")
    theta: str = _choice("tanh-relu", tuple(FUNCTIONS), "θ")
    g: str = _choice("identity", tuple(FUNCTIONS), "g₀")
    psi: str = _choice("tanh", tuple(FUNCTIONS), "ψ")
    kappa: str = _choice("tanh", tuple(FUNCTIONS), "κ")

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, rule = getattr(self, entry.name), entry.metadata
            if "options" in rule:
                if value not in rule["options"]:
                    raise InputError(entry.name, value, "one of " + ", ".join(rule["options"]))
                continue
            sign = ">" if rule["strict"] else ">="
            allowed = f"a {'whole ' if entry.type is int else ''}number {sign} {rule['low']} ({rule['what']}" + (
                ")" if rule["unit"] == "1" else f", {rule['unit']})"
            )
            if isinstance(value, bool) or not isinstance(value, int if entry.type is int else (int, float)):
                raise InputError(entry.name, value, allowed)
            if not math.isfinite(value) or value < rule["low"] or (rule["strict"] and value == rule["low"]):
                raise InputError(entry.name, value, allowed)

    def to_json(self) -> str:
        """The parameters as a JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "MacroParameters":
        """Parameters from the JSON object that `to_json` wrote.

        Raises
        ------
        InputError
            If it is not JSON, or names an unknown parameter.
        """
        try:
            entries = json.loads(text)
            return cls(**entries)
        except (TypeError, json.JSONDecodeError) as error:
            raise InputError("parameters", text[:60], f"the JSON of MacroParameters ({error})") from None
