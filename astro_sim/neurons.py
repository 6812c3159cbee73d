"""Conductance-based integrate-and-fire neurons (COBA).

    C_m dv/dt = g_l (E_l − v) + g_e (E_e − v) + g_i (E_i − v) + I_ex
    dg_e/dt = −g_e/τ_e      dg_i/dt = −g_i/τ_i

A spike at v > V_th resets v to V_r for τ_r. Sources: Brunel (2000) J Comput Neurosci 8:183;
Stimberg et al. (2019), in *Computational Glioscience*, ch. 18, Figures 1 and 6.
"""

from dataclasses import dataclass
from math import inf

from astro_sim.constants import Constants, constant


@dataclass(frozen=True)
class NeuronParameters(Constants):
    """Constants of the neurons and of their synapses' conductances, in SI units."""

    C_m: float = constant(198e-12, "F", "membrane capacitance")
    g_l: float = constant(9.99e-9, "S", "leak conductance")
    E_l: float = constant(-60e-3, "V", "leak reversal potential", low=-inf)
    E_e: float = constant(0.0, "V", "excitatory reversal potential", low=-inf)
    E_i: float = constant(-80e-3, "V", "inhibitory reversal potential", low=-inf)
    V_th: float = constant(-50e-3, "V", "firing threshold", low=-inf)
    V_r: float = constant(-60e-3, "V", "reset potential", low=-inf)
    tau_e: float = constant(5e-3, "s", "decay of the excitatory conductance")
    tau_i: float = constant(10e-3, "s", "decay of the inhibitory conductance")
    tau_r: float = constant(5e-3, "s", "refractory period", strict=False)
    I_ex: float = constant(100e-12, "A", "external current", low=-inf)
    w_e: float = constant(0.05e-9, "S", "conductance of a full excitatory release", strict=False)
    w_i: float = constant(1e-9, "S", "conductance of a full inhibitory release", strict=False)


NEURON_EQUATIONS = """
dv/dt = (g_l*(E_l - v) + g_e*(E_e - v) + g_i*(E_i - v) + I_ex*drive(t))/C_m : volt (unless refractory)
dg_e/dt = -g_e/tau_e : siemens
dg_i/dt = -g_i/tau_i : siemens
"""
