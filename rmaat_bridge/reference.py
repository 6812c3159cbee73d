"""How the packaged `reference.toml` is made: ``python -m rmaat_bridge.reference [TOML]`` (half a minute)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

from astro_sim import MacroParameters, save_recording, simulate_macro, simulate_tripartite
from astro_sim.protocols import stp_cycles
from rmaat_bridge.bio_parameters import BioParameters

# From rates at which calcium is at rest most of the time to rates at which it is saturated.
RATES_HZ = np.geomspace(0.1, 100.0, 10)


def point_drive(n_neurons: int = 15) -> xr.Dataset:
    """One driven neuron in the middle of a line: the recording for the spatial kernel."""
    amplitude = np.zeros(n_neurons)
    amplitude[n_neurons // 2] = 1.0
    return simulate_macro(MacroParameters(n_neurons=n_neurons), stp_cycles(3, 45.0, 15.0, amplitude), backend="scipy")


def rate_series(seed: int = 0) -> xr.Dataset:
    """Poisson trains of 0.1 to 100 Hz on 80 tripartite synapses, for the presynaptic exponent."""
    return simulate_tripartite(rate_hz=RATES_HZ, trials=8, duration=60.0, record_dt=0.5, seed=seed)


def make_reference() -> BioParameters:
    """Simulate the three reference recordings and fit each section to its own."""
    recordings = {
        "macro": simulate_macro(backend="scipy"),
        "point_drive": point_drive(),
        "rate_series": rate_series(),
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: save_recording(data, Path(folder) / f"{name}.nc") for name, data in recordings.items()}
        return BioParameters.from_recordings(paths["macro"], paths["point_drive"], paths["rate_series"])


if __name__ == "__main__":
    make_reference().save(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("reference.toml"))
