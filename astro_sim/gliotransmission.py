"""Calcium-dependent release of gliotransmitter, and its binding to presynaptic receptors.

    dx_A/dt = Ω_A (1 − x_A)      dG_A/dt = −Ω_e G_A      dΓ_S/dt = O_G G_A (1 − Γ_S) − Ω_G Γ_S

and when C rises through C_Θ (once, until it has fallen below again)

    G_A += ρ_e G_T U_A x_A;      x_A −= U_A x_A

Sources: De Pittà et al. (2011) PLoS Comput Biol 7:e1002293; Stimberg et al. (2019), in *Computational
Glioscience*, ch. 18.
"""

from dataclasses import dataclass

from astro_sim.constants import Constants, constant
from astro_sim.synapse import SynapseParameters


@dataclass(frozen=True)
class GliotransmissionParameters(Constants):
    """Constants of gliotransmitter release; seconds and µmol/l."""

    C_Theta: float = constant(0.5, "umol/l", "calcium threshold of release")
    Omega_A: float = constant(0.6, "1/s", "rate at which gliotransmitter is restored")
    U_A: float = constant(0.6, "1", "fraction released at a crossing", strict=False, high=1)
    G_T: float = constant(200e3, "umol/l", "gliotransmitter in the vesicles", strict=False)
    rho_e: float = constant(6.5e-4, "1", "volume ratio of vesicles to extracellular space", strict=False)
    Omega_e: float = constant(60.0, "1/s", "rate at which gliotransmitter is cleared")


RELEASE_THRESHOLD = "C > C_Theta"
NOT_ABOVE = "C <= C_Theta"  # of `not_refractory` at the start: C that begins above C_Theta has not risen through it

RELEASE_EVENT = """
G_A += rho_e*G_T*U_A*x_A
x_A -= U_A*x_A
"""

GLIOTRANSMISSION_EQUATIONS = """
dx_A/dt = Omega_A*(1 - x_A) : 1
dG_A/dt = -Omega_e*G_A : mmolar
dGamma_S/dt = O_G*G_A*(1 - Gamma_S) - Omega_G*Gamma_S : 1
"""


def receptor_rate(synapse: SynapseParameters, gliotransmission: GliotransmissionParameters) -> float:
    """Rate at which presynaptic receptors bind just after a full release [1/s]."""
    g = gliotransmission
    return synapse.O_G * g.rho_e * g.G_T * g.U_A + synapse.Omega_G
