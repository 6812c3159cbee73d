"""What theory says about the macro model: lengths and rates to hold a simulation against."""

import math

import numpy as np
from numpy.typing import NDArray

from astro_sim.coupling import Coupling, DistanceCoupling
from astro_sim.errors import InputError
from astro_sim.macro_parameters import MacroParameters

Array = NDArray[np.float64]
RESOLVED = 1e-9  # a smaller share of the largest response is not told from the error of the solver


def increment_ratio(parameters: MacroParameters, cycle_s: float) -> float:
    """Factor by which p_long's increment shrinks from one cycle to the next once the STP cycle repeats.

    exp(−γˡ τ_cycle/τ_p^l): the p_long line is linear in p_long with a periodic input.
    """
    return math.exp(-parameters.rates["p_long"] * cycle_s)


def predictions(parameters: MacroParameters, cycle_s: float | None) -> list[str]:
    """What a user should expect of a run, one line each: the reach of p_short, and the build-up of p_long.

    The reach is that of a small steady drive, from the lines of s and p_short linearised at rest,

        β s = ψ′ p,  γˢ p = ψ′ T p + drive κ′ s + δ,  so that  (γˢ − drive κ′ ψ′ / β − ψ′ T) p = δ.

    Parameters
    ----------
    cycle_s : float, optional
        Length of an STP cycle, seconds, where the protocol has one.
    """
    lines, transport = [], parameters.transport
    if isinstance(transport, DistanceCoupling) and parameters.layout == "line" and parameters.rests_at_zero:
        lines.append(_reach(transport, parameters.psi_slope, parameters.leak_at_rest))
    if cycle_s is not None:
        ratio = increment_ratio(parameters, cycle_s)
        lines.append(f"each repeated cycle adds {ratio:.4g} times the p_long of the one before")
    return lines


def _reach(transport: DistanceCoupling, slope: float, leak: float) -> str:
    """How far p_short goes along a presynaptic line that is long enough to tell, where it settles on one."""
    far, strength = min(128, max(8, math.ceil(6 * transport.length))), slope * transport.strength
    line = DistanceCoupling(transport.post, (2 * far + 1,), strength, transport.length, transport.kernel)
    if line.spectral_radius >= leak:
        return "p_short does not settle along a long line: more is passed on, by T and by s, than leaks away"
    response = _along_the_line(line, leak)
    reached = _reached(response)
    if reached < 2:
        return f"a grid step away, p_short is {response[1] / response[0]:.2g} of what it is where it is driven"
    last = min(reached, far // 2)  # behind it the end of the line is felt
    length = _decay_length(response, max(1, min(far // 4, last - 1)), last)
    return f"p_short falls by e in {length:.3g} grid steps along a long line, where T's own length is {line.length:g}"


def point_response(transport: Coupling, leak: float, source: tuple[int, int]) -> Array:
    """Steady response of a line to a steady drive of one process: (leak − T) p = δ, shape (n_post, n_pre).

    Parameters
    ----------
    transport : Coupling
        A symmetric T with spectral radius below `leak`.
    leak : float
        Above ρ(T); of p_short γˢ, less what comes back to it by way of s (`predictions`).
    source : tuple of int
        The driven process.

    Raises
    ------
    InputError
        If there is no steady response.
    """
    from scipy.sparse.linalg import LinearOperator, cg

    if transport.spectral_radius >= leak:
        raise InputError("leak_p_short", leak, f"more than the spectral radius {transport.spectral_radius:g}")
    size = transport.shape[0] * transport.shape[1]
    drive = np.zeros(transport.shape)
    drive[source] = 1.0

    def decay(p: Array) -> Array:
        return leak * p - transport.apply(p.reshape(transport.shape)).ravel()

    response, failed = cg(LinearOperator((size, size), decay, dtype=float), drive.ravel(), rtol=1e-13)
    if failed:
        raise InputError("leak_p_short", leak, "a value further above the spectral radius of T")
    return response.reshape(transport.shape)


def green_length(transport: Coupling, leak: float = 1.0, lags: tuple[int, int] = (2, 8)) -> float:
    """Decay length of the point response of p_short along the presynaptic axis [grid steps].

    It is longer than T's own ℓ, as what arrives is passed on again. On a line of processes with an exponential T
    it is known in closed form: cosh(1/L) = cosh(1/ℓ) − (T₀/γˢ) sinh(1/ℓ).

    Parameters
    ----------
    transport : Coupling
        A symmetric T.
    leak : float
        γˢ.
    lags : tuple of int
        First and last distance of the fit of log p_short, in grid steps from the driven process in the middle.

    Raises
    ------
    InputError
        If there is no steady response, or it does not reach the last distance.
    """
    first, last = lags
    response = _along_the_line(transport, leak)
    if not 0 <= first < last <= _reached(response):
        raise InputError("lags", lags, f"two rising distances up to {_reached(response)}, where p_short still is")
    return _decay_length(response, first, last)


def _along_the_line(transport: Coupling, leak: float) -> Array:
    """Point response at the distances 0, 1, … to the right of the driven process, which is the middle one."""
    post, pre = transport.shape[0] // 2, transport.shape[1] // 2
    return point_response(transport, leak, (post, pre))[post, pre:]


def _reached(response: Array) -> int:
    """The distance up to which a response is there to be measured."""
    there = response > RESOLVED * response[0]
    return len(there) - 1 if there.all() else int(np.argmin(there)) - 1


def _decay_length(response: Array, first: int, last: int) -> float:
    """The length of the exponential through a response from distance `first` to `last`."""
    return float(-1 / np.polyfit(np.arange(first, last + 1), np.log(response[first : last + 1]), 1)[0])
