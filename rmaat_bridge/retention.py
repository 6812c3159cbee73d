"""Retention: how the long-term process builds up over the STP cycles (RMAAT, Mia et al. 2026).

What a recording can tell. Over one cycle ``tau_p_long dp/dt = -leak_p_long p + kappa(s)`` gives
``p(k) = e^(-a) p(k-1) + D_k`` with ``a = leak_p_long cycle_s / tau_p_long`` and D_k the drive of cycle k.
Once the short-term state repeats from cycle to cycle D_k is constant, and every further increment is e^(-a)
times the one before. The values at the ends of the cycles therefore carry one rate and a first-cycle
transient, however many cycles are recorded; of tau_p_long and leak_p_long they show the ratio alone. The
course inside the cycles separates the two where kappa(s) is known: `fit_dynamics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.integrate import cumulative_simpson

from astro_sim.errors import InputError
from astro_sim.functions import FUNCTIONS
from rmaat_bridge.families import RETENTION_FAMILIES, Family, open_fractions
from rmaat_bridge.fit_result import RetentionFit, candidates, untold
from rmaat_bridge.quantity import POSITIVE, Quantity
from rmaat_bridge.recordings import Cycles, at_times, attribute, cycles, finite
from rmaat_bridge.regression import Regression, choose, least_squares, residual_p_value

# The slow variable of a recording, the first of these that it has: the long-term process, or the receptors
# that the gliotransmitter of a tripartite synapse binds for minutes.
SLOW = ("p_long", "bound_presynaptic")
MINIMUM_CYCLES = 4
FLAT = 1e-9
# A mean increment of the last third this close to that of the first third is a straight line, not a bend.
STRAIGHT = 0.95
# A build-up with 2 % noise gives 0.99 and more; below this the curve is something else: a fall, a jump, noise.
MINIMUM_R_SQUARED = 0.9
N_BOOTSTRAP = 200


def fit_retention(recording: xr.Dataset, seed: int = 0, cycle_s: float | None = None) -> RetentionFit:
    """Fit the build-up of the slow variable over the cycles of a recording, averaged over its synapses.

    Parameters
    ----------
    recording : Dataset
        With ``p_long`` (macro model, plasticity runs) or ``bound_presynaptic`` (tripartite synapses).
    seed : int
        Of the bootstrap.
    cycle_s : float, optional
        Length of a cycle [s] > 0, where the recording's protocol does not say it.

    Returns
    -------
    RetentionFit
        Family by AICc, tau_p_long [s] at the recording's leak_p_long, shape parameters; as findings the
        plateau, the band of the retention factors of as many segments as cycles, and tau and leak from
        within the cycles.

    Raises
    ------
    InputError
        If the variable is missing, not finite, flat, truncated, falls, does not bend, or follows none of the families;
        the cycle is named.
    """
    rhythm = cycles(recording, cycle_s)
    build_up = _build_up(recording, rhythm)
    settings = attribute(recording, "parameters")
    leak = float(settings.get("plasticity", settings).get("leak_p_long", 1.0))
    fits = {name: fit_family(family, build_up) for name, family in RETENTION_FAMILIES.items()}
    name = choose(fits)
    chosen = fits[name]
    if not chosen.r_squared >= MINIMUM_R_SQUARED:
        worst = int(np.abs(chosen.residuals).argmax()) + 1
        raise InputError(
            f"recording: slow variable in cycle {worst}",
            f"R² = {chosen.r_squared:.2f} of the best family ({name}), farthest off there",
            f"a build-up that one of the families describes, R² >= {MINIMUM_R_SQUARED}",
        )

    def estimated(parameter: str, unit: str = "1", domain: tuple[float, float] = POSITIVE) -> Quantity:
        return Quantity.estimated(chosen.values[parameter], chosen.standard_errors[parameter], chosen.dof, unit, domain)

    tau = leak * rhythm.seconds / chosen.values["a"]
    error = tau * chosen.standard_errors["a"] / chosen.values["a"]
    parameters = {
        "tau_p_long": Quantity.estimated(tau, error, chosen.dof, "s", POSITIVE),
        "leak_p_long": Quantity.exact(leak, "1"),
        "cycle_s": Quantity.exact(rhythm.seconds, "s"),
        **{shape: estimated(shape, domain=domain) for shape, domain in RETENTION_FAMILIES[name].domain.items()},
    }
    fit = RetentionFit(
        family=name,
        parameters=parameters,
        r_squared=chosen.r_squared,
        residuals=chosen.residuals.tolist(),
        residual_p_value=residual_p_value(chosen.residuals),
        candidates=candidates(fits),
        findings={"plateau": estimated("amplitude"), **fit_dynamics(recording)},
        notes=_notes(rhythm.count, fits) + untold(parameters),
    )
    band = retention_band(fit, rhythm.count, seed)
    named = {f"retention_factor_{t}_of_{len(band)}": factor for t, factor in enumerate(band, start=1)}
    return fit.model_copy(update={"findings": fit.findings | named})


def fit_family(family: Family, build_up: np.ndarray, starts: Sequence[dict[str, float]] | None = None) -> Regression:
    """Fit ``amplitude * (1 - G(k))`` to the build-up at the ends of cycles 1 ... n; shape (n,).

    Parameters of the result: ``amplitude``, the rate per cycle ``a``, and the family's shape.
    """
    k = np.arange(1.0, build_up.size + 1)

    def curve(amplitude: Any, a: Any, **shape: Any) -> np.ndarray:
        return amplitude * (1 - family.curve(np, k, a, **shape))

    if starts is None:
        plateau = float(build_up.max())
        half_way = float(k[np.argmax(build_up >= plateau / 2)])
        starts = [
            {"amplitude": plateau, "a": rate, **shape}
            for rate in (0.7 / half_way, 0.2 / half_way)
            for shape in family.starts
        ]
    return least_squares(curve, build_up, {"amplitude": POSITIVE, "a": POSITIVE, **family.domain}, starts)


def fit_dynamics(recording: xr.Dataset) -> dict[str, Quantity]:
    """Separate tau_p_long and leak_p_long by the course of p_long inside the cycles.

    The equation integrated in time, ``p(t) = p_0 + (1/tau) K(t) - (leak/tau) P(t)`` with K and P the integrals
    of kappa(s) and p, is linear in 1/tau, leak/tau and the p_0 of every synapse, which the means over time take
    out. Synapses are counted as one observation at a time: errors of sampling are common to them (where they are
    not, the standard errors are too large by the root of their number). Empty where the recording is not a
    macro one.
    """
    if recording.attrs.get("model") != "macro":
        return {}
    kappa = FUNCTIONS[attribute(recording, "parameters")["kappa"]].value
    time = recording["time"].values
    p = finite(recording, "p_long").values.reshape(time.size, -1)
    drive = kappa(finite(recording, "s").values.reshape(time.size, -1))
    integrals = [cumulative_simpson(v, x=time, axis=0, initial=0) for v in (drive, -p)]
    *columns, course = ((v - v.mean(axis=0)).ravel() for v in (*integrals, p))
    design = np.stack(columns, axis=1)
    (inverse_tau, rate), *_ = np.linalg.lstsq(design, course)
    if not (inverse_tau > 0 and rate > 0):
        return {}
    residual = course - design @ [inverse_tau, rate]
    dof = time.size - 3
    tau, leak = 1 / inverse_tau, rate / inverse_tau
    gradient = np.array([[-tau / inverse_tau, 0], [-leak / inverse_tau, tau]])  # of tau and leak
    covariance = gradient @ np.linalg.inv(design.T @ design) @ gradient.T * float(residual @ residual) / dof
    errors = np.sqrt(np.diag(covariance))
    return {
        "tau_p_long_within_cycles": Quantity.estimated(tau, float(errors[0]), dof, "s", POSITIVE),
        "leak_p_long_within_cycles": Quantity.estimated(leak, float(errors[1]), dof, "1", POSITIVE),
    }


def retention_band(fit: RetentionFit, n_segments: int, seed: int = 0) -> list[Quantity]:
    """RF(t, n_segments) with 95 % bootstrap bands, from the fit alone.

    The fit's residuals, widened by ``sqrt(n / dof)`` for the parameters spent, are drawn with replacement
    around its curve, and the chosen family is fitted again to each of 200 such curves. The band holds if
    the family does.

    Returns
    -------
    list of Quantity, n_segments long
    """
    family = RETENTION_FAMILIES[fit.family]
    values = {name: quantity.value for name, quantity in fit.parameters.items()}
    tau, leak, cycle_s = (values.pop(name) for name in ("tau_p_long", "leak_p_long", "cycle_s"))
    values["a"] = leak * cycle_s / tau
    k = np.arange(1.0, n_segments + 1)

    def factors(a: float, **shape: float) -> np.ndarray:
        shape.pop("amplitude", None)
        g = open_fractions(family, np, k, a, **shape)
        return (g[:-1] - g[1:]) / (1 - g[-1])

    centre = factors(**values)
    residuals = np.array(fit.residuals)
    n = residuals.size
    start = {"amplitude": fit.findings["plateau"].value, **values}
    fitted = start["amplitude"] * (1 - open_fractions(family, np, np.arange(1.0, n + 1), **values)[1:])
    spread = residuals * np.sqrt(n / max(n - len(start), 1))
    rng = np.random.default_rng(seed)
    draws = np.array(
        [factors(**fit_family(family, fitted + rng.choice(spread, n), [start]).values) for _ in range(N_BOOTSTRAP)]
    )
    lower, upper = np.quantile(draws, [0.025, 0.975], axis=0)
    return [
        Quantity(
            value=float(centre[t]),
            standard_error=float(draws[:, t].std(ddof=1)),
            lower=float(min(lower[t], centre[t])),
            upper=float(max(upper[t], centre[t])),
            unit="1",
        )
        for t in range(n_segments)
    ]


def _build_up(recording: xr.Dataset, rhythm: Cycles) -> np.ndarray:
    """Synapses' mean of the slow variable at the ends of the cycles minus its start, shape (n_cycles,)."""
    name = next((name for name in SLOW if name in recording), None)
    if name is None:
        raise InputError("recording", ", ".join(map(str, recording.data_vars)), f"one of {', '.join(SLOW)}")
    data = finite(recording, name)
    where = f"recording: {name}"
    if rhythm.count < MINIMUM_CYCLES:
        raise InputError("recording: cycles", rhythm.count, f"at least {MINIMUM_CYCLES}")
    ends = rhythm.seconds * np.arange(rhythm.count + 1)
    mean = at_times(data, ends).reshape(ends.size, -1).mean(axis=1)
    if np.ptp(mean) <= FLAT:
        raise InputError(where, f"a range of {np.ptp(mean):.1e} over the cycles", "a curve that rises")
    steps = np.diff(mean)
    low = int(np.argmin(mean))
    if low:
        raise InputError(f"{where} in cycle {low}", f"{mean[low]:.3g}", f"above its start, {mean[0]:.3g}")
    third = max(len(steps) // 3, 1)
    bend = steps[-third:].mean() / steps[:third].mean()
    if not bend < STRAIGHT:
        raise InputError(
            f"{where} in cycle {rhythm.count}",
            f"increments in the last third of the cycles {bend:.2f} times those in the first",
            f"below {STRAIGHT}: the curve does not saturate; record more cycles",
        )
    return mean[1:] - mean[0]


def _notes(n_cycles: int, fits: dict[str, Regression]) -> list[str]:
    undecided = [name for name, fit in fits.items() if not np.isfinite(fit.aicc)]
    return [
        f"{n_cycles} values at the ends of the cycles determine one rate per cycle, "
        "a = leak_p_long * cycle_s / tau_p_long, and at most a first-cycle transient.",
        "Cycle ends show the ratio tau_p_long / leak_p_long alone; leak_p_long is the recording's own. "
        "The course within the cycles (findings) separates the two.",
        "Factors of more segments than cycles come from the fitted curve; their bands hold if it does.",
        *([f"Too few cycles to judge: {', '.join(undecided)}."] if undecided else []),
    ]
