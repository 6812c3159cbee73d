"""Compiled programs of every model: the numbers of the run time, and nothing compiled at the second start."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from astro_sim import load_recording
from astro_sim.errors import InputError
from astro_sim.experiment import Experiment
from astro_sim.standalone import compiler

RUNS = {
    "macro": {"n_cycles": "1", "cycle_s": "4", "on_s": "2"},
    "tripartite": {"rate_hz": "1,10", "duration": "5"},
    "ring": {"duration": "60"},
    "network": {
        "n_excitatory": "80",
        "n_inhibitory": "20",
        "n_astrocytes": "16",
        "I_ex": "150 pA",
        "duration": "200 ms",
        "record_dt": "10 ms",
    },
    "working-memory": {"astrocytes_a_side": "5", "learned": "T", "learn_from": "10 ms", "duration": "100 ms"},
}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None or shutil.which("make") is None, reason="no g++ and make")
@pytest.mark.parametrize("model", RUNS)
def test_the_program_takes_the_same_steps_and_is_built_once(model, tmp_path):
    """Rounding alone (1e-9 of the largest value); every object file keeps its age at the second start."""
    out, settings = tmp_path / "s.nc", [f"--set={name}={value}" for name, value in RUNS[model].items()]
    command = [sys.executable, "-c", "from rmaat.cli.app import main; main()", "simulate", "--model", model, *settings]

    def built() -> dict[str, int]:
        words = ["--backend", "brian2-standalone", "--seed", "3", "--out", str(out)]
        subprocess.run(
            command + words, check=True, capture_output=True, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
        )
        return {str(path): path.stat().st_mtime_ns for path in tmp_path.rglob("*.o")}

    objects = built()
    assert len(objects) > 3 and built() == objects
    ours, compiled = Experiment(model, None, RUNS[model], seed=3).run(), load_recording(out)
    for name in ours.data_vars:
        assert ours[name].shape == compiled[name].shape, name
        error = np.abs(ours[name] - compiled[name]).values
        assert error.max(initial=0) <= 1e-9 * np.abs(ours[name]).values.max(initial=1), name


def test_without_a_compiler_the_backend_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        InputError, match=r"^backend: got 'brian2-standalone', expected brian2: there is no C\+\+ compiler here"
    ):
        Experiment("ring", None, {"duration": "1s"}, "brian2-standalone").run()


def test_the_compiler_is_that_of_the_makefile(monkeypatch, tmp_path):
    other = tmp_path / "of-conda-g++"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("CXX", f"{other} -O2")
    assert compiler() == str(other)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiler() is None
