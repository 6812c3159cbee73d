"""The compiled program against the NumPy run of the same equations."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from astro_sim.errors import InputError
from astro_sim.macro import simulate_macro
from astro_sim.macro_parameters import MacroParameters
from astro_sim.protocols import stp_cycles
from astro_sim.recording import load_recording

NAMES = ("x", "s", "p_short", "p_long")
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None or shutil.which("make") is None, reason="no g++ and make"
)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("n_pre", [None, 2])
def test_program_takes_the_same_steps(n_pre, tmp_path, monkeypatch):
    """The same scheme in another order of operations: 1e-13 relative, on a gaussian ring."""
    monkeypatch.setattr("astro_sim.standalone.BUILDS", tmp_path)
    p = MacroParameters(3, n_pre=n_pre, coupling_kernel="gaussian", border="periodic", coupling=0.08)
    protocol = stp_cycles(2, 6, 2, np.linspace(1, 0.2, p.n_inputs))
    first, second = (simulate_macro(p, protocol, backend=name) for name in ("brian2", "brian2-standalone"))
    for name in NAMES:
        assert np.abs(first[name] - second[name]).max() <= 1e-13 * np.abs(first[name]).max()


LONG = """
import os, signal, sys, threading, time
import psutil
from astro_sim import save_recording, simulate_macro
from astro_sim.protocols import stp_cycles

def press():
    while not any(child.name() == "main" for child in psutil.Process().children()):
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(0, signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
run = simulate_macro(protocol=stp_cycles(200_000, 45, 15, [1, 0.5, 0.25]), record_dt=45, backend="brian2-standalone")
save_recording(run, sys.argv[1])
"""


@pytest.mark.slow
@needs_compiler
def test_ctrl_c_says_that_the_program_was_stopped(tmp_path):
    """In a process group of its own, whose program would run for minutes: the rows so far, up to the time stated."""
    command = [sys.executable, "-W", "ignore", "-c", LONG, tmp_path / "a.nc"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run(command, check=True, capture_output=True, env=environment, start_new_session=True, timeout=280)
    kept = load_recording(tmp_path / "a.nc")
    reached = float(re.fullmatch(r"interrupted at (\S+) s", kept.attrs["stopped"])[1])
    assert 1 < kept.sizes["time"] < 200_000
    assert kept.time.values[-1] == pytest.approx(reached, rel=1e-5, abs=45)


@pytest.mark.parametrize("changes", [{"coupling_kernel": "exponential"}, {"n_neurons": 65}])
def test_what_cannot_be_compiled_is_refused(changes):
    p = MacroParameters(**({"coupling": 0.01} | changes))
    with pytest.raises(InputError, match=r"^backend: "):
        simulate_macro(p, stp_cycles(1, 2, 1, np.ones(p.n_inputs)), backend="brian2-standalone")
