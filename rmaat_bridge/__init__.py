"""From recordings to differentiable layers: fits with error bars, the bio-parameters file, torch modules."""

import importlib

_HOME = {
    "AstrocyticKernel": "kernel",
    "AttentionFit": "fit_result",
    "BioParameters": "bio_parameters",
    "FitResult": "fit_result",
    "PresynapticFit": "fit_result",
    "PresynapticResponse": "response",
    "Quantity": "quantity",
    "RetentionFit": "fit_result",
    "RetentionSchedule": "schedule",
    "fit_attention": "attention",
    "fit_presynaptic": "presynaptic",
    "fit_retention": "retention",
    "make_reference": "reference",
    "sobol_indices": "sensitivity",
    "with_posterior": "trainable",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
