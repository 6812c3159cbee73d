"""Lyapunov function of the macro model without its long-term process.

    E = Σ_i (λx_i − b_i)θ_i − λ ΣL_n + ½[Σ βs_ij g_ij − β ΣL_s + Σ γp_ij ψ_ij − γ ΣL_p]
        − ½[Σ g_ij θ_i θ_j + Σ g_ij ψ_ij + ½ Σ T_ijkl ψ_ij ψ_kl]
    dE/dt = −τ_n Σ θ′ẋ² − ½ τ_s Σ g′ṡ² − ½ τ_p Σ ψ′ṗ²  ≤ 0

with L_n, L_s, L_p the antiderivatives of θ, g, ψ. Source: Kozachkov, Slotine, Krotov, arXiv 2311.08135. It holds
where κ's contribution to the short-term line is g(s), the input b is constant, and s, p_short and T are symmetric
(T_ijkl = T_klij = T_jikl).
"""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from astro_sim.coupling import Coupling
from astro_sim.errors import InputError
from astro_sim.functions import FUNCTIONS
from astro_sim.macro_equations import MacroState, right_hand_side
from astro_sim.macro_parameters import MacroParameters

Array = NDArray[np.float64]


def energy(
    state: MacroState | xr.Dataset,
    parameters: MacroParameters | None = None,
    b: ArrayLike = 0.0,
    transport: Coupling | None = None,
) -> Array:
    """E of one state, or of every row of a recording.

    Parameters
    ----------
    state : MacroState or xarray.Dataset
        A state, or a macro recording.
    parameters : MacroParameters, optional
        Default: those of the recording.
    b : array_like
        The constant input, a number or shape (n_neurons,).
    transport : Coupling, optional
        Takes the place of the operator that the parameters describe.

    Returns
    -------
    numpy.ndarray
        Shape () for a state, (time,) for a recording.

    Raises
    ------
    InputError
        If the parameters do not meet the conditions: a feed-forward network, or drive·κ other than g.
    """
    if isinstance(state, xr.Dataset):
        parameters = parameters or MacroParameters.from_json(state.attrs["parameters"])
        rows = (
            MacroState(*(state[name].values[k] for name in ("x", "s", "p_short", "p_long")))
            for k in range(state.sizes["time"])
        )
        return np.array([energy(row, parameters, b, transport) for row in rows])
    p = _symmetric(parameters)
    transport = transport or p.transport
    theta, g0, psi = FUNCTIONS[p.theta], FUNCTIONS[p.g], FUNCTIONS[p.psi]
    x, s, short = state.x, state.s, state.p_short
    activity, g, calcium = theta.value(x), p.gain * g0.value(s), psi.value(short)
    neurons = ((p.leak_x * x - np.asarray(b)) * activity - p.leak_x * theta.antiderivative(x)).sum()
    synapses = p.leak_s * (s * g - p.gain * g0.antiderivative(s)).sum()
    processes = p.leak_p_short * (short * calcium - psi.antiderivative(short)).sum()
    interaction = activity @ g @ activity + (g * calcium).sum()
    interaction += 0.5 * (calcium * transport.apply(calcium)).sum()
    return neurons + 0.5 * (synapses + processes - interaction)


def energy_rate(
    state: MacroState,
    parameters: MacroParameters,
    b: ArrayLike = 0.0,
    transport: Coupling | None = None,
) -> float:
    """dE/dt at a state by the identity above; arguments and errors as in `energy`."""
    p = _symmetric(parameters)
    derivative = right_hand_side(p, transport)
    flow = MacroState.unpack(derivative(state.pack(), np.broadcast_to(b, state.x.shape)), p.shape)
    neurons = p.tau_n * (FUNCTIONS[p.theta].slope(state.x) * flow.x**2).sum()
    synapses = p.tau_s * p.gain * (FUNCTIONS[p.g].slope(state.s) * flow.s**2).sum()
    processes = p.tau_p_short * (FUNCTIONS[p.psi].slope(state.p_short) * flow.p_short**2).sum()
    return float(-neurons - 0.5 * (synapses + processes))


def _symmetric(parameters: MacroParameters | None) -> MacroParameters:
    if parameters is None:
        raise InputError("parameters", None, "MacroParameters, where the state is not a recording")
    if parameters.n_pre:
        raise InputError("n_pre", parameters.n_pre, "none: the energy is that of a recurrent network")
    if parameters.kappa != parameters.g or parameters.drive != parameters.gain:
        raise InputError("kappa", f"{parameters.drive:g} {parameters.kappa}", f"g, {parameters.gain:g} {parameters.g}")
    return parameters
