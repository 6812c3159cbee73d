"""The trained model in integers: quantisation, a NumPy executor that owns the semantics, Lava processes, targets."""

import importlib
from typing import Any

_HOME = {
    "Calibration": "calibration",
    "Deployment": "deployment",
    "LavaError": "child",
    "QuantizationAware": "quantization_aware",
    "Outputs": "targets",
    "WeightFormat": "scales",
    "choose_target": "targets",
    "quantize": "deployment",
    "run": "targets",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"rmaat_lava.{_HOME[name]}"), name)
