"""The macro model's equations: as Brian2 text, and as a NumPy right-hand side of the same form."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_sim.coupling import Coupling
from astro_sim.functions import FUNCTIONS
from astro_sim.macro_parameters import MacroParameters

Array = NDArray[np.float64]

# One unit of the Brian2 group is one process (i, j) of the grid: i postsynaptic, j presynaptic. Its x is the
# state of neuron i. These functions act on the whole grid at once:
#   presynaptic(u)_ij = u_ji      over_presynaptic(u)_ij = Σ_l u_il      transport(u)_ij = Σ_kl T_ijkl u_kl
EQUATIONS = """
activity = {theta} : 1
calcium = {psi} : 1
uptake = {kappa} : 1
dx/dt = (-leak_x*x + over_presynaptic(gain*{g}*afferent) + b)/tau_n : 1
ds/dt = (-leak_s*s + activity*afferent + calcium)/tau_s : 1
dp_short/dt = (-leak_p_short*p_short + transport(calcium) + drive*uptake)/tau_p_short : 1
dp_long/dt = (-leak_p_long*p_long + uptake)/tau_p_long : 1
b : 1
"""
RECURRENT = """
afferent = presynaptic(activity) : 1
"""
# y is the state of the presynaptic neuron j, which has input and leak only.
FEED_FORWARD = """
dy/dt = (-leak_x*y + b_y)/tau_n : 1
afferent = {theta_y} : 1
b_y : 1
"""


def equations(parameters: MacroParameters) -> str:
    """The model as Brian2 equations, with θ, g, ψ and κ written out."""
    named = {"theta": "x", "theta_y": "y", "g": "s", "psi": "p_short", "kappa": "s"}
    written = {
        name: FUNCTIONS[getattr(parameters, name.removesuffix("_y"))].expression.format(z=argument)
        for name, argument in named.items()
    }
    return (EQUATIONS + (FEED_FORWARD if parameters.n_pre else RECURRENT)).format(**written)


@dataclass
class MacroState:
    """One moment of the macro model.

    Parameters
    ----------
    x : numpy.ndarray
        Neurons, shape (n_inputs,): presynaptic first in a feed-forward network.
    s, p_short, p_long : numpy.ndarray
        Synapses and astrocytic processes, shape (n_post, n_pre).
    """

    x: Array
    s: Array
    p_short: Array
    p_long: Array

    @classmethod
    def rest(cls, parameters: MacroParameters) -> "MacroState":
        """The state with every variable at 0."""
        return cls(np.zeros(parameters.n_inputs), *(np.zeros(parameters.shape) for _ in range(3)))

    @classmethod
    def unpack(cls, y: Array, shape: tuple[int, int]) -> "MacroState":
        """The state in a flat vector of length n_inputs + 3·n_post·n_pre (views, no copy)."""
        processes = 3 * shape[0] * shape[1]
        return cls(y[:-processes], *y[-processes:].reshape(3, *shape))

    def pack(self) -> Array:
        """The state as one flat vector."""
        return np.concatenate([self.x, self.s.ravel(), self.p_short.ravel(), self.p_long.ravel()])


def right_hand_side(parameters: MacroParameters, transport: Coupling | None = None) -> Callable[[Array, Array], Array]:
    """The function (y, b) → dy/dt over packed states, b of shape (n_inputs,).

    `transport` takes the place of the operator that the parameters describe.
    """
    p, (n_post, n_pre) = parameters, parameters.shape
    transport = transport or p.transport
    theta, g, psi, kappa = (FUNCTIONS[name].value for name in (p.theta, p.g, p.psi, p.kappa))

    def derivative(y: Array, b: Array) -> Array:
        state = MacroState.unpack(y, p.shape)
        activity, calcium, uptake = theta(state.x), psi(state.p_short), kappa(state.s)
        post, afferent = activity[-n_post:], activity[:n_pre]
        dx = -p.leak_x * state.x + b
        dx[-n_post:] += p.gain * g(state.s) @ afferent
        return MacroState(
            dx / p.tau_n,
            (-p.leak_s * state.s + np.outer(post, afferent) + calcium) / p.tau_s,
            (-p.leak_p_short * state.p_short + transport.apply(calcium) + p.drive * uptake) / p.tau_p_short,
            (-p.leak_p_long * state.p_long + uptake) / p.tau_p_long,
        ).pack()

    return derivative
