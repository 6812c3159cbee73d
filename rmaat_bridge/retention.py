"""Retention: how p_long builds up over the STP cycles (RMAAT, Mia et al. 2026, section on the retention factor).

What a recording can tell. Over one cycle ``tau_p_long dp/dt = -leak_p_long p + kappa(s)`` gives
``p(k) = e^(-a) p(k-1) + D_k`` with ``a = leak_p_long cycle_s / tau_p_long`` and D_k the drive of cycle k.
Once the short-term state repeats from cycle to cycle D_k is constant, and every further increment is e^(-a)
times the one before. The values at the ends of the cycles therefore carry one rate and a first-cycle
transient, however many cycles are recorded; of tau_p_long and leak_p_long they show the ratio alone. The
course inside the cycles separates the two where kappa(s) is known: `fit_dynamics`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.integrate import cumulative_trapezoid

from astro_sim.errors import InputError
from astro_sim.functions import FUNCTIONS
from rmaat_bridge.bio_parameters import Candidate, RetentionFit
from rmaat_bridge.families import RETENTION_FAMILIES, Family, open_fractions
from rmaat_bridge.quantity import POSITIVE, Quantity
from rmaat_bridge.recordings import Cycles, at_times, attribute, cycles, finite
from rmaat_bridge.regression import Regression, choose, least_squares, residual_p_value

MINIMUM_CYCLES = 4
FLAT = 1e-9
# An average increment in the last third this close to that of the first third is a straight line, not a bend.
STRAIGHT = 0.95
N_BOOTSTRAP = 200


def fit_retention(recording: xr.Dataset, seed: int = 0) -> RetentionFit:
    """Fit the build-up of p_long over the cycles of a recording.

    Parameters
    ----------
    recording : Dataset
        With ``p_long (time, ...)`` and a protocol of STP cycles.
    seed : int
        Of the bootstrap.

    Returns
    -------
    RetentionFit
        Family by AICc, tau_p_long [s] at the recording's leak_p_long, with errors and the retention curve's band.

    Raises
    ------
    InputError
        If p_long is missing, not finite, flat, truncated, falls, or does not bend; the cycle is named.
    """
    rhythm = cycles(recording)
    build_up = _build_up(recording, rhythm)
    mean = build_up.mean(axis=1)
    leak = float(attribute(recording, "parameters").get("leak_p_long", 1.0))
    fits = {name: fit_family(family, mean) for name, family in RETENTION_FAMILIES.items()}
    name = choose(fits)
    chosen = fits[name]
    best = min(fit.aicc for fit in fits.values())
    to_seconds = leak * rhythm.seconds
    parameters = {
        "tau_p_long": _time_constant(chosen, to_seconds),
        "leak_p_long": Quantity.exact(leak, "1"),
        "cycle_s": Quantity.exact(rhythm.seconds, "s"),
    }
    for shape, domain in RETENTION_FAMILIES[name].domain.items():
        parameters[shape] = Quantity.estimated(
            chosen.values[shape], chosen.standard_errors[shape], chosen.dof, "1", domain
        )
    return RetentionFit(
        family=name,
        parameters=parameters,
        r_squared=chosen.r_squared,
        residuals=chosen.residuals.tolist(),
        residual_p_value=residual_p_value(chosen.residuals),
        candidates=[
            Candidate(
                family=family,
                n_parameters=len(fit.values),
                r_squared=fit.r_squared,
                aicc=fit.aicc if np.isfinite(fit.aicc) else None,
                delta=fit.aicc - best if np.isfinite(fit.aicc) else None,
            )
            for family, fit in fits.items()
        ],
        findings=_increment_band(build_up, RETENTION_FAMILIES[name], chosen, seed) | fit_dynamics(recording),
        notes=_notes(rhythm.count, fits),
    )


def fit_family(family: Family, build_up: np.ndarray) -> Regression:
    """Fit ``amplitude * (1 - G(k))`` to the build-up at the ends of cycles 1 ... n; shape (n,).

    Parameters of the result: ``amplitude``, the rate per cycle ``a``, and the family's shape.
    """
    k = np.arange(1.0, build_up.size + 1)

    def curve(amplitude: Any, a: Any, **shape: Any) -> np.ndarray:
        return amplitude * (1 - family.curve(np, k, a, **shape))

    half_way = float(k[np.argmax(build_up >= build_up.max() / 2)])
    amplitude = float(build_up.max())
    starts = [
        {"amplitude": amplitude, "a": rate, **shape}
        for rate in (0.7 / half_way, 0.2 / half_way)
        for shape in family.starts
    ]
    return least_squares(curve, build_up, {"amplitude": POSITIVE, "a": POSITIVE, **family.domain}, starts)


def fit_dynamics(recording: xr.Dataset) -> dict[str, Quantity]:
    """Separate tau_p_long and leak_p_long by the course of p_long inside the cycles.

    The equation integrated from the start, ``p(t) - p(0) = (1/tau) K(t) - (leak/tau) P(t)`` with K and P the
    time integrals of kappa(s) and p, is linear in its two unknowns. Needs ``s`` and the name of kappa.
    """
    name = attribute(recording, "parameters").get("kappa")
    if name not in FUNCTIONS or "s" not in recording:
        return {}
    time = recording["time"].values
    p = finite(recording, "p_long").values.reshape(time.size, -1)
    drive = FUNCTIONS[name].value(finite(recording, "s").values.reshape(time.size, -1))
    drive_integral = cumulative_trapezoid(drive, time, axis=0, initial=0).ravel()
    state_integral = cumulative_trapezoid(p, time, axis=0, initial=0).ravel()
    design = np.stack([drive_integral, -state_integral], axis=1)
    rise = (p - p[0]).ravel()
    (inverse_tau, rate), *_ = np.linalg.lstsq(design, rise)
    residual = rise - design @ [inverse_tau, rate]
    dof = p.shape[0] - 2
    variance = float(residual @ residual) / dof
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * variance)
    if not (inverse_tau > 0 and rate > 0):
        return {}
    tau, leak = 1 / inverse_tau, rate / inverse_tau
    relative = errors / [inverse_tau, rate]
    return {
        "tau_p_long_within_cycles": Quantity.estimated(tau, tau * relative[0], dof, "s", POSITIVE),
        "leak_p_long_within_cycles": Quantity.estimated(
            leak, leak * float(np.hypot(*relative)), dof, "1", POSITIVE
        ),
    }


def _build_up(recording: xr.Dataset, rhythm: Cycles) -> np.ndarray:
    """p_long at the ends of the cycles minus its start, shape (n_cycles, n_synapses), checked."""
    data = finite(recording, "p_long")
    if rhythm.count < MINIMUM_CYCLES:
        raise InputError("recording: n_cycles", rhythm.count, f"at least {MINIMUM_CYCLES} cycles")
    ends = rhythm.seconds * np.arange(rhythm.count + 1)
    sampled = at_times(data, ends).reshape(ends.size, -1)
    build_up = sampled[1:] - sampled[0]
    mean = build_up.mean(axis=1)
    if np.ptp(mean) <= FLAT:
        raise InputError(
            "recording: p_long", f"a range of {np.ptp(mean):.1e} over the cycles", "a curve that rises"
        )
    steps = np.diff(mean, prepend=0.0)
    falls = np.flatnonzero(np.cumsum(steps) < 0)
    if falls.size:
        raise InputError(
            f"recording: p_long in cycle {falls[0] + 1}", f"{steps[falls[0]]:.3g}", "a rise over the cycles"
        )
    third = max(len(steps) // 3, 1)
    bend = steps[-third:].mean() / steps[:third].mean()
    if bend >= STRAIGHT:
        raise InputError(
            f"recording: p_long in cycle {rhythm.count}",
            f"an increment {bend:.2f} times the first",
            f"below {STRAIGHT}: the curve does not saturate; simulate more cycles or a shorter tau_p_long",
        )
    return build_up


def _time_constant(fit: Regression, to_seconds: float) -> Quantity:
    tau = to_seconds / fit.values["a"]
    return Quantity.estimated(tau, tau * fit.standard_errors["a"] / fit.values["a"], fit.dof, "s", POSITIVE)


def _increment_band(build_up: np.ndarray, family: Family, fit: Regression, seed: int) -> dict[str, Quantity]:
    """Bootstrap bands of the retention factors RF(t, n): resampled residuals around the chosen curve."""
    n = build_up.shape[0]
    k = np.arange(1.0, n + 1)
    rng = np.random.default_rng(seed)
    values = dict(fit.values)
    fitted = build_up.mean(axis=1) - fit.residuals
    spread = fit.residuals * np.sqrt(n / max(fit.dof, 1))

    def factors(values: dict[str, float]) -> np.ndarray:
        shape = {name: value for name, value in values.items() if name != "amplitude"}
        return -np.diff(g := open_fractions(family, np, k, **shape)) / (1 - g[-1])

    draws = np.array(
        [factors(fit_family(family, fitted + rng.choice(spread, n)).values) for _ in range(N_BOOTSTRAP)]
    )
    centre = factors(values)
    lower, upper = np.quantile(draws, [0.025, 0.975], axis=0)
    return {
        f"retention_factor_{t + 1}_of_{n}": Quantity(
            value=float(centre[t]),
            standard_error=float(draws[:, t].std(ddof=1)),
            lower=float(min(lower[t], centre[t])),
            upper=float(max(upper[t], centre[t])),
            unit="1",
        )
        for t in range(n)
    }


def _notes(n_cycles: int, fits: dict[str, Regression]) -> list[str]:
    undecided = [name for name, fit in fits.items() if not np.isfinite(fit.aicc)]
    notes = [
        f"{n_cycles} values at the ends of the cycles determine one rate per cycle, a = leak_p_long * cycle_s / "
        "tau_p_long, and at most a first-cycle transient.",
        "Cycle ends show tau_p_long / leak_p_long alone; leak_p_long is the recording's. The course within the "
        "cycles (findings) separates the two.",
        "Factors for more segments than cycles are those of the fitted curve: their error bars hold if the "
        "family does.",
    ]
    if undecided:
        notes.append(f"Too few cycles to judge: {', '.join(undecided)}.")
    return notes
