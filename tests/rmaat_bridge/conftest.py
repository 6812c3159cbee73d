"""Synthetic recordings and sections whose answer is known, and a macro recording made once a session."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from astro_sim import save_recording, simulate_macro
from rmaat_bridge import AttentionFit, BioParameters, FitResult, PresynapticFit, Quantity, RetentionFit
from rmaat_bridge.reference import point_drive

# Shape parameters for every family.
SHAPES: dict[type[FitResult], dict[str, dict[str, float]]] = {
    RetentionFit: {
        "exponential": {},
        "logistic": {},
        "transient-exponential": {"second_ratio": 0.6},
        "stretched-exponential": {"stretch": 0.6},
        "power-law": {"exponent": 1.3},
        "double-exponential": {"slow_share": 0.6, "fast_ratio": 6.0},
    },
    AttentionFit: {
        "exponential": {},
        "gaussian": {},
        "power-law": {"exponent": 1.3},
        "difference-of-exponentials": {"surround": 0.3, "surround_ratio": 2.0},
    },
}


def _build_up(curve: Callable[[np.ndarray], np.ndarray], n_cycles: int = 6, cycle_s: float = 45.0) -> xr.Dataset:
    """A macro recording whose p_long is ``curve(time)``, at nine synapses of unequal amplitude.

    kappa is the identity and s the amplitude: for a curve ``1 - e^(-t / tau)`` it obeys the long-term line.
    """
    time = np.linspace(0, n_cycles * cycle_s, n_cycles * 90 + 1)
    amplitude = np.linspace(0.5, 1.5, 9).reshape(3, 3)
    p_long = curve(time)[:, None, None] * amplitude
    grid = ("time", "post", "pre")
    return xr.Dataset(
        {
            "x": (("time", "neuron"), p_long[:, 0]),
            "s": (grid, np.broadcast_to(amplitude, p_long.shape)),
            "p_short": (grid, p_long),
            "p_long": (grid, p_long),
        },
        coords={"time": time},
        attrs={
            "model": "macro",
            "parameters": json.dumps({"leak_p_long": 1.0, "kappa": "identity"}),
            "protocol": json.dumps({"kind": "stp_cycles", "n_cycles": n_cycles, "cycle_s": cycle_s}),
        },
    )


def _section(kind: type[FitResult], family: str, mode: str = "free", **values: float) -> FitResult:
    def quantity(value: float) -> Quantity:
        return Quantity(
            value=value, standard_error=0.1 * value, lower=0.8 * value, upper=1.15 * value, unit="1", mode=mode
        )

    return kind(family=family, parameters={n: quantity(v) for n, v in values.items()}, r_squared=1.0)


def _retention(family: str, mode: str = "free", **values: float) -> FitResult:
    base = {"tau_p_long": 150.0, "leak_p_long": 1.0, "cycle_s": 45.0}
    return _section(RetentionFit, family, mode, **base | SHAPES[RetentionFit][family] | values)


def _attention(family: str, mode: str = "free", **values: float) -> FitResult:
    base = {"length": 3.0, "tokens_per_step": 1.0}
    return _section(AttentionFit, family, mode, **base | SHAPES[AttentionFit][family] | values)


def _presynaptic(family: str, mode: str = "free", **values: float) -> FitResult:
    base = {"alpha": 0.25, "half_activation": 0.6, "hill": 0.5}
    return _section(PresynapticFit, family, mode, **base | values)


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Makers of recordings and sections: build_up, retention, attention, presynaptic."""
    return SimpleNamespace(build_up=_build_up, retention=_retention, attention=_attention, presynaptic=_presynaptic)


@pytest.fixture(scope="session")
def macro() -> xr.Dataset:
    """The default macro recording, from the adaptive solver."""
    return simulate_macro(backend="scipy")


@pytest.fixture(scope="session")
def point() -> xr.Dataset:
    """Fifteen neurons, the middle one driven."""
    return point_drive()


@pytest.fixture(scope="session")
def macro_file(macro: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_recording(macro, tmp_path_factory.mktemp("recordings") / "macro.nc")


@pytest.fixture(scope="session")
def bio(macro_file: Path) -> BioParameters:
    """Bio-parameters of the macro recording alone."""
    return BioParameters.from_recordings(macro_file)
