"""Compiled programs of every model: the numbers of the run time, and nothing compiled at the second start."""

import shutil

import numpy as np
import pytest

from astro_sim import NetworkModel, NeuronParameters, simulate_network, simulate_ring, simulate_tripartite

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None or shutil.which("make") is None, reason="no g++ and make"),
]
ACTIVE = NetworkModel(
    neurons=NeuronParameters(I_ex=150e-12), n_excitatory=80, n_inhibitory=20, n_astrocytes=16, drive=(1.0,)
)
RUNS = {
    "tripartite": lambda backend: simulate_tripartite(rate_hz=[1.0, 10.0], duration=5.0, seed=3, backend=backend),
    "ring": lambda backend: simulate_ring(duration=60.0, backend=backend),
    "network": lambda backend: simulate_network(ACTIVE, duration=0.2, record_dt=0.01, seed=1, backend=backend),
}


@pytest.mark.parametrize("model", RUNS)
def test_the_program_takes_the_same_steps_and_is_built_once(model, tmp_path, monkeypatch):
    """Rounding alone (1e-9 of the largest value); main.o and all others keep their age at the second start."""
    monkeypatch.setattr("astro_sim.standalone.BUILDS", tmp_path)
    ours, compiled = RUNS[model]("brian2"), RUNS[model]("brian2-standalone")
    for name in ours.data_vars:
        assert np.abs(ours[name] - compiled[name]).max() <= 1e-9 * max(1.0, float(np.abs(ours[name]).max())), name
    objects = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.o")}
    again = RUNS[model]("brian2-standalone")
    assert len(objects) > 3
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.o")} == objects
    assert again.drop_attrs().identical(compiled.drop_attrs())
