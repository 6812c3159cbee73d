"""The ring and the network of Stimberg et al. (2019) in the form of a published script, as a yardstick.

One flat Brian2 program each: every synapse carries clock-driven neurotransmitter and receptors of its own, astrocytes
reach them through summed variables, and everything that is recorded is recorded at every step.
"""

from typing import Any

import brian2 as b2
import numpy as np

from astro_sim import NetworkModel, RingModel
from astro_sim.astrocyte import CALCIUM_EQUATIONS, EXOGENOUS_IP3, GATE_EQUATIONS, IP3_EQUATIONS
from astro_sim.gap_junctions import JUNCTION_EQUATIONS, neighbours
from astro_sim.layout import Layout
from astro_sim.neurons import NEURON_EQUATIONS

CELL = IP3_EQUATIONS + CALCIUM_EQUATIONS + GATE_EQUATIONS + "J_gap : mmolar/second\n"

RING_DRIVE = """
Gamma_A = 0 : 1
I_bias = I_source*int((t % period) < on) : mmolar
I_source : mmolar (constant)
"""

ASTROCYTE = """
J_ex = 0*mmolar/second : mmolar/second
dGamma_A/dt = O_N*Y_S*(1 - clip(Gamma_A, 0, 1)) - Omega_N*(1 + zeta*C/(C + K_KC))*clip(Gamma_A, 0, 1) : 1
dx_A/dt = Omega_A*(1 - x_A) : 1
dG_A/dt = -Omega_e*G_A : mmolar
Y_S : mmolar
"""

SYNAPSE = """
dY_S/dt = -Omega_c*Y_S : mmolar (clock-driven)
dGamma_S/dt = O_G*G_A*(1 - Gamma_S) - Omega_G*Gamma_S : 1 (clock-driven)
du_S/dt = -Omega_f*u_S : 1 (event-driven)
dx_S/dt = Omega_d*(1 - x_S) : 1 (event-driven)
U_0 : 1
r_S : 1
G_A : mmolar
"""

RING_DT = 0.05  # s
SEED = 0

SPIKE = """
U_0 = (1 - Gamma_S)*U_0_star + alpha*Gamma_S
u_S += U_0*(1 - u_S)
r_S = u_S*x_S
x_S -= r_S
Y_S += rho_c*Y_T*r_S
"""


def ring(duration: float, recorded: tuple[str, ...], record_dt: float) -> None:
    """Fifty coupled astrocytes; `recorded` every `record_dt` seconds."""
    model = RingModel()
    namespace = model.astrocyte.namespace()
    source_level = namespace.pop("I_bias")
    namespace |= {"period": model.period_s * b2.second, "on": model.on_s * b2.second}
    b2.defaultclock.dt = RING_DT * b2.second
    cells = b2.NeuronGroup(model.size, CELL + EXOGENOUS_IP3 + RING_DRIVE, method="rk4", namespace=namespace)
    cells.h = 0.9
    cells.I_source = np.isin(np.arange(model.size), model.sources) * source_level
    junctions = b2.Synapses(cells, cells, JUNCTION_EQUATIONS, namespace=namespace)
    source, target = neighbours(model.shape, periodic=True)
    junctions.connect(i=source, j=target)
    monitor = b2.StateMonitor(cells, recorded, record=True, dt=record_dt * b2.second)
    b2.Network(cells, junctions, monitor).run(duration * b2.second)
    _read(monitor, ("t", *recorded))


def network(duration: float) -> None:
    """3200 + 800 neurons and 3200 astrocytes on the connections that the library draws for this seed."""
    model, second = NetworkModel(), b2.second
    rng = np.random.default_rng(SEED)
    layout = Layout.draw(model, rng)
    namespace = model.namespace() | {"drive": b2.TimedArray(np.array(model.drive), dt=model.drive_s * second)}
    p = model.neurons
    neurons = b2.NeuronGroup(
        model.n_neurons,
        NEURON_EQUATIONS,
        threshold="v > V_th",
        reset="v = V_r",
        refractory="tau_r",
        method="euler",
        namespace=namespace,
    )
    neurons.v = (p.E_l + rng.random(model.n_neurons) * (p.V_th - p.E_l)) * b2.volt
    neurons.g_e = rng.random(model.n_neurons) * p.w_e * b2.siemens
    neurons.g_i = rng.random(model.n_neurons) * p.w_i * b2.siemens

    def synapses(source: Any, effect: str, edges: Any, first: int) -> Any:
        made = b2.Synapses(source, neurons, SYNAPSE, on_pre=SPIKE + effect, method="exact", namespace=namespace)
        made.connect(i=edges[0] - first, j=edges[1])
        made.x_S = 1
        return made

    n_e = model.n_excitatory
    excitatory = synapses(neurons[:n_e], "g_e_post += w_e*r_S", layout.excitatory, 0)
    inhibitory = synapses(neurons[n_e:], "g_i_post += w_i*r_S", layout.inhibitory, n_e)
    astrocytes = b2.NeuronGroup(
        model.n_astrocytes,
        CELL + ASTROCYTE,
        threshold="C > C_Theta",
        refractory="C > C_Theta",
        reset="G_A += rho_e*G_T*U_A*x_A\nx_A -= U_A*x_A",
        method="rk4",
        namespace=namespace,
        dt=10 * b2.ms,
    )
    astrocytes.C = astrocytes.I = 0.01e-3 * b2.mmolar
    astrocytes.h, astrocytes.x_A = 0.9, 1
    order = np.lexsort((layout.excitatory[1], layout.excitatory[0]))
    owner, number = layout.astrocyte[layout.excitatory[1][order]], np.arange(len(order))
    to_synapses = b2.Synapses(astrocytes, excitatory, "G_A_post = G_A_pre : mmolar (summed)")
    to_synapses.connect(i=owner, j=number)
    to_astrocytes = b2.Synapses(excitatory, astrocytes, "Y_S_post = Y_S_pre/N_incoming : mmolar (summed)")
    to_astrocytes.connect(i=number, j=owner)
    junctions = b2.Synapses(astrocytes, astrocytes, JUNCTION_EQUATIONS, namespace=namespace)
    junctions.connect(i=layout.junctions[0], j=layout.junctions[1])
    monitors = [b2.SpikeMonitor(neurons), b2.SpikeMonitor(astrocytes)]
    parts = [neurons, excitatory, inhibitory, astrocytes, to_synapses, to_astrocytes, junctions, *monitors]
    b2.Network(*parts).run(duration * second)
    for monitor in monitors:
        _read(monitor, ("t", "i"))


def _read(monitor: Any, variables: tuple[str, ...]) -> None:
    """Fetch what was recorded, which in a compiled program lies on disk until then."""
    for variable in variables:
        np.asarray(getattr(monitor, variable))
