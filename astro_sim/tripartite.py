"""Tripartite synapses: a presynaptic train, its synapse, and the astrocyte that listens and answers."""

import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from astro_sim import provenance
from astro_sim.astrocyte import (
    CALCIUM_EQUATIONS,
    EXOGENOUS_IP3,
    GATE_EQUATIONS,
    IP3_EQUATIONS,
    NOISY_GATE_EQUATIONS,
    RECEPTOR_EQUATIONS,
    AstrocyteParameters,
)
from astro_sim.errors import InputError
from astro_sim.gliotransmission import (
    GLIOTRANSMISSION_EQUATIONS,
    RELEASE_EVENT,
    RELEASE_THRESHOLD,
    GliotransmissionParameters,
)
from astro_sim.spike_trains import SpikeTrains, given_trains, poisson_trains, regular_trains
from astro_sim.synapse import CLEFT_EQUATIONS, RELEASE, SYNAPSE_EQUATIONS, SynapseParameters

# Brian2 name, name in the recording, unit, long name
RECORDED = (
    ("C", "calcium", "umol/l", "cytosolic calcium of the astrocyte"),
    ("I", "ip3", "umol/l", "inositol 1,4,5-trisphosphate"),
    ("h", "h", "1", "fraction of store channels not inactivated"),
    ("Gamma_A", "bound_astrocytic", "1", "fraction of astrocytic receptors bound by neurotransmitter"),
    ("Gamma_S", "bound_presynaptic", "1", "fraction of presynaptic receptors bound by gliotransmitter"),
    ("Y_S", "neurotransmitter", "umol/l", "neurotransmitter in the cleft"),
    ("n_spikes", "n_spikes", "1", "presynaptic spikes so far"),
    ("released", "released", "1", "released fraction of neurotransmitter, summed over the spikes so far"),
    ("n_events", "n_events", "1", "gliotransmitter releases so far"),
)

COUNTERS = """
n_spikes : 1
released : 1
n_events : 1
"""


def simulate_tripartite(
    synapse: SynapseParameters | None = None,
    astrocyte: AstrocyteParameters | None = None,
    gliotransmission: GliotransmissionParameters | None = None,
    *,
    rate_hz: ArrayLike | None = None,
    spike_times: Sequence[ArrayLike] | None = None,
    train: Literal["poisson", "regular"] = "poisson",
    trials: int = 1,
    duration: float = 60.0,
    dt: float = 2e-3,
    record_dt: float = 0.1,
    seed: int = 0,
) -> xr.Dataset:
    """Simulate independent tripartite synapses, one astrocyte each, in one vectorised Brian2 run.

    Parameters
    ----------
    synapse, astrocyte, gliotransmission : parameter sets, optional
        Default: the constants of Figure 4 of Stimberg et al. (2019). ``O_G=0`` cuts the feedback.
    rate_hz : array_like, shape (n_rates,)
        Presynaptic rates, Hz; each is simulated `trials` times. Give this or `spike_times`.
    spike_times : sequence of array_like
        Spike times in seconds, one sequence a synapse; at most one spike in a step.
    train : "poisson" or "regular"
    duration, dt, record_dt : float
        Seconds. At the default step the mean calcium is within 1e-4 µmol/l of that at a quarter of it.
    seed : int
        Fixes the trains and the channel noise.

    Returns
    -------
    xarray.Dataset
        ``calcium``, ``ip3``, ``h``, … with dimensions (time, synapse), and the coordinate ``rate_hz``
        of each synapse (the realised rate, for given spike times).

    Raises
    ------
    InputError
        Rates or times that cannot be used, or a step too large for the fastest process.
    """
    synapse = synapse or SynapseParameters()
    astrocyte = astrocyte or AstrocyteParameters()
    gliotransmission = gliotransmission or GliotransmissionParameters()
    _check_times(duration, dt, record_dt)
    _check_step(dt, synapse, astrocyte, gliotransmission)
    if (rate_hz is None) == (spike_times is None):
        raise InputError("rate_hz", rate_hz, "either rate_hz or spike_times")
    if spike_times is not None:
        trains = given_trains(spike_times, duration, dt)
        rates = np.bincount(trains.synapse, minlength=trains.size) / duration
    else:
        rates = np.repeat(np.atleast_1d(np.asarray(rate_hz, dtype=float)), trials)
        if train == "poisson":
            trains = poisson_trains(rates, duration, dt, seed)
        elif train == "regular":
            trains = regular_trains(rates, duration, dt)
        else:
            raise InputError("train", train, "'poisson' or 'regular'")

    monitor = _run(trains, synapse, astrocyte, gliotransmission, duration, dt, record_dt, seed)
    variables = {
        name: (
            ("time", "synapse"),
            np.asarray(getattr(monitor, source)).T * (1e3 if unit == "umol/l" else 1.0),
            {"units": unit, "long_name": long_name},
        )
        for source, name, unit, long_name in RECORDED
    }
    dataset = xr.Dataset(
        variables,
        coords={
            "time": ("time", np.asarray(monitor.t), {"units": "s"}),
            "synapse": np.arange(trains.size),
            "rate_hz": ("synapse", rates, {"units": "Hz", "long_name": "presynaptic rate"}),
        },
        attrs={
            "model": "tripartite",
            "parameters": json.dumps(
                {
                    "synapse": dict(synapse),
                    "astrocyte": dict(astrocyte),
                    "gliotransmission": dict(gliotransmission),
                }
            ),
            "protocol": json.dumps(
                {
                    "kind": "spike_times" if spike_times is not None else train,
                    "trials": trials,
                    "duration_s": duration,
                }
            ),
            "seed": seed,
            "dt_s": dt,
            "backend": "brian2",
            "versions": json.dumps(provenance.versions()),
            "created": provenance.timestamp(),
        },
    )
    _check_finite(dataset)
    return dataset


def _run(
    trains: SpikeTrains,
    synapse: SynapseParameters,
    astrocyte: AstrocyteParameters,
    gliotransmission: GliotransmissionParameters,
    duration: float,
    dt: float,
    record_dt: float,
    seed: int,
) -> Any:
    import brian2 as b2

    noisy = astrocyte.noise > 0
    namespace = synapse.namespace() | astrocyte.namespace() | gliotransmission.namespace()
    equations = (
        RECEPTOR_EQUATIONS
        + IP3_EQUATIONS
        + CALCIUM_EQUATIONS
        + CLEFT_EQUATIONS
        + GLIOTRANSMISSION_EQUATIONS
        + (NOISY_GATE_EQUATIONS if noisy else GATE_EQUATIONS)
        + (EXOGENOUS_IP3 if astrocyte.F_ex > 0 else "J_ex = 0*mmolar/second : mmolar/second\n")
        + "J_gap = 0*mmolar/second : mmolar/second\n"
        + COUNTERS
    )
    previous = b2.prefs.codegen.target
    b2.prefs.codegen.target = "numpy"
    try:
        b2.seed(seed)
        clock = b2.Clock(dt * b2.second)
        cells = b2.NeuronGroup(
            trains.size,
            equations,
            method="milstein" if noisy else "rk4",
            namespace=namespace,
            threshold=RELEASE_THRESHOLD,
            refractory=RELEASE_THRESHOLD,
            reset=RELEASE_EVENT + "n_events += 1",
            clock=clock,
        )
        cells.h, cells.x_A = 0.9, 1
        source = b2.SpikeGeneratorGroup(trains.size, trains.synapse, trains.time * b2.second, clock=clock)
        synapses = b2.Synapses(
            source,
            cells,
            SYNAPSE_EQUATIONS,
            clock=clock,
            method="exact",
            namespace=namespace,
            on_pre=RELEASE + "Y_S_post += rho_c*Y_T*r_S\nreleased_post += r_S\nn_spikes_post += 1",
        )
        synapses.connect(i=np.arange(trains.size), j=np.arange(trains.size))
        synapses.x_S = 1
        monitor = b2.StateMonitor(
            cells, [source_name for source_name, *_ in RECORDED], record=True, dt=record_dt * b2.second
        )
        b2.Network(cells, source, synapses, monitor).run(duration * b2.second)
    finally:
        b2.prefs.codegen.target = previous
    return monitor


def _check_times(duration: float, dt: float, record_dt: float) -> None:
    for name, value in (("duration", duration), ("dt", dt), ("record_dt", record_dt)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(name, value, "a positive time in seconds")
    if abs(record_dt / dt - round(record_dt / dt)) > 1e-6 or record_dt < dt:
        raise InputError("record_dt", record_dt, f"a multiple of the step of {dt:g} s")


def _check_step(
    dt: float,
    synapse: SynapseParameters,
    astrocyte: AstrocyteParameters,
    gliotransmission: GliotransmissionParameters,
) -> None:
    """Fastest: receptor binding just after a release, or clearance. RK4 is stable below 2.78 steps of it."""
    binding = astrocyte.O_N * synapse.rho_c * synapse.Y_T + astrocyte.Omega_N * (1 + astrocyte.zeta)
    fastest = max(binding, synapse.Omega_c, gliotransmission.Omega_e)
    limit = 1.0 if astrocyte.noise > 0 else 2.5
    if dt * fastest > limit:
        raise InputError(
            "dt", dt, f"at most {limit / fastest:.2g} s: the fastest process runs at {fastest:.3g} /s"
        )


def _check_finite(dataset: xr.Dataset) -> None:
    for name, variable in dataset.data_vars.items():
        bad = ~np.isfinite(variable.values).all(axis=1)
        if bad.any():
            when = float(dataset.time[int(np.argmax(bad))])
            raise InputError(
                "dt", dataset.attrs["dt_s"], f"a smaller step: {name} diverged before {when:g} s"
            )
