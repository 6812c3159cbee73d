"""The macro model's equations: as Brian2 text, and as a NumPy right-hand side of the same form."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_sim.coupling import DistanceCoupling
from astro_sim.functions import FUNCTIONS
from astro_sim.macro_parameters import MacroParameters

Array = NDArray[np.float64]

# One unit of the Brian2 group is one process (i, j) of the grid, row i postsynaptic, column j presynaptic.
# x is the state of the postsynaptic neuron i, held once a process; the three functions act on the whole grid:
#   presynaptic(u)_ij = u_ji,   over_presynaptic(u)_ij = Σ_l u_il,   transport(u)_ij = Σ_kl T_ijkl u_kl
EQUATIONS = """
activity = {theta} : 1
afferent = presynaptic(activity) : 1
calcium = {psi} : 1
uptake = {kappa} : 1
dx/dt = (-leak_x*x + over_presynaptic(gain*{g}*afferent) + b)/tau_n : 1
ds/dt = (-leak_s*s + activity*afferent + calcium)/tau_s : 1
dp_short/dt = (-leak_p_short*p_short + transport(calcium) + drive*uptake)/tau_p_short : 1
dp_long/dt = (-leak_p_long*p_long + uptake)/tau_p_long : 1
b : 1
"""


def equations(parameters: MacroParameters) -> str:
    """The model as Brian2 equations, with θ, g, ψ and κ written out."""
    arguments = {"theta": "x", "g": "s", "psi": "p_short", "kappa": "s"}
    return EQUATIONS.format(
        **{
            name: FUNCTIONS[getattr(parameters, name)].expression.format(z=argument)
            for name, argument in arguments.items()
        }
    )


@dataclass
class MacroState:
    """One moment of the macro model.

    Parameters
    ----------
    x : numpy.ndarray
        Neurons, shape (n,).
    s, p_short, p_long : numpy.ndarray
        Synapses and astrocytic processes, shape (n, n): row postsynaptic, column presynaptic.
    """

    x: Array
    s: Array
    p_short: Array
    p_long: Array

    @classmethod
    def zeros(cls, n: int) -> "MacroState":
        """The state of rest."""
        return cls(np.zeros(n), *(np.zeros((n, n)) for _ in range(3)))

    @classmethod
    def unpack(cls, y: Array, n: int) -> "MacroState":
        """The state in a flat vector of length n + 3n²."""
        return cls(y[:n], *y[n:].reshape(3, n, n))

    def pack(self) -> Array:
        """The state as one flat vector of length n + 3n²."""
        return np.concatenate([self.x, self.s.ravel(), self.p_short.ravel(), self.p_long.ravel()])


def coupling_of(parameters: MacroParameters, mode: str | None = None) -> DistanceCoupling:
    """The transport operator that `parameters` describe."""
    n = parameters.n_neurons
    return DistanceCoupling(
        (n, n),
        parameters.coupling,
        parameters.coupling_length,
        parameters.coupling_kernel,
        parameters.border,
        mode,
    )


def right_hand_side(parameters: MacroParameters, mode: str | None = None) -> Callable[[Array, Array], Array]:
    """The function (y, b) -> dy/dt over flat states of length n + 3n², b of shape (n,)."""
    p, n = parameters, parameters.n_neurons
    coupling = coupling_of(p, mode)
    theta, g, psi, kappa = (FUNCTIONS[name].value for name in (p.theta, p.g, p.psi, p.kappa))

    def derivative(y: Array, b: Array) -> Array:
        state = MacroState.unpack(y, n)
        activity, calcium, uptake = theta(state.x), psi(state.p_short), kappa(state.s)
        return MacroState(
            (-p.leak_x * state.x + p.gain * g(state.s) @ activity + b) / p.tau_n,
            (-p.leak_s * state.s + np.outer(activity, activity) + calcium) / p.tau_s,
            (-p.leak_p_short * state.p_short + coupling.apply(calcium) + p.drive * uptake) / p.tau_p_short,
            (-p.leak_p_long * state.p_long + uptake) / p.tau_p_long,
        ).pack()

    return derivative
