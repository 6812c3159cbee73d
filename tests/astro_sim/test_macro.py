"""The macro model against an independent reference, its order of convergence, its recording."""

import json
import tomllib
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from astro_sim.errors import InputError
from astro_sim.macro import default_protocol, simulate_macro
from astro_sim.macro_equations import MacroState
from astro_sim.macro_parameters import LatchingWarning, MacroParameters
from astro_sim.protocols import array, poisson, stp_cycles
from astro_sim.theory import increment_ratio

NAMES = ("x", "s", "p_short", "p_long")


def naive_derivative(y: NDArray[np.float64], b: NDArray[np.float64], p: MacroParameters) -> NDArray[np.float64]:
    """The four lines written out with sums over indices, for tanh-relu, identity, tanh, tanh and the l1 kernel."""
    n = p.n_neurons
    x, (s, short, long) = y[:n], y[n:].reshape(3, n, n)
    theta = np.where(x > 0, np.tanh(x), 0)
    dx, ds, dshort, dlong = np.zeros(n), np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        dx[i] = -p.leak_x * x[i] + b[i]
        for j in range(n):
            dx[i] += p.gain * s[i, j] * theta[j]
            ds[i, j] = -p.leak_s * s[i, j] + theta[i] * theta[j] + np.tanh(short[i, j])
            dlong[i, j] = -p.leak_p_long * long[i, j] + np.tanh(s[i, j])
            dshort[i, j] = -p.leak_p_short * short[i, j] + p.drive * np.tanh(s[i, j])
            for k in range(n):
                for m in range(n):
                    weight = p.coupling * np.exp(-(abs(i - k) + abs(j - m)) / p.coupling_length)
                    dshort[i, j] += weight * np.tanh(short[k, m])
    return np.concatenate(
        [dx / p.tau_n, ds.ravel() / p.tau_s, dshort.ravel() / p.tau_p_short, dlong.ravel() / p.tau_p_long]
    )


@pytest.fixture(scope="module")
def recording():
    return simulate_macro()


def test_default_step_agrees_with_lsoda_on_the_naive_equations(recording):
    """Whole demo protocol, every variable, relative error at most 1e-4 (measured 6e-6)."""
    p, protocol = MacroParameters(), stp_cycles(6, 45, 15, [1, 0.5, 0.25])
    y, times = np.zeros(3 + 27), recording.time.values
    rows = {0.0: y}
    for k in range(6):
        for start, end in ((45 * k, 45 * k + 15), (45 * k + 15, 45 * k + 45)):
            inside = times[(times > start) & (times <= end)]
            b = protocol.at([start])[0]
            solution = solve_ivp(
                lambda _, y, b=b: naive_derivative(y, b, p), (start, end), y, "LSODA", inside, rtol=1e-10, atol=1e-13
            )
            y = solution.y[:, -1]
            rows |= dict(zip(inside, solution.y.T, strict=True))
    reference = np.stack([rows[time] for time in times])
    assert len(reference) == 541
    expected = dict(zip(NAMES[1:], np.moveaxis(reference[:, 3:].reshape(-1, 3, 3, 3), 1, 0), strict=True))
    for name, values in (expected | {"x": reference[:, :3]}).items():
        error = np.abs(recording[name].values - values).max(axis=0) / np.abs(values).max(axis=0)
        assert error.max() <= 1e-4, name


def test_scipy_backend_agrees_with_brian2(recording):
    """The two right-hand sides are one model: equal to the default step's error, 1e-4 relative."""
    reference = simulate_macro(backend="scipy")
    for name in NAMES:
        assert np.abs(reference[name] - recording[name]).max() <= 1e-4 * np.abs(reference[name]).max()


@pytest.mark.parametrize("kernel", ["exponential-l1", "exponential"])
def test_order_of_convergence_is_four(kernel):
    """Fitted slope of log error over log dt: every stage sees its own coupling, so nothing is first order."""
    p = MacroParameters(coupling_kernel=kernel, tau_n=0.2, tau_s=0.3, tau_p_short=0.5, tau_p_long=1.0, gain=0.3)
    protocol = stp_cycles(2, 2.0, 1.0, [1.0, 0.5, 0.25])
    reference = simulate_macro(p, protocol, backend="scipy", dt=0.1, record_dt=1.0)
    steps = np.array([0.1, 0.05, 0.025, 0.0125])
    errors = []
    for dt in steps:
        run = simulate_macro(p, protocol, dt=float(dt), record_dt=1.0)
        errors.append(max(float(np.abs(run[name] - reference[name]).max()) for name in NAMES))
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 3.7 <= slope <= 4.5, (slope, errors)


def test_rows_are_post_and_columns_pre():
    """Only neuron 0 of a feed-forward pair drives: column 0 of s is active, column 1 is not; no transpose."""
    p = MacroParameters(n_neurons=3, n_pre=2, drive=0.0, coupling=0.0)
    protocol = array(np.array([[1.0, 0.0, 1.0, 0.5, 0.25]]), 2.0)
    run = simulate_macro(p, protocol)
    s = run.s.isel(time=-1).values
    assert s.shape == (3, 2)
    assert (s[:, 0] > 0.05).all() and np.allclose(s[:, 1], 0, atol=1e-15)
    assert s[0, 0] > s[1, 0] > s[2, 0]


def test_feed_forward_backends_agree():
    p = MacroParameters(n_neurons=3, n_pre=2)
    protocol = stp_cycles(1, 10, 5, [1.0, 0.3, 0.2, 0.1, 0.0])
    runs = [simulate_macro(p, protocol, backend=backend) for backend in ("brian2", "scipy")]
    for name in NAMES:
        assert np.abs(runs[0][name] - runs[1][name]).max() <= 1e-4 * np.abs(runs[1][name]).max()


@pytest.mark.parametrize("layout", ["line", "sheet"])
def test_layouts_run_and_backends_agree(layout):
    p = MacroParameters(n_neurons=4, layout=layout, border="periodic", coupling_kernel="gaussian", coupling=0.05)
    protocol = stp_cycles(1, 6, 3, [1.0, 0.3, 0.2, 0.1])
    runs = [simulate_macro(p, protocol, backend=backend) for backend in ("brian2", "scipy")]
    for name in NAMES:
        assert np.abs(runs[0][name] - runs[1][name]).max() <= 1e-4 * np.abs(runs[1][name]).max()


def test_p_short_is_uniform_under_equal_distances_and_graded_otherwise():
    """Three neurons on a ring are all one step apart; on an open line the middle has nearer neighbours."""
    protocol = stp_cycles(1, 45, 15, [1.0, 1.0, 1.0])
    ring = simulate_macro(MacroParameters(border="periodic"), protocol).p_short.sel(time=15).values
    line = simulate_macro(MacroParameters(border="open"), protocol).p_short.sel(time=15).values
    assert np.ptp(ring) <= 1e-14 * ring.max()
    assert line[1, 1] > line[0, 1] > line[0, 0]
    assert line[1, 1] / line[0, 0] > 1.05


def test_increments_of_p_long_shrink_by_the_predicted_factor(recording):
    """Once the cycle repeats, by exp(-γ τ_cycle/τ) = 0.687289; the first cycle's transient has died by cycle 5."""
    ends = recording.p_long.sel(time=45 * np.arange(7)).values.reshape(7, -1)
    ratios = np.diff(ends, axis=0)[1:] / np.diff(ends, axis=0)[:-1]
    assert increment_ratio(MacroParameters(), 45.0) == pytest.approx(0.687289, abs=1e-6)
    assert ratios[-1] == pytest.approx(np.full(9, 0.687289), abs=2e-4)


def test_p_short_answers_within_a_cycle_and_p_long_builds_up(recording):
    short, long = recording.p_short.values[:, 0, 0], recording.p_long.values[:, 0, 0]
    on, off, cycle = 30, 90, 90
    for k in range(6):
        assert short[k * cycle + on] > 10 * short[(k + 1) * off]
    assert (np.diff(long[::cycle]) > 0).all()


def test_recording_carries_units_and_provenance(recording):
    assert recording.x.dims == ("time", "neuron") and recording.s.dims == ("time", "post", "pre")
    assert recording.time.attrs["units"] == "s" and recording.time.values[-1] == 270.0
    assert all(recording[name].attrs["units"] == "1" for name in NAMES)
    assert MacroParameters.from_json(recording.attrs["parameters"]) == MacroParameters()
    protocol = json.loads(recording.attrs["protocol"])
    assert (protocol["n_cycles"], protocol["cycle_s"], protocol["on_s"]) == (6, 45.0, 15.0)
    assert json.loads(recording.attrs["versions"])["brian2"].startswith("2.9")


def test_initial_state_is_taken():
    rng = np.random.default_rng(3)
    state = MacroState(rng.normal(size=3), *rng.normal(size=(3, 3, 3)))
    for backend in ("brian2", "scipy"):
        run = simulate_macro(protocol=array(np.zeros((1, 3)), 1.0), backend=backend, initial=state)
        for name in NAMES:
            assert run[name].values[0] == pytest.approx(getattr(state, name), rel=1e-12)


def test_an_edge_inside_a_step_keeps_its_integral():
    """Poisson pulses fall between steps; the mean over a step keeps the error small (2e-2, first order)."""
    protocol = poisson([3.0, 2.0, 1.0], 5.0, 1.0, pulse_s=0.2, seed=4)
    coarse = simulate_macro(protocol=protocol, dt=0.005, record_dt=0.5)
    reference = simulate_macro(protocol=protocol, backend="scipy", record_dt=0.5)
    for name in NAMES:
        assert np.abs(coarse[name] - reference[name]).max() <= 2e-2 * np.abs(reference[name]).max()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tau_p_long": -1.0}, "tau_p_long"),
        ({"tau_n": 0.0}, "tau_n"),
        ({"leak_s": float("nan")}, "leak_s"),
        ({"n_neurons": 0}, "n_neurons"),
        ({"n_neurons": 3, "layout": "sheet"}, "n_neurons"),
        ({"theta": "cosh"}, "theta"),
        ({"border": "closed"}, "border"),
        ({"coupling_kernel": "cubic"}, "coupling_kernel"),
        ({"coupling_kernel": "memories"}, "memories"),
        ({"coupling_kernel": "memories", "memories": ((1, 2, 3), (1, 2))}, "memories"),
        ({"coupling_kernel": "memories", "memories": (("a", "b", "c"),)}, "memories"),
        ({"coupling_kernel": "memories", "memories": ((1, float("nan"), 1),)}, "memories"),
    ],
)
def test_parameters_outside_their_bounds_name_the_field(changes, field):
    with pytest.raises(InputError, match=f"^{field}: "):
        MacroParameters(**changes)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"dt": 0.11, "record_dt": 0.11}, "dt"),
        ({"dt": 0.0}, "dt"),
        ({"dt": 0.07, "record_dt": 0.07}, "dt"),
        ({"record_dt": 0.51}, "record_dt"),
        ({"backend": "neuron"}, "backend"),
        ({"protocol": stp_cycles(1, 2, 1, [1.0])}, "protocol"),
        ({"record_dt": 300.0}, "record_dt"),
        ({"initial": MacroState.rest(MacroParameters(4))}, "initial"),
        ({"initial": replace(MacroState.rest(MacroParameters()), p_short=np.zeros((2, 3)))}, "initial"),
        ({"initial": replace(MacroState.rest(MacroParameters()), p_long=np.full((3, 3), np.nan))}, "initial"),
        ({"initial": replace(MacroState.rest(MacroParameters()), x=np.array([0, np.inf, 0]))}, "initial"),
    ],
)
def test_arguments_that_cannot_be_used_name_the_field(arguments, field):
    with pytest.raises(InputError, match=f"^{field}: "):
        simulate_macro(**arguments)


def test_latching_margin_warns_and_is_where_the_scan_found_it():
    """ρ 0.5 and drive 1 (margin −0.5) latches; ρ 0.25 and drive 0.25 (margin 0.5) decays."""
    decaying = MacroParameters(coupling=0.1)
    rho = decaying.transport.spectral_radius
    decaying = replace(decaying, coupling=0.1 * 0.25 / rho)
    assert decaying.latching_margin == pytest.approx(0.5, abs=1e-12)
    with pytest.warns(LatchingWarning, match="margin -0.5"):
        latching = replace(decaying, coupling=0.1 * 0.5 / rho, drive=1.0)
    protocol = stp_cycles(1, 45, 15, [1.0, 1.0, 1.0])
    left = {}
    for name, parameters in (("latching", latching), ("decaying", decaying)):
        short = simulate_macro(parameters, protocol, backend="scipy").p_short.max(("post", "pre"))
        left[name] = float(short.sel(time=45) / short.sel(time=15))
    assert left["latching"] > 0.7 and left["decaying"] < 0.1


@pytest.mark.filterwarnings("ignore::astro_sim.macro_parameters.LatchingWarning")
def test_what_is_left_of_p_short_is_what_the_scan_found():
    """5 to 6 % at margin 0.5; 0.986 where it latches: three digits of another solver (1e-3)."""
    oracle = tomllib.loads((Path(__file__).parents[1] / "oracles" / "biophysics.toml").read_text())["macro_latching"]
    radius = MacroParameters().transport.spectral_radius

    def corner(rho: float, drive: float) -> tuple[float, float]:
        parameters = replace(MacroParameters(), coupling=MacroParameters().coupling * rho / radius, drive=drive)
        short = simulate_macro(parameters, stp_cycles(1, 45, 15, [1.0] * 3), backend="scipy").p_short[:, 0, 0]
        return float(short.sel(time=15)), float(short.sel(time=45))

    end, later = corner(*oracle["decaying"])
    low, high = oracle["decaying_left_after_30_s"]
    assert low <= later / end <= high
    assert corner(*oracle["latching"])[1] == pytest.approx(oracle["latching_p_short_after_30_s"], abs=1e-3)


def test_no_warning_with_the_default_parameters():
    with warnings.catch_warnings():
        warnings.simplefilter("error", LatchingWarning)
        assert MacroParameters().latching_margin > 0


def test_default_protocol_has_an_input_for_each_neuron():
    protocol = default_protocol()
    assert len(set(protocol.values[0])) == 3 and protocol.duration == 270.0


def test_numpy_scalars_are_numbers():
    taken = MacroParameters(np.int64(4), gain=np.float32(0.5), tau_n=np.float64(0.1))  # type: ignore[arg-type]
    assert taken == MacroParameters(4, gain=0.5, tau_n=0.1)
    assert MacroParameters.from_json(taken.to_json()) == taken


@pytest.mark.filterwarnings("ignore::astro_sim.macro_parameters.LatchingWarning")
def test_scipy_stops_where_the_state_diverges_and_keeps_its_rows():
    """Without saturation the state blows up in finite time, 0.18 s here."""
    linear = {"psi": "identity", "kappa": "identity", "g": "identity", "theta": "relu"}
    unstable = MacroParameters(gain=5.0, drive=3.0, coupling=2.0, **linear)  # type: ignore[arg-type]
    with pytest.warns(RuntimeWarning, match=r"diverged at 0\.1\d+ s: try"):
        run = simulate_macro(unstable, backend="scipy", record_dt=0.025)
    assert 4 <= run.sizes["time"] <= 8 and np.isfinite(run.x).all()
    assert float(run.x[-1].max()) > float(run.x[1].max()) > 0


def test_scipy_keeps_its_rows_when_interrupted(monkeypatch):
    """Ctrl-C after 40 rows of one long piece without edges, as in the first pause of the protocol."""
    from astro_sim.recorder import Recorder

    add, told = Recorder.add, []

    def interrupted(self, time, state):
        told.append(time)
        if len(told) > 40:
            raise KeyboardInterrupt
        return add(self, time, state)

    monkeypatch.setattr(Recorder, "add", interrupted)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        run = simulate_macro(backend="scipy", protocol=array(np.ones((1, 3)), 60.0))
    assert run.time.values == pytest.approx(np.arange(40) * 0.5)


def test_positions_say_what_they_count():
    for layout, n, said in (("line", 3, "grid steps"), ("sheet", 4, "number of the cell on the sheet")):
        p = MacroParameters(n, layout=layout)
        run = simulate_macro(p, array(np.ones((1, n)), 0.5), backend="scipy")
        assert run.post_position.attrs["comment"].startswith(said)
        assert run.post_position.values.tolist() == list(range(n))
