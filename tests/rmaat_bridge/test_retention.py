"""Retention fits: theory, closed forms, statistics over draws, refusals."""

import json

import numpy as np
import pytest

from astro_sim import MacroParameters, simulate_macro
from astro_sim.errors import InputError
from astro_sim.protocols import stp_cycles
from rmaat_bridge import RetentionSchedule, fit_retention
from rmaat_bridge.families import RETENTION_FAMILIES
from rmaat_bridge.quantity import POSITIVE, Quantity
from rmaat_bridge.regression import choose
from rmaat_bridge.retention import fit_dynamics, fit_family, retention_band

# True curve of each family, with so many cycles and such a shape that every rival which is not a special
# case of it is at least 20 units of AICc away at 2 % noise (`test_designs_can_be_told_apart`).
DESIGNS = {
    "exponential": ({}, 0.1, 60),
    "logistic": ({}, 0.1, 60),
    "transient-exponential": ({"second_ratio": 0.2}, 0.1, 60),
    "stretched-exponential": ({"stretch": 0.6}, 0.1, 200),
    "power-law": ({"exponent": 1.0}, 0.5, 300),
    "double-exponential": ({"slow_share": 0.4, "fast_ratio": 20.0}, 0.025, 200),
}
NOISE = 0.02
# Richer families that contain the true one: AICc can only charge for the extra parameters.
CONTAINS = {
    "exponential": {"transient-exponential", "stretched-exponential", "power-law", "double-exponential"},
    "transient-exponential": {"double-exponential"},
}


def true_curve(name):
    shape, a, n = DESIGNS[name]
    return 1 - RETENTION_FAMILIES[name].curve(np, np.arange(1.0, n + 1), a, **shape)


def closed_form(a, n):
    t = np.arange(1, n + 1)
    return (1 - np.exp(-a)) * np.exp(-a * (t - 1)) / (1 - np.exp(-a * n))


def test_exponential_recording_gives_the_closed_form(make):
    """RF = (1-e^-a) e^(-a(t-1)) / (1-e^-aT) to 1e-6 for T = 1 ... 64, far beyond 6 cycles."""
    for tau in (60.0, 400.0):
        fit = fit_retention(make.build_up(lambda t, tau=tau: 1 - np.exp(-t / tau)))
        assert fit.family == "exponential"
        schedule = RetentionSchedule(fit).double()
        for n in range(1, 65):
            factors = schedule(n).detach().numpy()
            np.testing.assert_allclose(factors, closed_form(45 / tau, n), atol=1e-6, rtol=1e-6)


def test_the_leak_of_a_plasticity_recording_is_read_where_it_stands(make):
    """tau / leak is what the curve shows, so a leak of 2 doubles the time constant."""
    recording = make.build_up(lambda t: 1 - np.exp(-t / 60.0))
    recording.attrs |= {"model": "plasticity", "parameters": json.dumps({"plasticity": {"leak_p_long": 2.0}})}
    assert fit_retention(recording).parameters["tau_p_long"].value == pytest.approx(120.0, rel=1e-5)
    one = recording.isel(time=[0])
    with pytest.raises(InputError, match=r"times.*at least 2"):
        fit_retention(one, cycle_s=1.0)


def test_published_example():
    """a = 0.3: T = 2 -> .574 .426; T = 4 -> .371 .275 .204 .151 (three digits in the source)."""
    np.testing.assert_allclose(closed_form(0.3, 4), [0.371, 0.275, 0.204, 0.151], atol=5e-4)
    assert closed_form(0.3, 2) == pytest.approx([0.574, 0.426], abs=5e-4)


def test_macro_increments_shrink_by_the_theoretical_ratio(macro):
    """Ratio of the late increments is e^(-leak cycle / tau) = e^(-45/120); 3e-3: the transient dies out."""
    ends = macro["p_long"].mean(("post", "pre")).sel(time=np.arange(0, 271, 45.0)).values
    ratios = np.diff(ends)[1:] / np.diff(ends)[:-1]
    assert ratios[-1] == pytest.approx(np.exp(-45 / 120), rel=3e-3)
    fit = fit_retention(macro)
    assert fit.parameters["tau_p_long"].value == pytest.approx(120, rel=2e-3)
    assert fit.parameters["second_ratio"].value == pytest.approx(ratios[0], rel=1e-3)


def test_course_within_cycles_separates_tau_from_leak():
    """tau 90 s and leak 1.5 cannot be told from tau 60 s and leak 1 by cycle ends, but within the cycles."""
    parameters = MacroParameters(tau_p_long=90.0, leak_p_long=1.5)
    fit = fit_retention(simulate_macro(parameters, backend="scipy"))
    assert fit.findings["tau_p_long_within_cycles"].value == pytest.approx(90, rel=2e-3)
    assert fit.findings["leak_p_long_within_cycles"].value == pytest.approx(1.5, rel=2e-3)
    assert fit.parameters["tau_p_long"].value == pytest.approx(90, rel=3e-3)


def test_errors_within_cycles_cover_the_scatter_of_noise(macro):
    """Noise of 2e-3 on p_long, 60 draws: errors are those of nine synapses counted as one, at most 3 too large."""
    rng, found = np.random.default_rng(0), []
    for _ in range(60):
        noisy = macro.assign(p_long=macro["p_long"] + 2e-3 * rng.standard_normal(macro["p_long"].shape))
        found.append(fit_dynamics(noisy))
    for name, truth in (("tau_p_long_within_cycles", 120), ("leak_p_long_within_cycles", 1)):
        values = np.array([fit[name].value for fit in found])
        claimed = np.mean([fit[name].standard_error for fit in found])
        assert 1 < claimed / values.std(ddof=1) < 4  # 3 and the scatter of a standard deviation of 60 draws
        assert np.mean([fit[name].lower < truth < fit[name].upper for fit in found]) >= 0.95


def test_two_time_constants_give_two_schedules(macro):
    slow = fit_retention(simulate_macro(MacroParameters(tau_p_long=300.0), backend="scipy"))
    fast = fit_retention(macro)
    gap = RetentionSchedule(fast)(6) - RetentionSchedule(slow)(6)
    assert float(gap.detach()[0]) > 0.05


def test_tripartite_recording_by_its_slow_variable(make):
    """Presynaptic receptors that fill up with tau 120 s: the same fit, with the cycle given by hand."""
    recording = make.build_up(lambda t: 1 - np.exp(-t / 120))
    calcium = recording["p_long"].stack(synapse=("post", "pre")).reset_index("synapse", drop=True)
    tripartite = calcium.to_dataset(name="bound_presynaptic").assign_attrs(
        model="tripartite", parameters="{}", protocol=json.dumps({"kind": "poisson"})
    )
    fit = fit_retention(tripartite, cycle_s=45.0)
    assert fit.parameters["tau_p_long"].value == pytest.approx(120, rel=1e-6)
    with pytest.raises(InputError, match=r"protocol.*poisson.*n_cycles"):
        fit_retention(tripartite)


def noisy_build_up(make, rng):
    """Twenty cycles of an exponential with a = 0.2, with noise of 1 % of the plateau at the cycle ends."""
    recording = make.build_up(lambda t: 1 - np.exp(-0.2 * t / 45), n_cycles=20)
    ends = 45.0 * np.arange(1, 21)
    recording["p_long"].loc[{"time": ends}] += 0.01 * rng.standard_normal(20)[:, None, None]
    return recording


def test_band_agrees_with_the_linear_theory(make):
    """Bootstrap error of RF(1, 12) against the error of tau carried over by its derivative; 30 %: 200 draws."""
    fit = fit_retention(noisy_build_up(make, np.random.default_rng(0)))
    assert fit.family == "exponential"
    tau = fit.parameters["tau_p_long"]
    up, down = (closed_form(45 / (tau.value + sign * 0.01), 12)[0] for sign in (1, -1))
    expected = abs(up - down) / 0.02 * tau.standard_error
    first = retention_band(fit, 12)[0]
    assert first.standard_error == pytest.approx(expected, rel=0.3)
    assert first.lower < first.value < first.upper


@pytest.mark.slow
def test_band_covers_the_true_factors(make):
    """95 % band of RF(1, 12) in 40 recordings: at least 34 cover (P = 0.01 if the level holds)."""
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(40):
        recording = noisy_build_up(make, rng)
        data = recording["p_long"].mean(("post", "pre")).sel(time=45.0 * np.arange(1, 21)).values
        regression = fit_family(RETENTION_FAMILIES["exponential"], data)
        fit = make.retention("exponential", "fixed", tau_p_long=45 / regression.values["a"])
        plateau = Quantity.exact(regression.values["amplitude"], "1")
        fit = fit.model_copy(update={"residuals": regression.residuals, "findings": {"plateau": plateau}})
        first = retention_band(fit, 12)[0]
        inside += first.lower <= closed_form(0.2, 12)[0] <= first.upper
    assert inside >= 34


@pytest.mark.parametrize("name", DESIGNS)
def test_designs_can_be_told_apart(name):
    """Separation of the noise-free curves: n ln(1 + misfit / noise^2) plus 2 for each parameter more."""
    curve = true_curve(name)
    size = len(DESIGNS[name][0])
    for rival, family in RETENTION_FAMILIES.items():
        if rival != name and rival not in CONTAINS.get(name, set()):
            misfit = np.mean(fit_family(family, curve).residuals ** 2)
            separation = curve.size * np.log1p(misfit / NOISE**2) + 2 * (len(family.domain) - size)
            assert separation >= 20, rival


@pytest.mark.parametrize("name", DESIGNS)
def test_true_family_is_chosen(name):
    """5 draws: at least 4 right, which a choice that is right in 98 % of draws misses with P = 0.004."""
    assert _draws(name, 5)[0] >= 4 / 5


@pytest.mark.slow
@pytest.mark.parametrize("name", DESIGNS)
def test_choice_and_coverage_over_200_draws(name):
    """True family in >= 90 % of 200 draws; 95 % intervals cover every parameter in 90 to 98 % of them."""
    chosen, covered = _draws(name, 200)
    assert chosen >= 0.9
    for parameter, share in covered.items():
        assert 0.90 <= share <= 0.98, parameter


def _draws(name, n_draws):
    """Shares of draws in which the true family is chosen, and each parameter's 95 % interval covers the truth."""
    rng = np.random.default_rng(1)
    shape, a, _ = DESIGNS[name]
    curve, domain = true_curve(name), RETENTION_FAMILIES[name].domain
    truth = {"amplitude": 1.0, "a": a, **shape}
    chosen, covered = [], {parameter: [] for parameter in truth}
    for _ in range(n_draws):
        data = curve + NOISE * rng.standard_normal(curve.size)
        fits = {rival: fit_family(family, data) for rival, family in RETENTION_FAMILIES.items()}
        chosen.append(choose(fits) == name)
        fit = fits[name]
        for parameter, value in fit.values.items():
            interval = Quantity.estimated(
                value, fit.standard_errors[parameter], fit.dof, "1", domain.get(parameter, POSITIVE)
            )
            covered[parameter].append(interval.lower <= truth[parameter] <= interval.upper)
    return np.mean(chosen), {parameter: np.mean(hits) for parameter, hits in covered.items()}


def test_flat_recording_is_refused(make):
    with pytest.raises(InputError, match=r"p_long.*range"):
        fit_retention(make.build_up(lambda t: 0 * t))


def test_recording_with_nan_is_refused_by_variable_and_cycle(make):
    recording = make.build_up(lambda t: 1 - np.exp(-t / 120))
    recording["p_long"][200, 1, 1] = np.nan  # at 100 s
    with pytest.raises(InputError, match=r"p_long: got '1 bad rows, the first at 100 s, cycle 3'"):
        fit_retention(recording)


def test_truncated_recording_is_refused_by_cycle(make):
    recording = make.build_up(lambda t: 1 - np.exp(-t / 120)).sel(time=slice(0, 200))
    with pytest.raises(InputError, match=r"cycle 5 of 6.*truncated"):
        fit_retention(recording)


@pytest.mark.parametrize("record_dt", [0.4, 2.0, 10.0])
def test_recording_without_the_moments_at_which_the_input_jumps_is_refused(record_dt):
    """p_long has a kink between its rows: tau would be off by 1.7 of 120, and its error far smaller."""
    run = simulate_macro(backend="scipy", record_dt=record_dt)
    with pytest.raises(InputError, match=rf"^recording: record_dt: got '{record_dt:g} s', expected a divisor of cyc"):
        fit_retention(run)


def test_too_few_cycles_are_refused(make):
    with pytest.raises(InputError, match="at least 4"):
        fit_retention(make.build_up(lambda t: 1 - np.exp(-t / 120), n_cycles=3))


@pytest.mark.parametrize("curve", [lambda t: t, lambda t: t**2, lambda t: 1 - np.exp(-t / 1e5)])
def test_curve_that_does_not_bend_is_refused(make, curve):
    with pytest.raises(InputError, match=r"cycle 6.*does not saturate"):
        fit_retention(make.build_up(curve))


def test_falling_curve_is_refused_by_cycle(make):
    with pytest.raises(InputError, match=r"cycle 6.*above its start"):
        fit_retention(make.build_up(lambda t: -t))


def test_curve_that_falls_below_its_start_and_then_rises_is_refused_by_cycle(make):
    with pytest.raises(InputError, match=r"cycle 1.*above its start"):
        fit_retention(make.build_up(lambda t: np.where(t > 0, -np.exp(-t / 90), 0)))


@pytest.mark.parametrize(
    "curve",
    [
        lambda t: np.abs(np.random.default_rng(3).standard_normal(t.size)) * (t > 0),
        lambda t: np.where(t < 135, t / 135, 1 - 0.6 * (t - 135) / 135),
        lambda t: 1 - np.exp(-t / 90) - 0.4 * ((t > 160) & (t < 200)),
    ],
    ids=["noise", "rises and falls", "one broken cycle"],
)
def test_curve_that_no_family_describes_is_refused_by_cycle(make, curve):
    with pytest.raises(InputError, match=r"slow variable in cycle \d: got 'R² = -?0\.\d\d of the best family"):
        fit_retention(make.build_up(curve))


def test_recording_without_a_slow_variable_is_refused(make):
    with pytest.raises(InputError, match="one of p_long, bound_presynaptic"):
        fit_retention(make.build_up(lambda t: t).drop_vars("p_long"))


def test_unequal_amplitudes_do_not_change_the_retention(make):
    """The average over synapses has one rate whatever their drives: the property that makes one curve enough."""
    for amplitudes in [(1.0, 1.0, 1.0), (1.0, 0.6, 0.1)]:
        fit = fit_retention(simulate_macro(None, stp_cycles(6, 45.0, 15.0, amplitudes), backend="scipy"))
        assert fit.parameters["tau_p_long"].value == pytest.approx(120, rel=2e-3)
