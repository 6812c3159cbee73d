"""What defines a tripartite synapse: three sets of constants and the state at time 0."""

from dataclasses import dataclass, field
from typing import Any

from astro_sim.astrocyte import NO_JUNCTIONS, RECEPTOR_EQUATIONS, AstrocyteParameters, cell_equations
from astro_sim.constants import concentration
from astro_sim.errors import InputError
from astro_sim.gliotransmission import GLIOTRANSMISSION_EQUATIONS, GliotransmissionParameters, receptor_rate
from astro_sim.synapse import CLEFT_EQUATIONS, SynapseParameters


@dataclass(frozen=True)
class TripartiteModel:
    """A synapse, its astrocyte and the gliotransmission between them; by default Figure 4, closed loop.

    Parameters
    ----------
    calcium, ip3, h : float
        State of the astrocyte at time 0: µmol/l, µmol/l and a fraction.
    """

    synapse: SynapseParameters = field(default_factory=SynapseParameters)
    astrocyte: AstrocyteParameters = field(default_factory=AstrocyteParameters)
    gliotransmission: GliotransmissionParameters = field(default_factory=GliotransmissionParameters)
    calcium: float = concentration(0.0)
    ip3: float = concentration(0.0)
    h: float = 0.9

    def __post_init__(self) -> None:
        for name, value in (("calcium", self.calcium), ("ip3", self.ip3)):
            if not 0 <= value < float("inf"):
                raise InputError(name, value, "a concentration >= 0 umol/l")
        if not 0 <= self.h <= 1:
            raise InputError("h", self.h, "a fraction from 0 to 1")

    def namespace(self) -> dict[str, Any]:
        """All constants as Brian2 quantities."""
        return self.synapse.namespace() | self.astrocyte.namespace() | self.gliotransmission.namespace()

    def equations(self) -> str:
        """Brian2 equations of the astrocyte and of what its synapses share."""
        return (
            RECEPTOR_EQUATIONS
            + cell_equations(self.astrocyte)
            + NO_JUNCTIONS
            + CLEFT_EQUATIONS
            + GLIOTRANSMISSION_EQUATIONS
        )

    def check_step(self, dt: float) -> None:
        """Refuse a step that the fastest process makes unstable.

        That is binding to either kind of receptor just after a release, clearance, or calcium. RK4 is stable below
        2.78 steps of it, the Euler drift of the noisy form below 2.
        """
        s, a = self.synapse, self.astrocyte
        binding = a.O_N * s.rho_c * s.Y_T + a.Omega_N * (1 + a.zeta)
        g = self.gliotransmission
        fastest = max(binding, s.Omega_c, g.Omega_e, receptor_rate(s, g), a.calcium_rate)
        limit = 1.8 if a.noise > 0 else 2.5
        if dt * fastest > limit:
            raise InputError("dt", dt, f"at most {limit / fastest:.2g} s: the fastest process runs at {fastest:.3g} /s")
