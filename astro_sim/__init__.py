"""Neuron–synapse–astrocyte models in Brian2, their protocols and recordings."""

import importlib
from typing import Any

# public name -> module; imported on first use, so that `import astro_sim` costs nothing
_MODULES = {
    "AstrocyteParameters": "astrocyte",
    "DiffusiveAstrocyteParameters": "diffusive_astrocyte",
    "DistanceCoupling": "coupling",
    "GliotransmissionParameters": "gliotransmission",
    "InputError": "errors",
    "LiRinzelModel": "li_rinzel",
    "MacroParameters": "macro_parameters",
    "MacroState": "macro_equations",
    "NetworkModel": "network_model",
    "NeuronParameters": "neurons",
    "PlasticityModel": "slow_plasticity",
    "Protocol": "protocols",
    "RingModel": "gap_junctions",
    "SelfRepairModel": "self_repair",
    "SynapseParameters": "synapse",
    "TripartiteModel": "tripartite_model",
    "WorkingMemoryModel": "working_memory_model",
    "default_protocol": "macro",
    "energy": "lyapunov",
    "energy_rate": "lyapunov",
    "green_length": "theory",
    "increment_ratio": "theory",
    "load_recording": "recording",
    "memory_window": "recall",
    "recall_correlation": "recall",
    "save_recording": "recording",
    "simulate_li_rinzel": "li_rinzel",
    "simulate_macro": "macro",
    "simulate_network": "network",
    "simulate_plasticity": "slow_plasticity",
    "simulate_ring": "gap_junctions",
    "simulate_self_repair": "self_repair",
    "simulate_tripartite": "tripartite",
    "simulate_working_memory": "working_memory",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'astro_sim' has no attribute {name!r}")
    return getattr(importlib.import_module(f"astro_sim.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
