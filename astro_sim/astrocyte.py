"""The G-ChI astrocyte: glutamate-gated IP₃, calcium, and the slow gate h of its store's channels.

    dΓ_A/dt = O_N Y_S (1 − Γ_A) − Ω_N (1 + ζ C/(C + K_KC)) Γ_A
    dI/dt   = J_β + J_δ − J_3K − J_5P + J_ex
    dC/dt   = (Ω_C m³h³ + Ω_L)(C_T − (1 + ρ_A) C) − O_P C²/(C² + K_P²)
    dh/dt   = (h_∞ − h)/τ_h · (1 + noise · ξ √τ_h)

Sources: Li & Rinzel (1994) J Theor Biol 166:461; De Pittà et al. (2009) J Biol Phys 35:383;
Stimberg, Goodman, Brette & De Pittà (2019), in *Computational Glioscience*, ch. 18.
"""

from collections.abc import Callable
from dataclasses import dataclass

from astro_sim.constants import Constants, constant
from astro_sim.staged_rk4 import staged_rk4


@dataclass(frozen=True)
class AstrocyteParameters(Constants):
    """Constants of one astrocyte, named as in Stimberg et al. (2019); seconds and µmol/l.

    The defaults are those of its Figure 4 (an astrocyte at one synapse) without exogenous IP₃.
    """

    O_N: float = constant(0.3, "l/(umol s)", "agonist binding rate", strict=False)
    Omega_N: float = constant(0.5, "1/s", "agonist unbinding rate")
    K_KC: float = constant(0.5, "umol/l", "calcium affinity of protein kinase C")
    zeta: float = constant(10.0, "1", "strength of receptor inactivation by calcium", strict=False)
    O_beta: float = constant(3.2, "umol/(l s)", "IP3 production by PLC-beta", strict=False)
    O_delta: float = constant(0.6, "umol/(l s)", "IP3 production by PLC-delta", strict=False)
    kappa_delta: float = constant(1.5, "umol/l", "IP3 inhibition of PLC-delta")
    K_delta: float = constant(0.1, "umol/l", "calcium affinity of PLC-delta")
    O_3K: float = constant(4.5, "umol/(l s)", "IP3 degradation by 3-kinase", strict=False)
    K_D: float = constant(0.7, "umol/l", "calcium affinity of 3-kinase")
    K_3K: float = constant(1.0, "umol/l", "IP3 affinity of 3-kinase")
    Omega_5P: float = constant(0.05, "1/s", "IP3 degradation by 5-phosphatase", strict=False)
    F_ex: float = constant(0.0, "umol/(l s)", "largest exogenous IP3 flow", strict=False)
    I_bias: float = constant(0.0, "umol/l", "IP3 level of the exogenous source", strict=False)
    I_Theta: float = constant(0.3, "umol/l", "IP3 difference that opens the flow")
    omega_I: float = constant(0.05, "umol/l", "width of that threshold")
    F: float = constant(0.09, "umol/(l s)", "largest IP3 flow through a gap junction", strict=False)
    C_T: float = constant(2.0, "umol/l", "total free calcium of the cell")
    rho_A: float = constant(0.18, "1", "volume ratio of store to cytosol")
    Omega_C: float = constant(6.0, "1/s", "largest calcium release rate")
    Omega_L: float = constant(0.1, "1/s", "calcium leak rate", strict=False)
    O_P: float = constant(0.9, "umol/(l s)", "largest calcium pump rate", strict=False)
    K_P: float = constant(0.05, "umol/l", "calcium affinity of the pump")
    d_1: float = constant(0.13, "umol/l", "IP3 binding affinity")
    d_2: float = constant(1.05, "umol/l", "calcium inactivation dissociation")
    d_3: float = constant(0.9434, "umol/l", "IP3 dissociation")
    d_5: float = constant(0.08, "umol/l", "calcium activation affinity")
    O_2: float = constant(0.2, "l/(umol s)", "calcium binding rate of the inactivating site")
    noise: float = constant(0.0, "1", "strength of the channel noise on h (1 as published)", strict=False)

    @property
    def calcium_rate(self) -> float:
        """Bound on the rate at which calcium returns [1/s]: open stores, leak, and the pump's steepest slope."""
        return (self.Omega_C + self.Omega_L) * (1 + self.rho_A) + self.O_P * 3**1.5 / (8 * self.K_P)


RECEPTOR_EQUATIONS = """
dGamma_A/dt = O_N*Y_S*(1 - Gamma_A) - Omega_N*(1 + zeta*C/(C + K_KC))*Gamma_A : 1
"""

# The same line solved over one step with Y_S and C held: stable at any step, however many synapses drive it.
RECEPTOR_STEP = """
unbinding = Omega_N*(1 + zeta*C/(C + K_KC))
Gamma_A_inf = O_N*Y_S/(O_N*Y_S + unbinding)
Gamma_A = Gamma_A_inf + (Gamma_A - Gamma_A_inf)*exp(-dt*(O_N*Y_S + unbinding))
"""

# J_ex and J_gap, IP3 from outside the cell, are each an equation or zero where this block is used.
IP3_EQUATIONS = """
dI/dt = J_beta + J_delta - J_3K - J_5P + J_ex + J_gap : mmolar
J_beta = O_beta*Gamma_A : mmolar/second
J_delta = O_delta/(1 + I/kappa_delta)*C**2/(C**2 + K_delta**2) : mmolar/second
J_3K = O_3K*C**4/(C**4 + K_D**4)*I/(I + K_3K) : mmolar/second
J_5P = Omega_5P*I : mmolar/second
"""

EXOGENOUS_IP3 = """
J_ex = -F_ex/2*(1 + tanh((abs(I - I_bias) - I_Theta)/omega_I))*sign(I - I_bias) : mmolar/second
"""

CALCIUM_EQUATIONS = """
dC/dt = (Omega_C*(m*open_h)**3 + Omega_L)*(C_T - (1 + rho_A)*C) - O_P*C**2/(C**2 + K_P**2) : mmolar
m = I/(I + d_1)*C/(C + d_5) : 1
Q_2 = d_2*(I + d_1)/(I + d_3) : mmolar
"""

# (h_inf - h)/tau_h = O_2 (Q_2 - (Q_2 + C) h), with h_inf = Q_2/(Q_2 + C) and 1/tau_h = O_2 (Q_2 + C)
GATE_EQUATIONS = """
dh/dt = O_2*(Q_2 - (Q_2 + C)*h) : 1
open_h = h : 1
"""

# The noise can carry h out of 0 ... 1; the fraction that it stands for cannot leave.
NOISY_GATE_EQUATIONS = """
dh/dt = O_2*(Q_2 - (Q_2 + C)*open_h)*(1 + noise*xi/(O_2*(Q_2 + C))**0.5) : 1
open_h = clip(h, 0, 1) : 1
"""

NO_EXOGENOUS_IP3 = "J_ex = 0*mmolar/second : mmolar/second\n"
NO_JUNCTIONS = "J_gap = 0*mmolar/second : mmolar/second\n"


def cell_equations(parameters: AstrocyteParameters) -> str:
    """Equations of I, C and h; what is switched off (exogenous IP3, noise) is left out."""
    return (
        IP3_EQUATIONS
        + CALCIUM_EQUATIONS
        + (NOISY_GATE_EQUATIONS if parameters.noise > 0 else GATE_EQUATIONS)
        + (EXOGENOUS_IP3 if parameters.F_ex > 0 else NO_EXOGENOUS_IP3)
    )


def integrator(parameters: AstrocyteParameters) -> str | Callable[..., str]:
    """Brian2 method: fourth order, or Milstein (first order in the drift) where there is noise."""
    return "milstein" if parameters.noise > 0 else staged_rk4
