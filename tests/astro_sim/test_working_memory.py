"""Working memory: its neuron against SciPy, its astrocytes against a recount from spikes, its recall with controls."""

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import brian2 as b2
import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

from astro_sim import InputError, WorkingMemoryModel, memory_window, recall_correlation, simulate_working_memory
from astro_sim.experiment import Experiment
from astro_sim.izhikevich import IZHIKEVICH_EQUATIONS, RESET, SPIKES, IzhikevichParameters
from astro_sim.memory_task import Shows, StimulusParameters, glyph
from astro_sim.presets import WORKING_MEMORY
from astro_sim.recall import spike_counts
from astro_sim.working_memory_model import MemoryParameters

PUBLISHED = tomllib.loads((Path(__file__).parents[1] / "oracles" / "biophysics.toml").read_text())["working_memory"]

# 16 x 16 neurons under 5 x 5 astrocytes that look at one block of 8 x 8, and later at it again
BLOCK = np.pad(np.ones((8, 8), dtype=bool), ((2, 6), (2, 6)))
SMALL = WorkingMemoryModel(
    stimulus=StimulusParameters(learn_from=0.05, cue_from=0.65, cue_for=0.1),
    memory=MemoryParameters(f_noise=0.5),
    astrocytes_a_side=5,
    n_links=20,
    link_length=2.0,
    learned="x",
    cued="x",
)


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    return simulate_working_memory(SMALL, patterns={"x": BLOCK}, duration=0.9, record_dt=0.01, seed=1)


def neuron_spikes(current: float, dt: float, stop: float = 0.3) -> np.ndarray:
    """Spike times of the Brian2 neuron under a constant current, V/s."""
    b2.prefs.codegen.target = "numpy"
    p = IzhikevichParameters()
    clock = b2.Clock(dt * b2.second)
    cell = b2.NeuronGroup(
        1, IZHIKEVICH_EQUATIONS, threshold=SPIKES, reset=RESET, method="euler", namespace=p.namespace(), clock=clock
    )
    cell.v, cell.u, cell.I = "V_0", "b*V_0", current * b2.volt / b2.second
    spikes = b2.SpikeMonitor(cell)
    b2.Network(cell, spikes).run(stop * b2.second, namespace={})
    b2.prefs.codegen.target = "auto"
    return np.array(spikes.t)


def scipy_spikes(current: float, stop: float = 0.3) -> np.ndarray:
    """The same from Izhikevich's own numbers, by an adaptive solver that stops at each peak; ms and mV inside."""

    def flow(_: float, y: np.ndarray) -> list[float]:
        return [0.04 * y[0] ** 2 + 5 * y[0] + 140 - y[1] + current, 0.1 * (0.2 * y[0] - y[1])]

    def peak(_: float, y: np.ndarray) -> float:
        return y[0] - 30

    peak.terminal, peak.direction = True, 1  # type: ignore[attr-defined]
    time, y, spikes = 0.0, np.array([-70.0, -14.0]), []
    while True:
        run = solve_ivp(flow, (time, 1e3 * stop), y, "LSODA", events=peak, rtol=1e-10, atol=1e-10)
        if run.status != 1:
            return np.array(spikes) / 1e3
        time, y = float(run.t[-1]), np.array([-65.0, run.y[1, -1] + 2])
        spikes.append(time)


@pytest.mark.parametrize("current", [8.0, 25.0])
def test_the_neuron_fires_as_scipy_says(current: float) -> None:
    """Intervals once settled: Euler is off by below 8 % at 0.1 ms, in the first order of the step (slope 1 ± 0.2)."""
    exact = np.diff(scipy_spikes(current))[-5:].mean()
    steps = np.array([1e-4, 5e-5, 2.5e-5])
    errors = [abs(np.diff(neuron_spikes(current, dt))[-20:].mean() - exact) / exact for dt in steps]
    assert errors[0] < 0.08
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(1, abs=0.2)


def test_links_are_distinct_and_as_long_as_drawn() -> None:
    """Mean length against quadrature over the same density, within four standard errors of 1521 links."""
    source, target = SMALL.synapses(np.random.default_rng(0))
    assert np.bincount(source).tolist() == [20] * 256
    assert len(set(zip(source.tolist(), target.tolist(), strict=True))) == len(source) and (source != target).all()
    assert target.min() >= 0 and target.max() < 256
    model = WorkingMemoryModel(n_links=1, link_length=2.0)
    source, target = (np.array(np.divmod(cells, 79)) for cells in model.synapses(np.random.default_rng(1)))
    central = (np.abs(source - 39) < 20).all(axis=0)
    lengths = np.hypot(*(target - source)[:, central])
    distance = -2.0 * np.log(1 - (np.arange(2000) + 0.5) / 2000)
    angle = 2 * np.pi * (np.arange(720) + 0.5) / 720
    expected = np.hypot(*(np.trunc(distance[:, None] * wave(angle)) for wave in (np.cos, np.sin)))
    error = lengths.std() / np.sqrt(lengths.size)
    assert lengths.mean() == pytest.approx(expected[expected > 0].mean(), abs=4 * error)


def test_every_neuron_lies_under_its_astrocyte() -> None:
    model = WorkingMemoryModel()
    zones, owners = model.zones(), model.owners()
    assert zones.shape == (676, 16) and (model.n_neurons, model.neurons_a_side) == (6241, 79)
    assert (zones[owners] == np.arange(6241)[:, None]).any(axis=1).all()
    seen = np.bincount(zones.ravel())
    assert set(seen.tolist()) == {1, 2, 4} and (seen == 4).sum() == 25**2  # inner corners
    rows, columns = np.divmod(zones[27], 79)  # the second of the second row
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 6, 3, 6)


def test_shows_flip_the_share_of_pixels_they_say() -> None:
    model = WorkingMemoryModel()
    shows = Shows.draw(model, None, np.random.default_rng(0))
    assert shows.character == tuple("012305162738") and shows.cue.tolist() == [False] * 4 + [True] * 8
    assert shows.start[[0, 3, 4, 11]] == pytest.approx([0.5, 1.4, 2.3, 5.1])
    assert (shows.stop - shows.start)[[0, 4]] == pytest.approx([0.2, 0.15])
    flipped = (shows.pattern != shows.pixels).sum(axis=1)
    assert flipped.tolist() == [int(0.05 * 6241)] * 4 + [int(0.2 * 6241)] * 8
    for character in "0123456789":
        drawn = np.argwhere(glyph(character, 79))
        assert np.ptp(drawn[:, 0]) + 1 == pytest.approx(0.85 * 79, abs=2)
        assert (drawn.min(axis=0) + drawn.max(axis=0)) / 2 == pytest.approx([39, 39], abs=1)


def driven_and_coincident(recording: xr.Dataset, stop: float) -> tuple[np.ndarray, np.ndarray]:
    """At each millisecond: who drives an astrocyte, and when it last saw six spikes in one step; from the spikes."""
    step = np.rint(recording.spike_time.values / 1e-4).astype(int)
    raster = np.zeros((round(stop / 1e-4), 256), dtype=bool)
    raster[step, recording.spike_neuron.values] = True
    zones, glutamate = SMALL.zones(), np.zeros(256)
    active, together = [], []
    for spikes in raster:
        active.append((glutamate >= 0.7)[zones].sum(axis=1))
        together.append(spikes[zones].sum(axis=1) >= 6)
        glutamate = (glutamate + 0.06 * spikes) * (1 - 10 * 1e-4)
    return np.array(active)[9::10] >= 8, np.array(together).reshape(-1, 10, 25).any(axis=1)


def test_the_astrocytes_answer_what_the_spikes_say(small: xr.Dataset) -> None:
    """Calcium of all 25 from the recorded spikes, by SciPy: 2 % of its rise (drive and coupling are held for 1 ms)."""
    stop, p = 0.6, SMALL.astrocyte
    active, _ = driven_and_coincident(small.isel(spike=small.spike_time.values < stop), stop)
    since = np.full(25, 1000)
    rows, columns = np.divmod(np.arange(25), 5)
    near = np.abs(rows[:, None] - rows) + np.abs(columns[:, None] - columns) == 1
    laplace = near - np.diag(near.sum(axis=1))
    y = np.repeat([p.C_0, p.h_0, p.I_0], 25)

    def flow(_: float, y: np.ndarray, driven: np.ndarray) -> np.ndarray:
        c, h, i = y.reshape(3, 25)
        opened = (i / (i + 0.13) * c / (c + 0.082) * h) ** 3
        q = 1.049 * (i + 0.13) / (i + 0.9434)
        store = (6 * opened + 0.11) * (2 - 1.185 * c) - 2.2 * c**2 / (0.01 + c**2) + 0.2 * i**2 / (1 + i**2) - 0.5 * c
        made = 0.14 * (0.16 - i) + 0.3 * (c + 0.22) / (c + 1.1) + 5.0 * driven
        return np.concatenate([store + 0.05 * laplace @ c, 0.14 * (q - (q + c) * h), made + 0.1 * laplace @ i])

    for now in active:
        y = solve_ivp(flow, (0, 1e-3), y, "RK45", rtol=1e-8, atol=1e-10, args=(since <= 60,)).y[:, -1]
        since = np.where(now, 1, since + 1)
    calcium = small.calcium.sel(time=stop, method="nearest").values
    assert y[:25].max() > 0.15 and (y[:25] > 0.15).sum() < 25
    assert calcium == pytest.approx(y[:25], abs=0.02 * (y[:25].max() - p.C_0))


def test_calcium_and_coincident_spikes_enhance(small: xr.Dataset) -> None:
    """Enhanced within 250 ms after six of 16 spike at once under high calcium, and never else."""
    _, together = driven_and_coincident(small.isel(spike=small.spike_time.values < 0.9), 0.9)
    enhanced, calcium = small.enhanced.values > 0, small.calcium.values
    times = np.rint(small.time.values * 1e3).astype(int)
    for row, now in enumerate(times):
        lately = together[max(0, now - 262) : now + 1].any(axis=0)
        assert not (enhanced[row] & ~lately).any()
        high = calcium[max(0, row - 27) : row + 1].max(axis=0) > 0.15
        assert not (enhanced[row] & ~high).any()
    assert not enhanced[times < 650].any()
    block = (BLOCK.ravel()[SMALL.zones()].sum(axis=1)) == 16
    assert block.sum() == 4
    assert enhanced[times > 700][:, block].any(axis=0).all()


def test_enhanced_synapses_make_the_pattern_fire_more(small: xr.Dataset) -> None:
    """Until the cue both runs are one; then the block fires more than where astrocytes enhance nothing."""
    model = replace(SMALL, memory=replace(SMALL.memory, eta=0.0))
    control = simulate_working_memory(model, patterns={"x": BLOCK}, duration=0.9, record_dt=0.01, seed=1)
    before = small.spike_time.values < 0.65
    assert small.spike_time.values[before] == pytest.approx(control.spike_time.values[: before.sum()], abs=1e-12)
    counts = [spike_counts(run).values[1][BLOCK.ravel()].mean() for run in (small, control)]
    assert counts[0] > 1.2 * counts[1]


def made_up(fired: np.ndarray, pattern: np.ndarray, spikes: int = 5) -> xr.Dataset:
    """A recording of one learned pattern and one cue of it, at which the neurons `fired` spike."""
    neuron = np.repeat(np.flatnonzero(fired), spikes)
    return xr.Dataset(
        {
            "spike_time": ("spike", np.full(neuron.size, 2.1)),
            "spike_neuron": ("spike", neuron),
        },
        coords={
            "time": [0.0, 3.0],
            "character": ("show", ["x", "x"]),
            "is_cue": ("show", np.array([0, 1], dtype=np.int8)),
            "start": ("show", [0.5, 2.0]),
            "pattern": (("show", "neuron"), np.array([pattern, pattern], dtype=np.int8)),
        },
    )


def test_recall_is_the_mean_of_both_shares() -> None:
    pattern = np.arange(100) < 20
    assert recall_correlation(made_up(pattern, pattern)).item() == 1
    assert recall_correlation(made_up(~pattern, pattern), threshold=3).item() == 0
    assert recall_correlation(made_up(np.arange(100) < 0, pattern)).item() == 0.5
    half = (np.arange(100) >= 10) & (np.arange(100) < 28)  # 10 of 20 hit, 8 of 80 false
    recalled = recall_correlation(made_up(half, pattern))
    assert recalled.item() == pytest.approx((10 / 20 + 72 / 80) / 2)
    assert recalled.learned.item() and recalled.attrs["threshold"] <= 4
    assert recall_correlation(made_up(half, pattern), threshold=5).item() == 0.5
    with pytest.raises(InputError, match=r"^window: "):
        recall_correlation(made_up(pattern, pattern), window=1.5)


def test_the_window_is_that_of_the_calcium(small: xr.Dataset) -> None:
    """Median over the astrocytes half of whose neurons the block covers, as read from the recording by hand."""
    driven = BLOCK.ravel()[SMALL.zones()].sum(axis=1) >= 8
    up = small.calcium.values[:, driven] > 0.15
    first = [small.time.values[row][0] - 0.05 for row in up.T if row.any()]
    window = memory_window(small)
    assert driven.sum() == 8 and 4 <= len(first) < 8  # the four that see nothing else, at least
    assert window.opened.item() == len(first) / 8 and window.opens.item() == pytest.approx(np.median(first))
    assert np.isnan(window.closes.item())  # still up at the end
    quiet = small.assign(calcium=small.calcium * 0)
    assert memory_window(quiet).opened.item() == 0 and np.isnan(memory_window(quiet).opens.item())
    falling = small.assign(calcium=small.calcium.where(small.time < 0.7, 0))
    assert memory_window(falling).closes.item() == pytest.approx(0.65)


@pytest.mark.slow
def test_learned_patterns_are_recalled_above_nine_tenths() -> None:
    """The claim, at full size: the mean correlation of four digits exceeds 0.9, from cues that are 0.2 away.

    The published mean is 0.911; here it is 0.919 to 0.933 over five seeds, so within 0.03, and no digit is below the
    worst published one. Without enhancement, or without learning, what is left is the cue less its isolated pixels,
    0.830 to 0.838.
    """
    whole, *controls = (recall_correlation(simulate_working_memory(model)) for model in WORKING_MEMORY.values())
    learned = whole.values[whole.learned.values]
    assert whole.character.values[whole.learned.values].tolist() == list("0123")
    published = PUBLISHED["recall_correlation"]
    assert learned.mean() > 0.9 and learned.mean() == pytest.approx(np.mean(published), abs=0.03)
    assert learned.min() > min(published)
    for control in controls:
        assert control.values.max() < 0.86


@pytest.mark.slow
@pytest.mark.parametrize(("cue_from", "remembered"), [(4.5, True), (6.0, False)])
def test_memory_lasts_as_long_as_calcium(cue_from: float, remembered: bool) -> None:
    """4.0 s after a pattern began it is recalled; 5.5 s after, calcium is down and the cue stays as it is.

    Calcium opens as after 200 ms of drive in one cell (0.34 s) and closes a little later than there (4.27 s), because
    glutamate outlasts the pattern and the neighbours are driven too.
    """
    model = WorkingMemoryModel(learned="3", cued="3", stimulus=StimulusParameters(cue_from=cue_from))
    recording = simulate_working_memory(model, duration=cue_from + 0.3)
    recalled, window = recall_correlation(recording).item(), memory_window(recording)
    assert recalled > 0.9 if remembered else recalled < 0.86
    assert window.opens.item() == pytest.approx(0.34, abs=0.06) and window.opened.item() == 1
    if not remembered:
        assert window.closes.item() == pytest.approx(4.4, abs=0.2)


def fast_astrocyte(**constants: float) -> WorkingMemoryModel:
    """A small network whose astrocytes are too fast for the usual step."""
    return replace(SMALL, astrocyte=replace(SMALL.astrocyte, **constants))


def test_the_command_runs_it_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Characters are drawn by matplotlib's fonts while modules that Brian2 does not need are out of sight."""
    words = ["--set", "astrocytes_a_side=5", "--set", "duration=0.05s", "--out", str(tmp_path / "m.nc")]
    code = "import sys; from rmaat.cli.app import main; sys.argv[0] = 'rmaat'; main()"
    command = [sys.executable, "-c", code, "simulate", "--model", "working-memory", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert xr.open_dataset(tmp_path / "m.nc").sizes["astrocyte"] == 25


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: WorkingMemoryModel(astrocytes_a_side=1), "astrocytes_a_side"),
        (lambda: WorkingMemoryModel(n_links=5000), "n_links"),
        (lambda: WorkingMemoryModel(link_length=0.5), "link_length"),
        (lambda: WorkingMemoryModel(cued=""), "cued"),
        (lambda: WorkingMemoryModel(learned="0123456789"), "cue_from"),
        (lambda: StimulusParameters(cue_noise=1.5), "cue_noise"),
        (lambda: StimulusParameters(learn_for=0.5), "learn_for"),
        (lambda: MemoryParameters(tau_syn=0.0), "tau_syn"),
        (lambda: IzhikevichParameters(I_max=float("nan")), "I_max"),
        (lambda: simulate_working_memory(SMALL, patterns={"y": BLOCK}), "patterns"),
        (lambda: simulate_working_memory(SMALL, patterns={"x": np.ones((3, 3))}), "patterns"),
        (lambda: simulate_working_memory(replace(SMALL, learned=" ")), "pattern"),
        (lambda: simulate_working_memory(SMALL, dt=1e-3), "dt"),
        (lambda: simulate_working_memory(replace(SMALL, memory=MemoryParameters(alpha_glu=30_000.0))), "dt"),
        (lambda: simulate_working_memory(replace(SMALL, neurons=IzhikevichParameters(a=50.0))), "dt"),
        (lambda: simulate_working_memory(replace(SMALL, n_links=64, link_length=1e9)), "link_length"),
        (lambda: simulate_working_memory(SMALL, astrocyte_dt=0.05), "astrocyte_dt"),
        (lambda: simulate_working_memory(SMALL, astrocyte_dt=0.0), "astrocyte_dt"),
        (lambda: simulate_working_memory(fast_astrocyte(tau_r=1e-4)), "astrocyte_dt"),
        (lambda: simulate_working_memory(fast_astrocyte(a_2=5000.0)), "astrocyte_dt"),
        (lambda: simulate_working_memory(fast_astrocyte(D_I=400.0)), "astrocyte_dt"),
        (lambda: Experiment("working-memory", settings={"astrocyte_dt": "25ms"}).prepare(), "astrocyte_dt"),
        (lambda: Experiment("network", settings={"astrocyte_dt": "0.5s"}).prepare(), "astrocyte_dt"),
        (lambda: simulate_working_memory(SMALL, record_dt=0.0004), "record_dt"),
    ],
)
def test_bad_input_names_the_field(make: object, field: str) -> None:
    with pytest.raises(InputError) as error:
        make()  # type: ignore[operator]
    assert error.value.field == field
