"""RMAAT: recurrent memory-augmented astromorphic transformers in PyTorch."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmaat.amrb import recur as recur
    from rmaat.attention import AstromorphicAttention as AstromorphicAttention
    from rmaat.baselines import baseline_config as baseline_config
    from rmaat.causal_lm import RMAATForCausalLM as RMAATForCausalLM
    from rmaat.config import RMAATConfig as RMAATConfig
    from rmaat.heads import RMAATForSequenceClassification as RMAATForSequenceClassification
    from rmaat.heads import RMAATForSequencePairClassification as RMAATForSequencePairClassification
    from rmaat.masked_lm import RMAATForMaskedLM as RMAATForMaskedLM
    from rmaat.model import RMAATModel as RMAATModel
    from rmaat.streaming import Stream as Stream

_HOME = {
    "AstromorphicAttention": "attention",
    "RMAATConfig": "config",
    "RMAATForCausalLM": "causal_lm",
    "RMAATForMaskedLM": "masked_lm",
    "RMAATForSequenceClassification": "heads",
    "RMAATForSequencePairClassification": "heads",
    "RMAATModel": "model",
    "Stream": "streaming",
    "baseline_config": "baselines",
    "recur": "amrb",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
