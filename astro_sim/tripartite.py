"""Tripartite synapses: a presynaptic train, its synapse, and the astrocyte that listens and answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from astro_sim.astrocyte import AstrocyteParameters, integrator
from astro_sim.brian_backend import BACKENDS, SCHEDULE, Rows, brian_target, run
from astro_sim.errors import InputError
from astro_sim.gliotransmission import NOT_ABOVE, RELEASE_EVENT, RELEASE_THRESHOLD, GliotransmissionParameters
from astro_sim.micro_recording import CALCIUM, GATE, IP3, SI, Variable, check_times, micro_template
from astro_sim.recorder import Recorder, recorder, recording_of
from astro_sim.spike_trains import SpikeTrains, check_trials, given_trains, poisson_trains, regular_trains
from astro_sim.stimulus import numbers
from astro_sim.synapse import CLEFT_RELEASE, SYNAPSE_EQUATIONS, SynapseParameters, release
from astro_sim.tripartite_model import TripartiteModel

RECORDED = (
    CALCIUM,
    IP3,
    GATE,
    Variable("Gamma_A", "bound_astrocytic", "1", "fraction of astrocytic receptors bound by neurotransmitter"),
    Variable("Gamma_S", "bound_presynaptic", "1", "fraction of presynaptic receptors bound by gliotransmitter"),
    Variable("Y_S", "neurotransmitter", "umol/l", "neurotransmitter in the cleft"),
    Variable("n_spikes", "n_spikes", "1", "presynaptic spikes so far"),
    Variable("released", "released", "1", "released fraction of neurotransmitter, summed over the spikes so far"),
    Variable("n_events", "n_events", "1", "gliotransmitter releases so far"),
)
# Twelve rates over the range that an astrocyte can tell apart, Hz.
RATES = tuple(np.geomspace(0.1, 100, 12).round(3))
COUNTERS = "n_spikes : 1\nreleased : 1\nn_events : 1\n"


def simulate_tripartite(
    synapse: SynapseParameters | None = None,
    astrocyte: AstrocyteParameters | None = None,
    gliotransmission: GliotransmissionParameters | None = None,
    *,
    model: TripartiteModel | None = None,
    rate_hz: ArrayLike | None = None,
    spike_times: Sequence[ArrayLike] | None = None,
    train: str = "poisson",
    trials: int = 1,
    duration: float = 60.0,
    dt: float = 2e-3,
    record_dt: float = 0.1,
    backend: str = "brian2",
    seed: int = 0,
    out: str | Path | None = None,
) -> xr.Dataset:
    """Simulate independent tripartite synapses, one astrocyte each, all at once.

    Parameters
    ----------
    synapse, astrocyte, gliotransmission : parameter sets, optional
        Default: Figure 4 of Stimberg et al. (2019), closed loop. ``O_G=0`` in the synapse cuts the feedback.
    model : TripartiteModel, optional
        All three at once, with the state at time 0: a preset. Give this or the parameter sets.
    rate_hz : array_like, shape (n_rates,)
        Presynaptic rates, Hz; each is simulated `trials` times. Default, without `spike_times`: `RATES`.
    spike_times : sequence of array_like
        Spike times in seconds, one sequence a synapse; at most one spike in a step.
    train : str
        ``"poisson"`` or ``"regular"``: the kind of train that has `rate_hz`.
    duration, dt, record_dt : float
        Seconds, above 0; `record_dt` is a multiple of `dt`.
    backend : str
        ``"brian2"``, ``"brian2-standalone"``, or ``"scipy"``: the slow adaptive reference, without noise.
    seed : int
        Fixes the trains and the channel noise.
    out : path, optional
        Stream the rows to this NetCDF file as they come, instead of holding them in memory.

    Returns
    -------
    xarray.Dataset
        ``calcium``, ``ip3``, ``h``, … with dimensions (time, synapse), and the coordinate ``rate_hz``
        of each synapse (the realised rate, for given spike times). A value at a spike is the one before it. With
        `out`, opened lazily from the file.

    Raises
    ------
    InputError
        Rates or times that cannot be used, or a step too large for the fastest process.
    """
    if model is None:
        model = TripartiteModel(
            synapse or SynapseParameters(),
            astrocyte or AstrocyteParameters(),
            gliotransmission or GliotransmissionParameters(),
        )
    elif synapse or astrocyte or gliotransmission:
        raise InputError("model", model, "either a model or its parameter sets")
    if backend not in (*BACKENDS, "scipy"):
        raise InputError("backend", backend, f"one of {', '.join(BACKENDS)}, scipy")
    model.check_step(dt)
    check_times(duration, dt, record_dt)
    trains, rates = _trains(rate_hz, spike_times, train, trials, duration, dt, seed)
    template = micro_template(
        "tripartite",
        RECORDED,
        "synapse",
        {
            "synapse": ("synapse", np.arange(trains.size), {"units": "1"}),
            "rate_hz": ("synapse", rates, {"units": "Hz", "long_name": "presynaptic rate"}),
        },
        model,
        {"duration_s": duration} | ({"kind": train, "trials": trials} if spike_times is None else trains.description()),
        seed=seed,
        dt_s=dt,
        backend=backend,
    )
    path = Path(out) if out is not None else None
    with recorder(template, path) as rows:
        if backend == "scipy":
            _run_scipy(model, trains, duration, record_dt, rows)
        else:
            _run_brian2(model, trains, duration, dt, record_dt, backend, seed, rows)
    return recording_of(rows, path)


def tripartite_objects(
    model: TripartiteModel, trains: SpikeTrains, clock: Any, equations: str, on_pre: Any, **options: Any
) -> tuple[Any, Any, Any]:
    """The Brian2 objects of one tripartite synapse a train, at rest: astrocytes, spike source and synapses.

    Parameters
    ----------
    equations : str
        Further equations of the astrocyte group; ``n_events`` must be among them.
    on_pre : str or dict of str
        What a spike does: Brian2 code, or one code a pathway.
    options
        Namespace of both groups, and further arguments of ``Synapses``.
    """
    import brian2 as b2

    cells = b2.NeuronGroup(
        trains.size,
        model.equations() + equations,
        threshold=RELEASE_THRESHOLD,
        refractory=RELEASE_THRESHOLD,
        reset=RELEASE_EVENT + "n_events += 1",
        method=integrator(model.astrocyte),
        namespace=options["namespace"],
        clock=clock,
        name="astrocytes",
    )
    cells.C, cells.I = (value * SI["umol/l"] * b2.mmolar for value in (model.calcium, model.ip3))
    cells.h, cells.x_A = model.h, 1
    cells.not_refractory = NOT_ABOVE
    source = b2.SpikeGeneratorGroup(trains.size, trains.synapse, trains.time * b2.second, clock=clock, name="trains")
    synapses = b2.Synapses(
        source,
        cells,
        SYNAPSE_EQUATIONS + "r_S : 1\n",
        on_pre=on_pre,
        clock=clock,
        name="synapses",
        **options,
    )
    synapses.connect(i=np.arange(trains.size), j=np.arange(trains.size))
    synapses.x_S = 1
    return cells, source, synapses


def _run_brian2(
    model: TripartiteModel,
    trains: SpikeTrains,
    duration: float,
    dt: float,
    record_dt: float,
    backend: str,
    seed: int,
    rows: Recorder,
) -> None:
    import brian2 as b2

    on_pre = release("Gamma_S_post") + CLEFT_RELEASE + "released_post += r_S\nn_spikes_post += 1"
    with brian_target(backend, round(duration / dt), seed, "tripartite", trains.size, model.equations()):
        clock = b2.Clock(dt * b2.second)
        objects = tripartite_objects(model, trains, clock, COUNTERS, on_pre, namespace=model.namespace())
        recorded = Rows([(objects[0], RECORDED)], record_dt, rows)
        network = b2.Network(*objects, *recorded.objects)
        network.schedule = SCHEDULE
        rows.stopped = run(network, duration, dt, objects[0], "C")
        recorded.finish()


def _run_scipy(model: TripartiteModel, trains: SpikeTrains, duration: float, record_dt: float, rows: Recorder) -> None:
    from astro_sim.reference import solve_tripartite

    time = np.arange(int(duration / record_dt * (1 + 1e-12)) + 1) * record_dt
    columns: dict[str, list[NDArray[np.float64]]] = {item.source: [] for item in RECORDED}
    for number in range(trains.size):
        spikes = trains.of(number)
        states, released, crossings = solve_tripartite(spikes, model, time)
        before = np.searchsorted(spikes, time - 1e-9)
        states |= {"n_spikes": before.astype(float), "released": np.append(0.0, np.cumsum(released))[before]}
        states["n_events"] = np.searchsorted(crossings, time).astype(float)
        for name, column in columns.items():
            column.append(states[name])
    rows.extend(time, {item.name: np.column_stack(columns[item.source]) for item in RECORDED})


def _trains(
    rate_hz: ArrayLike | None,
    spike_times: Sequence[ArrayLike] | None,
    train: str,
    trials: int,
    duration: float,
    dt: float,
    seed: int,
) -> tuple[SpikeTrains, NDArray[np.float64]]:
    """The spike trains and the rate of each."""
    if spike_times is not None:
        if rate_hz is not None:
            raise InputError("rate_hz", rate_hz, "either rate_hz or spike_times")
        trains = given_trains(spike_times, duration, dt)
        return trains, np.bincount(trains.synapse, minlength=trains.size) / duration
    check_trials(trials)
    rates = numbers("rate_hz", RATES if rate_hz is None else rate_hz).repeat(trials, axis=0)
    if train == "regular":
        return regular_trains(rates, duration, dt), rates
    if train == "poisson":
        return poisson_trains(rates, duration, dt, seed), rates
    raise InputError("train", train, "'poisson' or 'regular'")
