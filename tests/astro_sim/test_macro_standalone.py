"""The compiled program against the NumPy run of the same equations."""

import shutil

import numpy as np
import pytest

from astro_sim.errors import InputError
from astro_sim.macro import simulate_macro
from astro_sim.macro_parameters import MacroParameters
from astro_sim.protocols import stp_cycles

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


@pytest.mark.parametrize("changes", [{"coupling_kernel": "exponential"}, {"n_neurons": 65}])
def test_what_cannot_be_compiled_is_refused(changes):
    p = MacroParameters(**({"coupling": 0.01} | changes))
    with pytest.raises(InputError, match=r"^backend: "):
        simulate_macro(p, stp_cycles(1, 2, 1, np.ones(p.n_inputs)), backend="brian2-standalone")
