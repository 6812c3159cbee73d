"""Working memory: spiking neurons whose synapses astrocytes enhance for as long as their calcium remembers.

A pattern of current makes its neurons fire; their glutamate drives IP₃ in the astrocytes above them, and calcium stays
up for seconds. While it is up, a few coincident spikes make the astrocyte enhance the synapses onto its neurons, so
that a noisy cue is completed to the pattern:

    dG/dt = −α_glu G                 G += ΔG at each spike
    J     = J₀ for t_glu             while at least F_act of an astrocyte's 16 neurons have G ≥ G_thr, and after it
    g     = g_syn + η                for τ_astro after C > C_thr within τ_syn of F_astro of the neurons spiking together
    g     = g_syn                    else

C, h and I are those of `astro_sim.diffusive_astrocyte`, on a sheet, v and u those of `astro_sim.izhikevich`. Source:
Gordleeva et al. (2021) Front Cell Neurosci 15:631485, arXiv 2011.01750, and the constants of its published run (GitHub,
altergot/neuro-astro-network), whose steps are part of the model: "together" is in one step of 0.1 ms, and a synapse
passes current on at each step at which v is above 0. Ours are: the astrocytes' step of 1 ms in place of 0.1 ms, noise
pulses that come as a Poisson process (there at intervals of 0.667 s that differ by 1 %) and add up, and the patterns.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from astro_sim.brian_backend import SCHEDULE, Rows, brian_target, run
from astro_sim.diffusive_astrocyte import DIFFUSION_EQUATIONS, DIFFUSIVE_EQUATIONS
from astro_sim.gap_junctions import neighbours
from astro_sim.izhikevich import CURRENTS, IZHIKEVICH_EQUATIONS, RESET, SUM_CURRENTS, TRANSMISSION, TRANSMITS
from astro_sim.izhikevich import SPIKES as SPIKES_AT
from astro_sim.memory_task import Pulses, Shows
from astro_sim.micro_recording import CALCIUM, IP3, SI, Variable, check_times, micro_template
from astro_sim.network_activity import SPIKES, Activity, activity_template
from astro_sim.recorder import recorder, recording_of
from astro_sim.staged_rk4 import staged_rk4
from astro_sim.working_memory_model import ZONE, WorkingMemoryModel

RECORDED = (CALCIUM, IP3, Variable("enhanced", "enhanced", "1", "whether the astrocyte enhances synapses"))
COMPILED_FROM = 1000  # neurons: a compiler then pays for itself in any run

GLUTAMATE = """
dG/dt = -alpha_glu*G : mmolar
enhanced : 1 (linked)
"""

ASTROCYTE_INPUTS = """
J_drive = J*int(t < driven_until) : mmolar/second
driven_until : second
n_active : 1
coincident_at : second (linked)
enhanced_until : second
enhanced : 1
"""
SEES_ACTIVE = "n_active_post = int(G_pre >= G_thr) : 1 (summed)"

# At the neurons' step: which astrocytes see enough spikes at once.
COINCIDENCES = """
n_spiking : 1
coincident_at : second
"""
SEES_SPIKE = "n_spiking_post += 1"
COINCIDENCE = """
coincident_at += int(n_spiking >= F_astro*n_seen)*(t - coincident_at)
n_spiking = 0
"""
ANSWER = """
driven_until += int(n_active >= F_act*n_seen)*(t + t_glu - driven_until)
enhanced_until += int((C > Ca_thr) and (t - coincident_at <= tau_syn))*(t + tau_astro - enhanced_until)
enhanced = int(t < enhanced_until)
"""


def simulate_working_memory(
    model: WorkingMemoryModel | None = None,
    *,
    patterns: Mapping[str, ArrayLike] | None = None,
    duration: float = 5.5,
    dt: float = 1e-4,
    astrocyte_dt: float = 1e-3,
    record_dt: float = 0.05,
    backend: str = "brian2",
    seed: int = 0,
    out: str | Path | None = None,
) -> xr.Dataset:
    """Show patterns to the network, and later noisy cues.

    Parameters
    ----------
    model : WorkingMemoryModel, optional
        Default: 79 × 79 neurons and 26 × 26 astrocytes; the digits 0 to 3 are learned, cued among others.
    patterns : mapping of array_like of bool, shape (neurons_a_side, neurons_a_side), optional
        What the characters of ``model.learned`` and ``model.cued`` look like; default: they are drawn as themselves.
    duration, dt, astrocyte_dt, record_dt : float
        Seconds; the steps of neurons and of astrocytes, and the recording interval, a multiple of both.
    backend : str
        ``"brian2"`` (compiled where a compiler is found) or ``"brian2-standalone"``.
    seed : int
        Fixes synapses, the noise of patterns and cues, and the neurons' background, alike on every backend.
    out : path, optional
        Stream rows and spikes to this NetCDF file as they come, instead of holding them in memory.

    Returns
    -------
    xarray.Dataset
        ``calcium``, ``ip3`` and ``enhanced`` (time, astrocyte); ``rate`` (time), the neurons' mean rate since the
        sample before, Hz; ``spike_time`` and ``spike_neuron`` (spike). Coordinates say what was shown: ``character``,
        ``is_cue``, ``start`` and ``stop`` (show), ``pattern`` and ``pixels`` (show, neuron), the clean pattern and what
        was given; and where cells lie: ``astrocyte_of`` (neuron), row by row. With `out`, opened lazily from the file.

    Raises
    ------
    InputError
        A time outside its bound, or a pattern of another shape.
    """
    import brian2 as b2

    model = model or WorkingMemoryModel()
    model.check_step(dt)
    model.check_astrocyte_step(astrocyte_dt)
    check_times(duration, dt, record_dt)
    check_times(duration, astrocyte_dt, record_dt, "astrocyte_dt")
    rng = np.random.default_rng(seed)
    source, target = model.synapses(rng)
    shows, zones, owners = Shows.draw(model, patterns, rng), model.zones(), model.owners()
    pulses = Pulses.draw(model, shows, duration, dt, rng)
    namespace, n = model.namespace() | {"n_seen": ZONE**2}, model.n_neurons
    template = micro_template(
        "working-memory",
        RECORDED,
        "astrocyte",
        {"astrocyte": ("astrocyte", np.arange(model.n_astrocytes), {"units": "1"})} | _coordinates(shows, owners),
        model,
        {"kind": "shows", "duration_s": duration, **asdict(model.stimulus)},
        seed=seed,
        dt_s=dt,
        astrocyte_dt_s=astrocyte_dt,
        backend=backend,
    ).assign(activity_template({"rate": "the neurons"}, [SPIKES]))
    path, structure = Path(out) if out is not None else None, ("working-memory", n, model.n_astrocytes)
    steps = round(duration / dt) if n < COMPILED_FROM else None
    with recorder(template, path) as rows, brian_target(backend, steps, seed, *structure):
        second, fast, slow = b2.second, b2.Clock(dt * b2.second), b2.Clock(astrocyte_dt * b2.second)
        neurons = b2.NeuronGroup(
            n,
            IZHIKEVICH_EQUATIONS + CURRENTS + GLUTAMATE,
            threshold=SPIKES_AT,
            events={"transmission": TRANSMITS},
            reset=RESET + "\nG += delta_glu",
            method="euler",
            namespace=namespace,
            clock=fast,
            name="neurons",
        )
        neurons.v, neurons.u = "V_0", "b*V_0"
        neurons.run_regularly(SUM_CURRENTS, clock=fast, when="synapses", order=1, name="currents")
        astrocytes = b2.NeuronGroup(
            model.n_astrocytes,
            DIFFUSIVE_EQUATIONS + ASTROCYTE_INPUTS,
            method=staged_rk4,
            namespace=namespace,
            clock=slow,
            name="astrocytes",
        )
        p = model.astrocyte
        astrocytes.C, astrocytes.I = (value * SI["umol/l"] * b2.mmolar for value in (p.C_0, p.I_0))
        astrocytes.h = p.h_0
        watch = b2.NeuronGroup(model.n_astrocytes, COINCIDENCES, namespace=namespace, clock=fast, name="coincidences")
        watch.coincident_at = -1 * second
        watch.run_regularly(COINCIDENCE, clock=fast, when="synapses", order=1, name="watch")
        astrocytes.coincident_at = b2.linked_var(watch, "coincident_at")
        astrocytes.run_regularly(ANSWER, clock=slow, when="start", name="answer")
        neurons.enhanced = b2.linked_var(astrocytes, "enhanced", index=owners)
        neurons.run_regularly("g = g_syn + eta*enhanced", clock=slow, when="start", order=1, name="weights")

        def connected(sources: Any, targets: Any, name: str, i: Any, j: Any, equations: str = "", **rules: Any) -> Any:
            made = b2.Synapses(sources, targets, equations, namespace=namespace, name=name, **rules)
            made.connect(i=i, j=j)
            return made

        rules = {"on_pre": TRANSMISSION, "on_event": "transmission", "clock": fast}
        synapses = connected(neurons, neurons, "synapses", source, target, **rules)
        seen = (zones.ravel(), np.repeat(np.arange(model.n_astrocytes), ZONE**2))
        active = connected(neurons, astrocytes, "activity_seen", *seen, SEES_ACTIVE, clock=slow)
        spikes = connected(neurons, watch, "spikes_seen", *seen, on_pre=SEES_SPIKE, clock=fast)
        near = neighbours((model.astrocytes_a_side,) * 2, periodic=False)
        junctions = connected(astrocytes, astrocytes, "junctions", *near, DIFFUSION_EQUATIONS, clock=slow)
        sources = b2.SpikeGeneratorGroup(
            len(pulses.start), np.arange(len(pulses.start)), pulses.start * second, clock=fast, name="pulses"
        )
        edges = {"begin": "I_app_post += size", "end": "I_app_post -= size"}
        inputs = connected(
            sources, neurons, "inputs", pulses.pulse, pulses.neuron, "size : volt/second", on_pre=edges, clock=fast
        )
        inputs.size = pulses.size * b2.volt / second
        inputs.end.delay = pulses.length[pulses.pulse] * second
        parts = [neurons, astrocytes, watch, sources, synapses, active, spikes, junctions, inputs]
        activity = Activity({SPIKES: neurons}, {"rate": (0, n)}, record_dt, rows)
        recorded = Rows([(astrocytes, RECORDED)], record_dt, rows, activity.since)
        network = b2.Network(*parts, *recorded.objects, *activity.monitors)
        network.schedule = SCHEDULE
        rows.stopped = run(network, duration, dt, neurons, "v")
        recorded.finish(activity.held)
        activity.finish()
    return recording_of(rows, path)


def _coordinates(shows: Shows, owner: ArrayLike) -> dict[str, Any]:
    """Coordinates of a recording: what was shown, and to whom the neurons belong."""

    def of_show(values: Any, unit: str, long_name: str) -> Any:
        return "show", values, {"units": unit, "long_name": long_name}

    def of_pixels(values: Any, long_name: str) -> Any:
        return ("show", "neuron"), values.astype(np.int8), {"units": "1", "long_name": long_name}

    return {
        "character": ("show", np.array(shows.character), {"long_name": "what was shown"}),
        "is_cue": of_show(shows.cue.astype(np.int8), "1", "whether it was a cue"),
        "start": of_show(shows.start, "s", "start of the show"),
        "stop": of_show(shows.stop, "s", "end of the show"),
        "pattern": of_pixels(shows.pattern, "clean pattern"),
        "pixels": of_pixels(shows.pixels, "pattern with its noise, as given to the neurons"),
        "astrocyte_of": ("neuron", np.asarray(owner), {"units": "1", "long_name": "astrocyte that acts on the neuron"}),
    }
