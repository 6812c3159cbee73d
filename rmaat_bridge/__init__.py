"""From recordings to differentiable layers: fits with error bars, the bio-parameters file, torch modules."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmaat_bridge.attention import fit_attention as fit_attention
    from rmaat_bridge.bio_parameters import BioParameters as BioParameters
    from rmaat_bridge.fit_result import AttentionFit as AttentionFit
    from rmaat_bridge.fit_result import FitResult as FitResult
    from rmaat_bridge.fit_result import PresynapticFit as PresynapticFit
    from rmaat_bridge.fit_result import RetentionFit as RetentionFit
    from rmaat_bridge.kernel import AstrocyticKernel as AstrocyticKernel
    from rmaat_bridge.presynaptic import fit_presynaptic as fit_presynaptic
    from rmaat_bridge.quantity import Quantity as Quantity
    from rmaat_bridge.reference import make_reference as make_reference
    from rmaat_bridge.response import PresynapticResponse as PresynapticResponse
    from rmaat_bridge.retention import fit_retention as fit_retention
    from rmaat_bridge.schedule import RetentionSchedule as RetentionSchedule
    from rmaat_bridge.sensitivity import sobol_indices as sobol_indices
    from rmaat_bridge.trainable import with_posterior as with_posterior

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
