"""Run the macro model with SciPy's adaptive LSODA: the reference, and the road for large smooth problems."""

import numpy as np
from scipy.integrate import DOP853, LSODA, OdeSolver

from astro_sim.macro_equations import MacroState, right_hand_side
from astro_sim.macro_parameters import MacroParameters
from astro_sim.macro_recorder import divergence
from astro_sim.protocols import Protocol
from astro_sim.recorder import Recorder

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
    method: type[OdeSolver] = LSODA if small else DOP853
    rtol, atol = (RTOL, ATOL) if small else (LARGE_RTOL, LARGE_ATOL)
    n_rows, done, reached_s = int(protocol.duration / record_dt * (1 + 1e-12)), 0, 0.0
    try:
        rows.add(0.0, vars(initial))
        for start, end, b in protocol.pieces():
            solver = method(lambda _, y, b=b: derivative(y, b), start, y, end, rtol=rtol, atol=atol)
            while solver.status == "running":
                with np.errstate(over="ignore", invalid="ignore"):
                    message = solver.step()
                state, reached_s = MacroState.unpack(solver.y, parameters.shape), solver.t
                if reason := divergence(solver.t, state):
                    return reason
                if message:
                    return f"{message} ({method.__name__}, at {solver.t:g} s)"
                reached = min(int((solver.t + 1e-9) / record_dt), n_rows)
                if reached > done:
                    inside = np.arange(done + 1, reached + 1) * record_dt
                    for time, row in zip(inside, solver.dense_output()(inside.clip(None, solver.t)).T, strict=True):
                        rows.add(float(time), vars(MacroState.unpack(row, parameters.shape)))
                    done = reached
            y = solver.y
    except KeyboardInterrupt:
        return f"interrupted at {reached_s:.6g} s"
    return None
