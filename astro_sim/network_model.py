"""Constants and sizes of a neuron–astrocyte network."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from astro_sim.astrocyte import AstrocyteParameters
from astro_sim.errors import InputError
from astro_sim.gliotransmission import GliotransmissionParameters, receptor_rate
from astro_sim.neurons import NeuronParameters
from astro_sim.synapse import SynapseParameters

MOST_SYNAPSES = 10**8
"""Some 10 GB of state and indices."""


@dataclass(frozen=True)
class NetworkModel:
    """Constants and sizes of the network; by default Figure 6 of Stimberg et al. (2019).

    Parameters
    ----------
    n_excitatory, n_inhibitory, n_astrocytes : int
        Numbers of cells, each at least 1.
    p_excitatory, p_inhibitory : float
        Probability of a synapse from each excitatory or inhibitory neuron to each neuron, in 0 … 1.
    drive : tuple of float
        The external current is ``I_ex`` times each of these, `drive_s` seconds long; the last one stays.

    Raises
    ------
    InputError
        A value outside its bound.
    """

    neurons: NeuronParameters = field(default_factory=NeuronParameters)
    synapse: SynapseParameters = field(default_factory=SynapseParameters)
    astrocyte: AstrocyteParameters = field(default_factory=lambda: AstrocyteParameters(O_beta=0.5, O_delta=1.2))
    gliotransmission: GliotransmissionParameters = field(default_factory=GliotransmissionParameters)
    n_excitatory: int = 3200
    n_inhibitory: int = 800
    n_astrocytes: int = 3200
    p_excitatory: float = 0.05
    p_inhibitory: float = 0.2
    drive: tuple[float, ...] = (1.0, 1.2, 1.0, 1.0)
    drive_s: float = 2.0

    def __post_init__(self) -> None:
        for name, low in (("n_excitatory", 1), ("n_inhibitory", 1), ("n_astrocytes", 1)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < low:
                raise InputError(name, getattr(self, name), f"a whole number >= {low}")
        for name in ("p_excitatory", "p_inhibitory"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(name, getattr(self, name), "a probability from 0 to 1")
        synapses = (self.n_excitatory * self.p_excitatory + self.n_inhibitory * self.p_inhibitory) * self.n_neurons
        if max(synapses, self.n_astrocytes) > MOST_SYNAPSES:
            found = f"{self.n_neurons} neurons, {self.n_astrocytes} astrocytes and {synapses:.3g} synapses"
            raise InputError("n_excitatory, n_inhibitory, n_astrocytes", found, f"at most {MOST_SYNAPSES:g} of each")
        if not self.drive or not np.isfinite(self.drive).all():
            raise InputError("drive", self.drive, "one or more finite factors of I_ex")
        if not self.drive_s > 0:
            raise InputError("drive_s", self.drive_s, "a length > 0 s")
        if self.astrocyte.noise > 0:
            raise InputError("noise", self.astrocyte.noise, "0: the network's astrocytes are deterministic")

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return self.n_excitatory + self.n_inhibitory

    def check_step(self, dt: float) -> None:
        """Refuse a step that Euler's method makes unstable: two time constants of the membrane or a conductance."""
        p = self.neurons
        longest = 2 * min(p.C_m / p.g_l, p.tau_e, p.tau_i)
        if dt > longest:
            raise InputError("dt", dt, f"at most {longest:.2g} s, two time constants of the fastest process")

    def check_astrocyte_step(self, dt: float) -> None:
        """Refuse a step that RK4, stable below 2.78 time constants, makes unstable: calcium, clearance or receptors."""
        bound = receptor_rate(self.synapse, self.gliotransmission)
        fastest = max(self.astrocyte.calcium_rate, self.gliotransmission.Omega_e, bound)
        if dt * fastest > 2.5:
            raise InputError("astrocyte_dt", dt, f"at most {2.5 / fastest:.2g} s: the fastest process")

    def namespace(self) -> dict[str, Any]:
        """All constants as Brian2 quantities."""
        sets = (self.neurons, self.synapse, self.astrocyte, self.gliotransmission)
        return {name: value for part in sets for name, value in part.namespace().items()}
