"""Models that RMAAT is compared with, as settings of the same configuration: same block, data and budget."""

from typing import Any

from astro_sim.errors import InputError
from rmaat.config import RMAATConfig

PLAIN = {"astrocytic": False, "presynaptic": "linear", "alpha": None, "learn_alpha": False, "retention": "off"}
WHOLE = {"memory_tokens": 0, "backprop": "bptt"}  # one segment holds the whole sequence

BASELINES: dict[str, dict[str, Any]] = {
    "rmaat": {},
    "transformer": PLAIN | WHOLE | {"mixer": "softmax"},
    "linear": PLAIN | WHOLE,
    "at": WHOLE | {"retention": "off"},
    "ssm": PLAIN | WHOLE | {"mixer": "ssm"},
    "rmt": PLAIN | {"mixer": "softmax", "backprop": "bptt"},
    "rmt-amrb": PLAIN | {"mixer": "softmax", "backprop": "amrb"},
    "rlt": PLAIN | {"backprop": "bptt"},
}


def own_fields(name: str, longest: int | None = None) -> dict[str, Any]:
    """Fields of `RMAATConfig` that make a baseline what it is; models that do not cut have segments of `longest`."""
    changes = BASELINES.get(name, {})
    return changes | ({"segment_length": longest} if changes.get("memory_tokens") == 0 else {})


def baseline_config(name: str, longest: int, **fields: Any) -> RMAATConfig:
    """The configuration of a model of `BASELINES`.

    Parameters
    ----------
    name : str
        Over the whole sequence: "transformer" (softmax), "linear" (linear attention), "at" (astromorphic
        attention), "ssm" (diagonal state space). With segments and memory tokens: "rmt" (softmax, BPTT),
        "rmt-amrb" (the same with AMRB), "rlt" (linear attention, BPTT), "rmaat".
    longest : int
        Tokens of the longest sequence: the segment of the models that do not cut.
    **fields
        Everything else of `RMAATConfig`; what makes the baseline what it is wins.

    Raises
    ------
    InputError
        If there is no such baseline.
    """
    if name not in BASELINES:
        raise InputError("model", name, f"one of {', '.join(BASELINES)}")
    return RMAATConfig(**fields | own_fields(name, longest))
