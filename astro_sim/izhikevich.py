"""Neurons of Izhikevich, and synapses that pass a current on while the presynaptic membrane is positive.

    dv/dt = (0.04 v² + 5 v + 140) − u + I          v in mV, time in ms; at v ≥ V_peak: v ← c, u ← u + d
    du/dt = a (b v − u)
    I     = min(I_app + I_syn, I_max)
    I_syn = g (E_syn − v) Σ_pre S(v_pre),          S(v) = 1/(1 + exp(−v/k_syn))

A current is a rate of change of the membrane: 1 of the paper's µA is 1 mV/ms = 1 V/s. Sources: Izhikevich (2003) IEEE
Trans Neural Netw 14:1569; Gordleeva et al. (2021) Front Cell Neurosci 15:631485 (synapse), whose published run takes
Euler steps of 0.1 ms and bounds the sum of currents by I_max. Because k_syn is 0.2 mV, S is 0 or 1 at nearly every
step: here it is summed over those presynaptic neurons whose v exceeds −10 k_syn, where S is 5e-5.
"""

from dataclasses import dataclass
from math import inf

from astro_sim.constants import Constants, constant


@dataclass(frozen=True)
class IzhikevichParameters(Constants):
    """Constants of a fast-spiking neuron and of its synapses."""

    a: float = constant(0.1, "1/ms", "rate of recovery")
    b: float = constant(0.2, "1/ms", "recovery per membrane potential", low=-inf)
    c: float = constant(-65e-3, "V", "membrane after a spike", low=-inf)
    d: float = constant(2.0, "V/s", "recovery added by a spike", low=-inf)
    V_peak: float = constant(30e-3, "V", "peak of a spike, where the membrane is reset")
    V_0: float = constant(-70e-3, "V", "membrane at time 0", low=-inf)
    I_max: float = constant(25.0, "V/s", "bound on the sum of currents")
    g_syn: float = constant(0.025, "1/ms", "weight of a synapse", strict=False)
    E_syn: float = constant(0.0, "V", "synaptic reversal potential", low=-inf)
    k_syn: float = constant(0.2e-3, "V", "slope of the synaptic activation S")


IZHIKEVICH_EQUATIONS = """
dv/dt = (0.04*v**2/mV + 5*v + 140*mV)/ms - u + I : volt
du/dt = a*(b*v - u) : volt/second
I : volt/second
"""
SPIKES = "v >= V_peak"
RESET = "v = c\nu += d"

# The current of a step is that of the state before the step, spikes not yet reset, whose v counts as V_peak.
CURRENTS = """
I_syn = g*S_sum*(E_syn - clip(v, -inf*volt, V_peak)) : volt/second
I_app : volt/second
g : hertz
S_sum : 1
"""
SUM_CURRENTS = "I = clip(I_app + I_syn, -inf*volt/second, I_max)\nS_sum = 0"
TRANSMITS = "v > -10*k_syn"
TRANSMISSION = "S_sum_post += 1/(1 + exp(-v_pre/k_syn))"
