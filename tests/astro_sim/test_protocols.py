"""Protocols: the input they describe, their totals, and what they refuse."""

import json
import tracemalloc
from collections import deque

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_sim import protocols
from astro_sim.errors import InputError
from astro_sim.macro_parameters import MacroParameters
from astro_sim.macro_recorder import template
from astro_sim.recording import save_recording


def test_stp_cycles_are_on_and_off_where_they_say():
    p = protocols.stp_cycles(3, 45, 15, [1.0, 0.5])
    assert p.duration == 135.0
    assert p.at([0, 14.99, 15, 44.9, 45, 59.9, 60, 134]).tolist() == [
        *[[1.0, 0.5]] * 2,
        *[[0.0, 0.0]] * 2,
        *[[1.0, 0.5]] * 2,
        *[[0.0, 0.0]] * 2,
    ]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 8),
    cycle=st.floats(1, 60),
    duty=st.floats(0.05, 0.9),
    jitter=st.floats(0, 0.9),
    seed=st.integers(0, 99),
)
def test_jitter_moves_pulses_and_keeps_their_number_length_and_height(n, cycle, duty, jitter, seed):
    on = cycle * duty
    p = protocols.stp_cycles(n, cycle, on, [2.0], jitter_s=jitter * (cycle - on), seed=seed)
    widths = np.diff(np.append(p.edges, p.duration))
    assert (p.values[:, 0] * widths).sum() == pytest.approx(2.0 * n * on, abs=1e-6)
    starts = p.edges[p.values[:, 0] > 0]
    assert len(starts) == n
    assert ((starts >= np.arange(n) * cycle - 1e-6) & (starts <= (np.arange(n) + 1) * cycle - on + 1e-6)).all()


def test_same_seed_same_trains_other_seed_other_trains():
    first, again, other = (protocols.poisson([5.0, 1.0], 20, 1.0, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.edges, again.edges) and np.array_equal(first.values, again.values)
    assert len(first.edges) != len(other.edges) or not np.array_equal(first.edges, other.edges)


def test_poisson_has_the_mean_of_its_rate():
    """⟨b⟩ = rate · pulse · amplitude; 4000 s, so 4 standard errors of a Poisson count."""
    rate, pulse, duration = np.array([0.5, 4.0]), 0.05, 4000.0
    p = protocols.poisson(rate, duration, [2.0, 1.0], pulse_s=pulse, seed=3)
    widths = np.diff(np.append(p.edges, duration))
    mean = (p.values * widths[:, None]).sum(axis=0) / duration / [2.0, 1.0]
    assert (np.abs(mean - rate * pulse) < 4 * pulse * np.sqrt(rate / duration)).all()


def test_spike_times_add_up_where_pulses_overlap():
    p = protocols.spike_times([[1.0, 1.03], []], 2.0, [1.0, 1.0], pulse_s=0.05)
    assert p.at([0.5, 1.01, 1.04, 1.06, 1.09])[:, 0].tolist() == [0.0, 1.0, 2.0, 1.0, 0.0]
    assert not p.values[:, 1].any()


def test_ramp_has_the_integral_of_the_line():
    p = protocols.ramp(10.0, [0.0, 1.0], [1.0, 0.0], resolution_s=0.3)
    widths = np.diff(np.append(p.edges, p.duration))
    assert (p.values * widths[:, None]).sum(axis=0) == pytest.approx([5.0, 5.0], rel=1e-12)
    assert (np.diff(p.values[:, 0]) > 0).all()


def test_array_holds_each_row():
    rows = np.random.default_rng(0).normal(size=(5, 2))
    assert np.array_equal(protocols.array(rows, 0.2).at(np.arange(5) * 0.2 + 0.1), rows)


def test_an_array_can_be_made_again_from_its_recording(tmp_path):
    """100 000 numbers, more than HDF5 keeps in the header of a file."""
    rows = np.random.default_rng(0).normal(size=(25_000, 4))
    protocol = protocols.array(rows, 0.2)
    recording = template(MacroParameters(4), protocol, {})
    with xr.open_dataset(save_recording(recording, tmp_path / "a.nc"), engine="h5netcdf") as kept:
        made = json.loads(kept.attrs["protocol"])
    assert np.array_equal(protocols.array(made["values"], made["interval_s"]).values, rows)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), dt=st.sampled_from([0.01, 0.05, 0.25, 1.0]))
def test_step_means_keep_the_integral_of_any_protocol(seed, dt):
    p = protocols.poisson([3.0, 0.5], 10.0, [1.0, -0.5], pulse_s=0.13, seed=seed)
    widths = np.diff(np.append(p.edges, p.duration))
    means = p.step_means(dt)
    assert means.shape == (round(10 / dt), 2)
    assert means.sum(axis=0) * dt == pytest.approx((p.values * widths[:, None]).sum(axis=0), abs=1e-9)


def test_step_means_of_aligned_edges_are_the_input_itself():
    p = protocols.stp_cycles(6, 45, 15, [1.0, 0.5, 0.25])
    means = p.step_means(0.025)
    assert np.array_equal(means, p.at((np.arange(len(means)) + 0.5) * 0.025))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: protocols.stp_cycles(0, 45, 15, [1.0]), "n_cycles"),
        (lambda: protocols.stp_cycles(6, -45, 15, [1.0]), "cycle_s"),
        (lambda: protocols.stp_cycles(6, 45, 45, [1.0]), "on_s"),
        (lambda: protocols.stp_cycles(6, 45, 15, [1.0], jitter_s=31), "jitter_s"),
        (lambda: protocols.stp_cycles(6, 45, 15, [np.nan]), "amplitude"),
        (lambda: protocols.poisson([-1.0], 10, 1.0), "rate_hz"),
        (lambda: protocols.poisson([], 10, 1.0), "rate_hz"),
        (lambda: protocols.poisson([1.0], 0, 1.0), "duration_s"),
        (lambda: protocols.poisson([1.0], 10, 1.0, pulse_s=0), "pulse_s"),
        (lambda: protocols.spike_times([[11.0]], 10, 1.0), "times_s"),
        (lambda: protocols.ramp(10, [0.0], [1.0, 2.0]), "stop"),
        (lambda: protocols.ramp(10, [0.0], [1.0], resolution_s=20), "resolution_s"),
        (lambda: protocols.array(np.empty((0, 3)), 1.0), "values"),
        (lambda: protocols.Protocol("none", np.empty(0), np.empty((0, 1)), 0.0), "protocol"),
        (lambda: protocols.Protocol("back", np.array([0.0, 2, 1]), np.ones((3, 1)), 3.0), "edges"),
    ],
)
def test_protocols_that_cannot_be_are_refused_by_name(make, field):
    with pytest.raises(InputError, match=f"^{field}: "):
        make()


NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: protocols.stp_cycles(2, 45, 15, []), "amplitude"),
        (lambda: protocols.stp_cycles(2, 45, 15, "strong"), "amplitude"),
        (lambda: protocols.stp_cycles(2, 45, 15, [1, NAN]), "amplitude"),
        (lambda: protocols.stp_cycles(NAN, 45, 15, 1), "n_cycles"),
        (lambda: protocols.stp_cycles(2, NAN, 15, 1), "cycle_s"),
        (lambda: protocols.stp_cycles(2, 45, NAN, 1), "on_s"),
        (lambda: protocols.stp_cycles(2, 45, "long", 1), "on_s"),
        (lambda: protocols.stp_cycles(2, 45, 15, 1, jitter_s=NAN), "jitter_s"),
        (lambda: protocols.poisson([1, 2], 10, [1, 2, 3]), "amplitude"),
        (lambda: protocols.poisson(["often"], 10, 1), "rate_hz"),
        (lambda: protocols.poisson(1, NAN, 1), "duration_s"),
        (lambda: protocols.poisson(1, 10, 1, pulse_s=NAN), "pulse_s"),
        (lambda: protocols.spike_times([], 10, 1), "times_s"),
        (lambda: protocols.spike_times([[], []], 10, 1), "times_s"),
        (lambda: protocols.spike_times([0.1, 0.2], 10, 1), "times_s"),
        (lambda: protocols.spike_times(0.1, 10, 1), "times_s"),
        (lambda: protocols.spike_times([[0.1], [NAN]], 10, 1), "times_s"),
        (lambda: protocols.spike_times([[0.1], [0.2]], 10, [1, 2, 3]), "amplitude"),
        (lambda: protocols.ramp(10, [0, NAN], 1), "start"),
        (lambda: protocols.ramp(10, [0, 0], [1, 2, 3]), "stop"),
        (lambda: protocols.array([[1, 2], [3]], 1), "values"),
        (lambda: protocols.Protocol("own", np.array([0, NAN]), np.ones((2, 1)), 3.0), "edges"),
        (lambda: protocols.Protocol("own", np.array([0.0]), np.ones((1, 1)), NAN), "protocol"),
        (lambda: protocols.Protocol("own", np.array([0.0]), np.ones((1, 0)), 3.0), "values"),
        (lambda: protocols.stp_cycles(2, 45, 15, 1).at(-1), "times"),
        (lambda: protocols.stp_cycles(2, 45, 15, 1).at([1, NAN]), "times"),
    ],
)
def test_what_is_no_protocol_is_refused_in_one_line(make, field):
    with pytest.raises(InputError, match=rf"^{field}: ") as caught:
        make()
    assert "\n" not in str(caught.value)


def test_one_amplitude_stands_for_every_neuron():
    p = protocols.spike_times([[0.1], [0.2, 0.3], []], 10, 0.5)
    assert p.values.max(axis=0).tolist() == [0.5, 0.5, 0.0]


def dense_means(p, dt):
    """The mean over every step from the written-out edges: the integral of a staircase, by np.interp."""
    edges = np.append(p.edges, p.duration)
    grid = np.arange(round(p.duration / dt) + 1) * dt
    integral = np.vstack([np.zeros(p.n_neurons), np.cumsum(p.values * np.diff(edges)[:, None], axis=0)])
    return np.diff([np.interp(grid, edges, column) for column in integral.T], axis=1).T / dt


@pytest.mark.parametrize("block", [4, 8])
@pytest.mark.parametrize(
    "make",
    [
        lambda: protocols.stp_cycles(8, 4.5, 1.3, [1.0, -0.5], jitter_s=2.0, seed=1),
        lambda: protocols.poisson([30.0, 2.0], 9.0, [1.0, -0.5], pulse_s=0.37, seed=4),
        lambda: protocols.spike_times([[0.1, 0.1, 2.0], [0.1, 8.99]], 9.0, 0.3, pulse_s=3.0),
        lambda: protocols.ramp(9.0, [0.0, 1.0], [2.0, -1.0], resolution_s=0.21),
        lambda: protocols.array(np.random.default_rng(0).normal(size=(90, 2)), 0.1),
    ],
)
def test_blocks_are_the_whole_cut_in_pieces(make, block, monkeypatch):
    """Blocks of a few values: chunks that pulses outlast, chunks shorter than a step. 1e-12."""
    for module in ("protocols", "stimulus"):
        monkeypatch.setattr(f"astro_sim.{module}.BLOCK_VALUES", block)
    p = make()
    assert len(list(p.blocks())) > 1
    for dt in (0.05, 1.0):
        assert p.step_means(dt) == pytest.approx(dense_means(p, dt), abs=1e-12)
    starts, ends, values = zip(*p.pieces(), strict=True)
    assert starts[0] == 0 and ends[-1] == p.duration and starts[1:] == ends[:-1]
    middle = (np.array(starts) + np.array(ends)) / 2
    assert p.at(middle) == pytest.approx(np.array(values), abs=0)


def test_the_whole_does_not_depend_on_the_size_of_blocks(monkeypatch):
    def cycles():
        return protocols.stp_cycles(50, 4.5, 1.3, [1.0, 0.5], jitter_s=2.0, seed=1)

    def spikes():
        trains = np.random.default_rng(2).uniform(0, 9, (3, 40))
        return protocols.spike_times(trains, 9.0, [1.0, 2.0, 3.0], pulse_s=0.5)

    whole = [make() for make in (cycles, spikes)]
    times = np.linspace(0, 9, 1001)
    expected = [p.at(times) for p in whole]
    monkeypatch.setattr("astro_sim.protocols.BLOCK_VALUES", 8)
    for make, values in zip((cycles, spikes), expected, strict=True):
        assert make().at(times) == pytest.approx(values, abs=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda duration: protocols.stp_cycles(round(duration / 0.9), 0.9, 0.3, [1.0, 0.5, 0.2], jitter_s=0.5),
        lambda duration: protocols.poisson([4.0, 1.0, 0.5], duration, 1.0),
    ],
)
def test_memory_does_not_grow_with_the_protocol(make, monkeypatch):
    """Ten times the length, the same peak: blocks of 1024 values, where 360 000 steps of three would be 9 MB."""
    monkeypatch.setattr("astro_sim.protocols.BLOCK_VALUES", 1024)
    peaks = []
    for duration in (900.0, 9000.0):
        tracemalloc.start()
        try:
            p = make(duration)
            last = deque((step for step, _ in p.changes(0.025)), maxlen=1)[0]
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert last > 0.99 * duration / 0.025 - 2000
    assert max(peaks) < 2**19
    assert peaks[1] < 1.5 * peaks[0]
