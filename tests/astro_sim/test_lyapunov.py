"""The energy: its derivative identity, that it never rises, that an asymmetric T breaks it, associative recall."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from astro_sim.coupling import Coupling
from astro_sim.errors import InputError
from astro_sim.lyapunov import energy, energy_rate
from astro_sim.macro import simulate_macro
from astro_sim.macro_equations import MacroState, right_hand_side
from astro_sim.macro_parameters import MacroParameters
from astro_sim.protocols import array

FUNCTION_SETS = [("tanh", "tanh", "tanh"), ("tanh-relu", "identity", "tanh"), ("sigmoid", "tanh", "sigmoid")]


class DenseCoupling(Coupling):
    """Any matrix as transport."""

    def __init__(self, matrix: NDArray[np.float64], n: int) -> None:
        self.shape, self.matrix = (n, n), matrix

    def apply(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return (self.matrix @ u.ravel()).reshape(self.shape)

    @property
    def dense(self) -> NDArray[np.float64]:
        return self.matrix


def parameters(theta: str, g: str, psi: str, n: int = 5) -> MacroParameters:
    return MacroParameters(n, theta=theta, g=g, kappa=g, psi=psi, gain=0.3, drive=0.3, coupling=0.05)


def random_state(n: int, seed: int, size: float = 2.0) -> MacroState:
    rng = np.random.default_rng(seed)
    s, p_short = (size * (a + a.T) / 2 for a in rng.normal(size=(2, n, n)))
    return MacroState(size * rng.normal(size=n), s, p_short, np.zeros((n, n)))


@pytest.mark.parametrize(("theta", "g", "psi"), FUNCTION_SETS)
def test_derivative_identity(theta, g, psi):
    """dE/dt by the identity equals a central difference along the flow (relative 1e-6, its truncation)."""
    p, h = parameters(theta, g, psi), 1e-6
    for seed in range(5):
        state, b = random_state(5, seed), np.random.default_rng(seed).normal(size=5)
        y = state.pack()
        flow = right_hand_side(p)(y, b)
        before, after = (energy(MacroState.unpack(y + k * h * flow, p.shape), p, b) for k in (-1, 1))
        assert (after - before) / (2 * h) == pytest.approx(energy_rate(state, p, b), rel=1e-6)
        assert energy_rate(state, p, b) < 0


@pytest.mark.parametrize(("theta", "g", "psi"), FUNCTION_SETS)
def test_energy_never_rises_beyond_rounding(theta, g, psi):
    """Every recorded step of the default integrator, from random symmetric states: no rise above 1e-10."""
    p = parameters(theta, g, psi)
    for seed in range(3):
        b = np.random.default_rng(seed).normal(size=5)
        run = simulate_macro(p, array(b[None], 10.0), initial=random_state(5, seed), record_dt=0.025)
        values = energy(run, b=b)
        assert values[0] - values[-1] > 1.0
        assert np.diff(values).max() <= 1e-10


def test_asymmetric_transport_breaks_it():
    """Negative control: a T that is not symmetric makes E rise in at least one of five seeds (1e-3, not rounding)."""
    p, rises = parameters("tanh", "tanh", "tanh"), []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        transport = DenseCoupling(0.5 * rng.normal(size=(25, 25)), 5)
        state, derivative = random_state(5, seed), right_hand_side(p, transport)
        times = np.linspace(0, 40, 2000)
        run = solve_ivp(
            lambda _, y, f=derivative: f(y, np.zeros(5)), (0, 40), state.pack(), "LSODA", times, rtol=1e-10, atol=1e-12
        )
        rows = [MacroState.unpack(y, p.shape) for y in run.y.T]
        rises.append(np.diff([energy(row, p, transport=transport) for row in rows]).max())
    assert max(rises) > 1e-3, rises


def recall(n: int, flipped: float, seed: int, *, cue_in_processes: bool) -> tuple[float, float]:
    """Overlap mean(θ(x) ξ) of the end state with the stored pattern, and of the cue."""
    rng = np.random.default_rng(seed)
    xi = rng.choice([-1.0, 1.0], size=(10, n))
    p = MacroParameters(
        n,
        coupling_kernel="memories",
        memories=tuple(map(tuple, xi)),
        coupling=4 / n**2,
        gain=3 / n,
        drive=0.0,
        **dict.fromkeys(("theta", "g", "psi", "kappa"), "tanh"),
    )
    cue = xi[0] * np.where(rng.permutation(n) < flipped * n, -1, 1)
    state, outer = MacroState.rest(p), np.outer(cue, cue)
    if cue_in_processes:
        state.s, state.p_short = outer, outer
    state.x = cue
    run = simulate_macro(p, array(np.zeros((1, n)), 20.0), dt=0.05, record_dt=20.0, initial=state)
    return float(np.mean(np.tanh(run.x.values[-1]) * xi[0])), float(np.mean(cue * xi[0]))


@pytest.mark.filterwarnings("ignore::astro_sim.macro_parameters.LatchingWarning")
@pytest.mark.parametrize("flipped", [0.1, 0.2, 0.3])
def test_associative_recall(flipped):
    """200 neurons, 10 memories: the cue's flipped signs are corrected, overlap at least 0.99."""
    overlap, at_cue = recall(200, flipped, seed=7, cue_in_processes=True)
    assert at_cue == pytest.approx(1 - 2 * flipped, abs=0.011)
    assert overlap >= 0.99


@pytest.mark.filterwarnings("ignore::astro_sim.macro_parameters.LatchingWarning")
@pytest.mark.parametrize("flipped", [0.1, 0.3])
def test_no_recall_from_processes_at_rest(flipped):
    """Negative control: with S₀ = P₀ = 0 the patterns in T are out of reach and the activity dies."""
    overlap, at_cue = recall(200, flipped, seed=7, cue_in_processes=False)
    assert abs(overlap) < 1e-6 < at_cue


def test_energy_refuses_what_has_none():
    state = MacroState.rest(MacroParameters())
    with pytest.raises(InputError, match=r"^kappa: "):
        energy(state, MacroParameters())
    with pytest.raises(InputError, match=r"^n_pre: "):
        energy(state, MacroParameters(n_pre=3))
    with pytest.raises(InputError, match=r"^parameters: "):
        energy(state)
