"""Short-term plasticity of a synapse (Tsodyks–Markram) whose release probability an astrocyte modulates.

Between spikes, with u_S the docked and x_S the available fraction of neurotransmitter,

    du_S/dt = −Ω_f u_S          dx_S/dt = Ω_d (1 − x_S)

and at a spike, in this order,

    U_0 = (1 − Γ_S) U_0* + α Γ_S;   u_S += U_0 (1 − u_S);   r_S = u_S x_S;   x_S −= r_S;   Y_S += ρ_c Y_T r_S

Γ_S is the fraction of presynaptic receptors bound by gliotransmitter, Y_S the neurotransmitter in the cleft
(cleared at rate Ω_c). All synapses that one astrocyte ensheathes see the same gliotransmitter, and clearance
is linear, so Γ_S and the sum of Y_S are variables of the astrocyte: u_S and x_S alone belong to the synapse,
and both are advanced only when a spike comes, by their closed form over the time since t_S, the last spike.
(Brian2's ``event-driven`` finds the same form through a symbolic matrix exponential, 0.2 s of every start.)

Sources: Tsodyks & Markram (1997) PNAS 94:719; De Pittà et al. (2011) PLoS Comput Biol 7:e1002293;
Stimberg, Goodman, Brette & De Pittà (2019), in *Computational Glioscience*, ch. 18.
"""

from dataclasses import dataclass

from astro_sim.constants import Constants, constant


@dataclass(frozen=True)
class SynapseParameters(Constants):
    """Constants of one synapse, named as in Stimberg et al. (2019); seconds and µmol/l."""

    Omega_f: float = constant(3.33, "1/s", "rate at which facilitation decays")
    Omega_d: float = constant(2.0, "1/s", "rate at which depression recovers")
    U_0_star: float = constant(0.6, "1", "resting release probability", high=1)
    Y_T: float = constant(500e3, "umol/l", "neurotransmitter in the vesicles")
    rho_c: float = constant(0.005, "1", "volume ratio of vesicles to cleft")
    Omega_c: float = constant(40.0, "1/s", "rate at which the cleft is cleared")
    O_G: float = constant(1.5, "l/(umol s)", "gliotransmitter binding rate", strict=False)
    Omega_G: float = constant(0.5 / 60, "1/s", "gliotransmitter unbinding rate")
    alpha: float = constant(0.0, "1", "release probability under full gliotransmission", strict=False, high=1)


SYNAPSE_EQUATIONS = """
u_S : 1
x_S : 1
t_S : second
"""


def release(bound: str) -> str:
    """Brian2 code of a presynaptic spike; `bound` names the Γ_S that it meets, or is ``"0"``."""
    return f"""
u_S *= exp(-Omega_f*(t - t_S))
x_S = 1 - (1 - x_S)*exp(-Omega_d*(t - t_S))
t_S = t
U_0 = (1 - {bound})*U_0_star + alpha*{bound}
u_S += U_0*(1 - u_S)
r_S = u_S*x_S
x_S -= r_S
"""


CLEFT_RELEASE = """
Y_S_post += rho_c*Y_T*r_S
"""

CLEFT_EQUATIONS = """
dY_S/dt = -Omega_c*Y_S : mmolar
"""
