"""A recurrent network of excitatory and inhibitory neurons whose excitatory synapses astrocytes modulate.

Neurons and astrocytes lie on one square sheet. An excitatory synapse belongs to the astrocyte nearest to its
postsynaptic neuron; that astrocyte sees the mean neurotransmitter of its synapses, and its gliotransmitter
acts back on all of them. Because clearance is linear and the gliotransmitter is shared, neither needs a
variable that is advanced at every synapse: the synapses of one neuron pool their neurotransmitter at the
neuron, and Γ_S belongs to the astrocyte. After Figure 6 of Stimberg et al. (2019), in *Computational
Glioscience*, ch. 18.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from astro_sim.astrocyte import RECEPTOR_STEP, cell_equations
from astro_sim.brian_backend import SCHEDULE, Rows, brian_target, run
from astro_sim.gap_junctions import JUNCTION_EQUATIONS
from astro_sim.gliotransmission import GLIOTRANSMISSION_EQUATIONS, NOT_ABOVE, RELEASE_EVENT, RELEASE_THRESHOLD
from astro_sim.layout import Layout
from astro_sim.micro_recording import CALCIUM, IP3, SI, Variable, check_times, micro_template
from astro_sim.network_activity import RELEASES, SPIKES, Activity, activity_template
from astro_sim.network_model import NetworkModel
from astro_sim.neurons import NEURON_EQUATIONS
from astro_sim.recorder import recorder, recording_of
from astro_sim.staged_rk4 import staged_rk4
from astro_sim.synapse import SYNAPSE_EQUATIONS, release

RECORDED = (
    CALCIUM,
    IP3,
    Variable("Y_S", "neurotransmitter", "umol/l", "mean neurotransmitter of the astrocyte's synapses"),
    Variable("Gamma_S", "bound_presynaptic", "1", "fraction of presynaptic receptors bound by gliotransmitter"),
)

RATES = {"rate_excitatory": "the excitatory neurons", "rate_inhibitory": "the inhibitory neurons"}

# From this number of neurons on, a compiler pays for itself in any run.
COMPILED_FROM = 1000

POOL_EQUATIONS = """
dY_N/dt = -Omega_c*Y_N : mmolar
Gamma_S : 1
Gamma_S_astrocyte : 1 (linked)
"""

ASTROCYTE_INPUTS = """
Gamma_A : 1
Y_S : mmolar
J_gap : mmolar/second
n_synapses : 1 (constant)
"""


def simulate_network(
    model: NetworkModel | None = None,
    *,
    duration: float = 8.0,
    dt: float = 1e-4,
    astrocyte_dt: float = 1e-2,
    record_dt: float = 0.1,
    backend: str = "brian2",
    seed: int = 0,
    out: str | Path | None = None,
) -> xr.Dataset:
    """Simulate the neuron–astrocyte network.

    Parameters
    ----------
    model : NetworkModel, optional
        Default: Figure 6 of Stimberg et al. (2019).
    duration, dt, astrocyte_dt, record_dt : float
        Seconds; the steps of neurons and of astrocytes, and the recording interval, a multiple of both.
    backend : str
        ``"brian2"`` (compiled where a compiler is found) or ``"brian2-standalone"``.
    seed : int
        Fixes the connections and the initial potentials, alike on every backend.
    out : path, optional
        Stream rows, spikes and releases to this NetCDF file as they come, instead of holding them in memory.

    Returns
    -------
    xarray.Dataset
        ``calcium``, ``ip3``, ``neurotransmitter`` and ``bound_presynaptic`` (time, astrocyte); ``rate_excitatory`` and
        ``rate_inhibitory`` (time), mean rates since the sample before, Hz; ``spike_time`` and
        ``spike_neuron`` (spike); ``release_time`` and ``release_astrocyte`` (release). With `out`, opened lazily
        from the file.

    Raises
    ------
    InputError
        A time outside its bound.
    """
    import brian2 as b2

    model = model or NetworkModel()
    model.check_step(dt)
    model.check_astrocyte_step(astrocyte_dt)
    check_times(duration, dt, record_dt)
    check_times(duration, astrocyte_dt, record_dt, "astrocyte_dt")
    rng = np.random.default_rng(seed)
    layout = Layout.draw(model, rng)
    second = b2.second
    namespace = model.namespace()
    namespace["drive"] = b2.TimedArray(np.array(model.drive), dt=model.drive_s * second, name="drive_over_time")
    steps = round(duration / dt) if model.n_neurons < COMPILED_FROM else None
    template = micro_template(
        "network",
        RECORDED,
        "astrocyte",
        {"astrocyte": ("astrocyte", np.arange(model.n_astrocytes), {"units": "1"})},
        model,
        {"kind": "drive", "duration_s": duration},
        seed=seed,
        dt_s=dt,
        astrocyte_dt_s=astrocyte_dt,
        backend=backend,
    ).assign(activity_template(RATES, (SPIKES, RELEASES)))
    structure, path = ("network", model.n_neurons, model.n_astrocytes), Path(out) if out is not None else None
    with recorder(template, path) as rows, brian_target(backend, steps, seed, *structure):
        fast, slow = b2.Clock(dt * second), b2.Clock(astrocyte_dt * second)
        neurons = b2.NeuronGroup(
            model.n_neurons,
            NEURON_EQUATIONS + POOL_EQUATIONS,
            threshold="v > V_th",
            reset="v = V_r",
            refractory="tau_r",
            method="euler",
            namespace=namespace,
            clock=fast,
            name="neurons",
        )
        p = model.neurons
        neurons.v = (p.E_l + rng.random(model.n_neurons) * (p.V_th - p.E_l)) * b2.volt
        neurons.g_e = rng.random(model.n_neurons) * p.w_e * b2.siemens
        neurons.g_i = rng.random(model.n_neurons) * p.w_i * b2.siemens
        astrocytes = b2.NeuronGroup(
            model.n_astrocytes,
            cell_equations(model.astrocyte) + GLIOTRANSMISSION_EQUATIONS + ASTROCYTE_INPUTS,
            threshold=RELEASE_THRESHOLD,
            refractory=RELEASE_THRESHOLD,
            reset=RELEASE_EVENT,
            method=staged_rk4,
            namespace=namespace,
            clock=slow,
            name="astrocytes",
        )
        astrocytes.C = astrocytes.I = 0.01 * SI["umol/l"] * b2.mmolar
        astrocytes.h, astrocytes.x_A = 0.9, 1
        astrocytes.not_refractory = NOT_ABOVE
        astrocytes.n_synapses = layout.n_synapses
        astrocytes.run_regularly(RECEPTOR_STEP, clock=slow, when="resets", order=1)
        neurons.Gamma_S_astrocyte = b2.linked_var(astrocytes, "Gamma_S", index=layout.astrocyte)
        neurons.run_regularly("Gamma_S = Gamma_S_astrocyte", clock=slow, when="start")

        def synapses(name: str, bound: str, effect: str, edges: Any) -> Any:
            made = b2.Synapses(
                neurons,
                neurons,
                SYNAPSE_EQUATIONS,
                on_pre=release(bound) + effect,
                namespace=namespace,
                clock=fast,
                name=name,
            )
            made.connect(i=edges[0], j=edges[1])
            made.x_S = 1
            return made

        kinds = (
            ("excitatory", "Gamma_S_post", "g_e_post += w_e*r_S\nY_N_post += rho_c*Y_T*r_S", layout.excitatory),
            ("inhibitory", "0", "g_i_post += w_i*r_S", layout.inhibitory),
        )
        parts = [synapses(*kind) for kind in kinds if len(kind[3][0])]
        pool = b2.Synapses(
            neurons,
            astrocytes,
            "Y_S_post = Y_N_pre/n_synapses_post : mmolar (summed)",
            namespace=namespace,
            clock=slow,
            name="pool",
        )
        pool.connect(i=np.arange(model.n_neurons), j=layout.astrocyte)
        if len(layout.junctions[0]):  # a single astrocyte has none
            junctions = b2.Synapses(
                astrocytes, astrocytes, JUNCTION_EQUATIONS, namespace=namespace, clock=slow, name="junctions"
            )
            junctions.connect(i=layout.junctions[0], j=layout.junctions[1])
            parts.append(junctions)
        bounds = ((0, model.n_excitatory), (model.n_excitatory, model.n_neurons))
        populations = dict(zip(RATES, bounds, strict=True))
        activity = Activity({SPIKES: neurons, RELEASES: astrocytes}, populations, record_dt, rows)
        recorded = Rows([(astrocytes, RECORDED)], record_dt, rows, activity.since)
        network = b2.Network(neurons, astrocytes, *parts, pool, *recorded.objects, *activity.monitors)
        network.schedule = SCHEDULE
        rows.stopped = run(network, duration, dt, neurons, "v")
        recorded.finish(activity.held)
        activity.finish()
    return recording_of(rows, path)
