"""Run the macro model with SciPy's adaptive LSODA: the reference, and the road for large smooth problems."""

import numpy as np
from scipy.integrate import solve_ivp

from astro_sim.macro_equations import MacroState, right_hand_side
from astro_sim.macro_parameters import MacroParameters
from astro_sim.macro_recorder import Recorder
from astro_sim.protocols import Protocol

RTOL, ATOL = 1e-10, 1e-12
LARGE_RTOL, LARGE_ATOL = 1e-8, 1e-10
LSODA_STATES = 500


def run_scipy(
    parameters: MacroParameters, protocol: Protocol, initial: MacroState, rows: Recorder, record_dt: float
) -> str | None:
    """Integrate from edge to edge of the protocol; the reason if the run stopped early.

    LSODA (rtol 1e-10) for up to 500 states; explicit DOP853 (rtol 1e-8) beyond, where LSODA's Jacobian
    costs more than the mild stiffness of this model.
    """
    derivative, y = right_hand_side(parameters), initial.pack()
    small = y.size <= LSODA_STATES
    method, rtol, atol = ("LSODA", RTOL, ATOL) if small else ("DOP853", LARGE_RTOL, LARGE_ATOL)
    times = np.arange(int(protocol.duration / record_dt * (1 + 1e-12)) + 1) * record_dt
    ends = np.append(protocol.edges[1:], protocol.duration)
    try:
        for start, end, b in zip(protocol.edges, ends, protocol.values, strict=True):
            inside = times[(times >= start - 1e-9) & (times < end - 1e-9)]
            with np.errstate(over="ignore", invalid="ignore"):
                solution = solve_ivp(
                    lambda _, y, b=b: derivative(y, b),
                    (start, end),
                    y,
                    method,
                    np.append(inside.clip(start), end),
                    rtol=rtol,
                    atol=atol,
                )
            for time, row in zip(inside, solution.y.T, strict=False):
                if reason := rows.add(float(time), MacroState.unpack(row, parameters.shape)):
                    return reason
            if not solution.success:
                return f"LSODA stopped after {start:g} s: {solution.message}"
            y = solution.y[:, -1]
        if times[-1] >= protocol.duration - 1e-9:
            return rows.add(float(times[-1]), MacroState.unpack(y, parameters.shape))
    except KeyboardInterrupt:
        return "interrupted"
    return None
