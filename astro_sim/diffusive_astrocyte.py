"""An astrocyte with calcium entry and calcium-driven IP₃, whose neighbours exchange both by diffusion.

    dC/dt = (v₁ m³n³h³ + v₂)(c₀ − (1 + c₁) C) − v₃ C²/(C² + k₃²) + v₆ I²/(k₂² + I²) − k₁ C + D_C ΔC
    dh/dt = a₂ (Q₂ − (Q₂ + C) h)
    dI/dt = (I* − I)/τ_r + v₄ (C + (1 − α) k₄)/(C + k₄) + J + D_I ΔI

with m, n, Q₂ of Li and Rinzel (1994), and J the production of IP₃ while neurons drive the cell. Sources: Ullah, Jung &
Cornell-Bell (2006) Cell Calcium 39:197; Gordleeva et al. (2021) Front Cell Neurosci 15:631485.
"""

from dataclasses import dataclass

from astro_sim.constants import Constants, constant


@dataclass(frozen=True)
class DiffusiveAstrocyteParameters(Constants):
    """Constants and the state at time 0, named and valued as in Gordleeva et al. (2021); seconds and µmol/l."""

    c_0: float = constant(2.0, "umol/l", "total free calcium of the cell")
    c_1: float = constant(0.185, "1", "volume ratio of store to cytosol")
    v_1: float = constant(6.0, "1/s", "largest calcium release rate")
    v_2: float = constant(0.11, "1/s", "calcium leak rate", strict=False)
    v_3: float = constant(2.2, "umol/(l s)", "largest calcium pump rate", strict=False)
    v_4: float = constant(0.3, "umol/(l s)", "largest IP3 production by PLC-delta", strict=False)
    v_6: float = constant(0.2, "umol/(l s)", "largest calcium entry through the membrane", strict=False)
    k_1: float = constant(0.5, "1/s", "calcium extrusion rate", strict=False)
    k_2: float = constant(1.0, "umol/l", "IP3 that half opens calcium entry")
    k_3: float = constant(0.1, "umol/l", "calcium affinity of the pump")
    k_4: float = constant(1.1, "umol/l", "calcium affinity of PLC-delta")
    alpha: float = constant(0.8, "1", "share of IP3 production that needs calcium", strict=False)
    I_star: float = constant(0.16, "umol/l", "IP3 to which degradation returns", strict=False)
    tau_r: float = constant(1 / 0.14, "s", "time constant of IP3 degradation")
    d_1: float = constant(0.13, "umol/l", "IP3 binding affinity")
    d_2: float = constant(1.049, "umol/l", "calcium inactivation dissociation")
    d_3: float = constant(0.9434, "umol/l", "IP3 dissociation")
    d_5: float = constant(0.082, "umol/l", "calcium activation affinity")
    a_2: float = constant(0.14, "l/(umol s)", "calcium binding rate of the inactivating site")
    J: float = constant(5.0, "umol/(l s)", "IP3 production while the cell is driven", strict=False)
    D_C: float = constant(0.05, "1/s", "calcium exchange with a neighbour", strict=False)
    D_I: float = constant(0.1, "1/s", "IP3 exchange with a neighbour", strict=False)
    C_0: float = constant(0.072495, "umol/l", "calcium at time 0", strict=False)
    I_0: float = constant(0.820204, "umol/l", "IP3 at time 0", strict=False)
    h_0: float = constant(0.886314, "1", "gate at time 0", strict=False)

    @property
    def calcium_rate(self) -> float:
        """Bound on the rate at which calcium, gate and IP3 return [1/s].

        Calcium: open stores, the pump's steepest slope, four neighbours. Gate: at calcium c_0. IP3: degradation and
        neighbours.
        """
        pump = self.v_3 * 3**1.5 / (8 * self.k_3)
        calcium = (self.v_1 + self.v_2) * (1 + self.c_1) + pump + self.k_1 + 8 * self.D_C
        gate = self.a_2 * (self.d_2 * max(1.0, self.d_1 / self.d_3) + self.c_0)
        return max(calcium, gate, 1 / self.tau_r + 8 * self.D_I)


# J_drive, the production that neurons cause, comes from where this is used, as do C_gap and J_gap, from neighbours.
DIFFUSIVE_EQUATIONS = """
dC/dt = (v_1*(m*n*h)**3 + v_2)*(c_0 - (1 + c_1)*C) - v_3*C**2/(C**2 + k_3**2) + entry - k_1*C + C_gap : mmolar
dh/dt = a_2*(Q_2 - (Q_2 + C)*h) : 1
dI/dt = (I_star - I)/tau_r + v_4*(C + (1 - alpha)*k_4)/(C + k_4) + J_drive + J_gap : mmolar
entry = v_6*I**2/(k_2**2 + I**2) : mmolar/second
m = I/(I + d_1) : 1
n = C/(C + d_5) : 1
Q_2 = d_2*(I + d_1)/(I + d_3) : mmolar
C_gap : mmolar/second
J_gap : mmolar/second
"""

DIFFUSION_EQUATIONS = """
C_gap_post = D_C*(C_pre - C_post) : mmolar/second (summed)
J_gap_post = D_I*(I_pre - I_post) : mmolar/second (summed)
"""
