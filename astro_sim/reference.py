"""SciPy reference of one tripartite synapse: the same equations, integrated adaptively between events.

Spikes and threshold crossings are located exactly; every stretch between them is one LSODA run. It shares no
code with the Brian2 form, so that each checks the other; it is slow, deterministic, and for one synapse.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from astro_sim.astrocyte import AstrocyteParameters
from astro_sim.errors import InputError
from astro_sim.tripartite_model import TripartiteModel

Array = NDArray[np.float64]
STATES = ("Gamma_A", "I", "C", "h", "Y_S", "x_A", "G_A", "Gamma_S")


def calcium_flow(p: AstrocyteParameters, ip3: float, calcium: float, h: float) -> tuple[float, float]:
    """dC/dt and dh/dt of the Li–Rinzel core."""
    open_channels = (ip3 / (ip3 + p.d_1) * calcium / (calcium + p.d_5) * h) ** 3
    gradient = p.C_T - (1 + p.rho_A) * calcium
    pump = p.O_P * calcium**2 / (p.K_P**2 + calcium**2)
    q2 = p.d_2 * (ip3 + p.d_1) / (ip3 + p.d_3)
    h_inf, tau_h = q2 / (q2 + calcium), 1 / (p.O_2 * (q2 + calcium))
    return (p.Omega_C * open_channels + p.Omega_L) * gradient - pump, (h_inf - h) / tau_h


def threshold_flow(difference: float, p: AstrocyteParameters) -> float:
    """IP₃ flow down a difference, in units of its largest value: shut below I_Theta."""
    return -0.5 * (1 + np.tanh((abs(difference) - p.I_Theta) / p.omega_I)) * np.sign(difference)


def ip3_flow(p: AstrocyteParameters, ip3: float, calcium: float, bound: float) -> float:
    """dI/dt of a cell on its own."""
    made = p.O_beta * bound + p.O_delta / (1 + ip3 / p.kappa_delta) * calcium**2 / (calcium**2 + p.K_delta**2)
    lost = p.O_3K * calcium**4 / (calcium**4 + p.K_D**4) * ip3 / (ip3 + p.K_3K) + p.Omega_5P * ip3
    return made - lost + p.F_ex * threshold_flow(ip3 - p.I_bias, p)


def right_hand_side(model: TripartiteModel) -> Callable[[float, Array], list[float]]:
    """Derivative of the states named in `STATES`."""
    s, a, g = model.synapse, model.astrocyte, model.gliotransmission

    def derivative(_: float, y: Array) -> list[float]:
        bound, ip3, calcium, h, cleft, store, glio, presynaptic = y
        dc, dh = calcium_flow(a, ip3, calcium, h)
        unbinding = a.Omega_N * (1 + a.zeta * calcium / (calcium + a.K_KC))
        return [
            a.O_N * cleft * (1 - bound) - unbinding * bound,
            ip3_flow(a, ip3, calcium, bound),
            dc,
            dh,
            -s.Omega_c * cleft,
            g.Omega_A * (1 - store),
            -g.Omega_e * glio,
            s.O_G * glio * (1 - presynaptic) - s.Omega_G * presynaptic,
        ]

    return derivative


def solve_tripartite(
    spike_times: ArrayLike, model: TripartiteModel, times: ArrayLike, *, rtol: float = 1e-10
) -> tuple[dict[str, Array], Array, Array]:
    """Integrate one synapse and its astrocyte without noise.

    Parameters
    ----------
    spike_times : array_like
        Presynaptic spikes, seconds, rising.
    times : array_like, shape (n_times,)
        Where the states are wanted, seconds, rising from 0; at a spike, the state before it.

    Returns
    -------
    states : dict of ndarray, shape (n_times,)
    released : ndarray, shape (n_spikes,)
        Fraction r_S released by each spike.
    crossings : ndarray
        Times of gliotransmitter release.
    """
    if model.astrocyte.noise > 0:
        raise InputError("noise", model.astrocyte.noise, "0 with the scipy reference")
    synapse, gliotransmission = model.synapse, model.gliotransmission
    times, spikes = np.asarray(times, dtype=float), np.asarray(spike_times, dtype=float)
    derivative = right_hand_side(model)
    y, now, last_spike = np.array([0, model.ip3, model.calcium, model.h, 0, 1, 0, 0]), 0.0, 0.0
    u_s, x_s = 0.0, 1.0
    above = y[2] > gliotransmission.C_Theta
    rows, released, crossings = np.tile(y, (len(times), 1)), [], []

    def gap(_: float, y: Array) -> float:
        return y[2] - gliotransmission.C_Theta

    gap.terminal = True  # type: ignore[attr-defined]
    for stop, is_spike in [(t, True) for t in spikes[spikes <= times[-1]]] + [(times[-1], False)]:
        while now < stop:
            gap.direction = -1 if above else 1  # type: ignore[attr-defined]
            run = solve_ivp(derivative, (now, stop), y, "LSODA", events=gap, dense_output=True, rtol=rtol, atol=1e-12)
            here = (times > now) & (times <= run.t[-1])
            if here.any():
                rows[here] = run.sol(times[here]).T
            now, y = run.t[-1], run.y[:, -1]
            if run.status == 1:
                above = not above
                if above:
                    crossings.append(now)
                    y[6] += gliotransmission.rho_e * gliotransmission.G_T * gliotransmission.U_A * y[5]
                    y[5] -= gliotransmission.U_A * y[5]
        if is_spike:
            u_s *= np.exp(-synapse.Omega_f * (now - last_spike))
            x_s = 1 + (x_s - 1) * np.exp(-synapse.Omega_d * (now - last_spike))
            u_s += ((1 - y[7]) * synapse.U_0_star + synapse.alpha * y[7]) * (1 - u_s)
            released.append(u_s * x_s)
            x_s -= released[-1]
            y[4] += synapse.rho_c * synapse.Y_T * released[-1]
            last_spike = now
    return dict(zip(STATES, rows.T, strict=True)), np.array(released), np.array(crossings)
