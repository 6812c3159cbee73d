"""Parameter sets of published synapses and figures, by name."""

from dataclasses import replace
from typing import Any

from astro_sim.astrocyte import AstrocyteParameters
from astro_sim.diffusive_astrocyte import DiffusiveAstrocyteParameters
from astro_sim.gap_junctions import RingModel
from astro_sim.li_rinzel import LiRinzelModel
from astro_sim.network_model import NetworkModel
from astro_sim.neurons import NeuronParameters
from astro_sim.self_repair import SelfRepairModel
from astro_sim.synapse import SynapseParameters
from astro_sim.tripartite_model import TripartiteModel
from astro_sim.working_memory_model import MemoryParameters, WorkingMemoryModel

# A synapse without facilitation: u_S is forgotten between any two spikes.
FORGOTTEN = 1e6

SYNAPSES = {
    # Tsodyks, Pawelzik & Markram (1998) Neural Comput 10:821, Figure 1
    "tsodyks-1998-depressing": SynapseParameters(U_0_star=0.5, Omega_d=1 / 0.8, Omega_f=FORGOTTEN),
    "tsodyks-1998-facilitating": SynapseParameters(U_0_star=0.03, Omega_d=1 / 0.13, Omega_f=1 / 0.53),
    # Tsodyks, Uziel & Markram (2000) J Neurosci 20:RC50, E to E and E to I
    "tsodyks-2000-depressing": SynapseParameters(U_0_star=0.5, Omega_d=1 / 0.8, Omega_f=FORGOTTEN),
    "tsodyks-2000-facilitating": SynapseParameters(U_0_star=0.04, Omega_d=1 / 0.1, Omega_f=1.0),
    # Mongillo, Barak & Tsodyks (2008) Science 319:1543
    "mongillo-2008": SynapseParameters(U_0_star=0.2, Omega_d=1 / 0.2, Omega_f=1 / 1.5),
    # De Pittà (2019) in Computational Glioscience, ch. 10
    "de-pitta-2019-facilitating": SynapseParameters(U_0_star=0.05, Omega_d=1 / 0.3, Omega_f=1.0, alpha=1.0),
    "de-pitta-2019-depressing": SynapseParameters(U_0_star=0.5, Omega_d=1 / 0.5, Omega_f=1 / 0.3),
    # Stimberg, Goodman, Brette & De Pittà (2019) in Computational Glioscience, ch. 18
    "stimberg-2019": SynapseParameters(),
}

# Every spike releases all, and the store is full again at the next one.
_RELAY = SynapseParameters(U_0_star=1.0, Omega_d=1e3, rho_c=0.001, O_G=0.0)

_FIG2 = AstrocyteParameters(K_P=0.1, O_beta=5.0, O_delta=0.2, K_delta=0.3, Omega_5P=0.1, K_D=0.5, F_ex=0.09, I_bias=0.0)
_EXOGENOUS = AstrocyteParameters(O_beta=0.0, O_N=0.0, F_ex=2.0, I_bias=0.8)

# Calcium against presynaptic rate, the synapse left alone; then Figures 2 to 4 of Stimberg et al. (2019)
TRIPARTITE = {
    "no-feedback": TripartiteModel(SynapseParameters(O_G=0.0)),
    "stimberg-2019-fig2": TripartiteModel(_RELAY, _FIG2),
    "stimberg-2019-fig2-stochastic": TripartiteModel(_RELAY, replace(_FIG2, noise=1.0)),
    "stimberg-2019-fig3-weak": TripartiteModel(astrocyte=_EXOGENOUS, ip3=0.4),
    "stimberg-2019-fig3-strong": TripartiteModel(astrocyte=replace(_EXOGENOUS, I_bias=1.25), ip3=0.4),
    "stimberg-2019-fig4-closed": TripartiteModel(astrocyte=AstrocyteParameters(F_ex=2.0)),
    "stimberg-2019-fig4-open": TripartiteModel(astrocyte=replace(_EXOGENOUS, I_bias=1.0)),
    "stimberg-2019-fig4-none": TripartiteModel(SynapseParameters(O_G=0.0), AstrocyteParameters(F_ex=2.0)),
}

# Figure 5: a ring of 50 astrocytes; the same cells on a sheet. Then the astrocyte of working memory of Gordleeva et al.
# (2021): one cell, and the sheet of 26 x 26, after 60 ms of drive.
_MEMORY = RingModel(DiffusiveAstrocyteParameters(), (1,), False, (0,), period_s=1e4, on_s=0.06)
RING = {
    "stimberg-2019-fig5": RingModel(),
    "sheet": RingModel(shape=(15, 15), periodic=False),
    "gordleeva-2021": _MEMORY,
    "gordleeva-2021-sheet": replace(_MEMORY, shape=(26, 26), stimulated=None),
}

# Figures 1 and 6: without gliotransmission, and with it
NETWORK = {
    "stimberg-2019-fig1": NetworkModel(
        neurons=NeuronParameters(I_ex=150e-12), synapse=SynapseParameters(O_G=0.0), drive=(1.0,)
    ),
    "stimberg-2019-fig6": NetworkModel(),
}

# The run with ten synapses a neuron, and the same astrocyte where none falls silent
SELF_REPAIR = {"wade-2012": SelfRepairModel(), "wade-2012-healthy": SelfRepairModel(silent=0.0)}

# The published run; then its controls: astrocytes that enhance nothing, and nothing learned before the cues
WORKING_MEMORY = {
    "gordleeva-2021": WorkingMemoryModel(),
    "gordleeva-2021-not-enhanced": WorkingMemoryModel(memory=MemoryParameters(eta=0.0)),
    "gordleeva-2021-not-learned": WorkingMemoryModel(learned=""),
}

LI_RINZEL = {"nest-astrocyte_lr_1994": LiRinzelModel()}

# model, preset name, model object
PRESETS: dict[str, dict[str, Any]] = {
    "tripartite": TRIPARTITE,
    "ring": RING,
    "network": NETWORK,
    "self-repair": SELF_REPAIR,
    "working-memory": WORKING_MEMORY,
    "li-rinzel": LI_RINZEL,
}
