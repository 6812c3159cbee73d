"""RMAAT: recurrent memory-augmented astromorphic transformers in PyTorch."""

import importlib

_HOME = {
    "AstromorphicAttention": "attention",
    "RMAATConfig": "config",
    "RMAATForSequenceClassification": "heads",
    "RMAATModel": "model",
    "recur": "amrb",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
