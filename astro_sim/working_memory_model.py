"""Constants, sizes and connections of the working-memory network."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sim.constants import Constants, constant
from astro_sim.diffusive_astrocyte import DiffusiveAstrocyteParameters
from astro_sim.errors import InputError
from astro_sim.izhikevich import IzhikevichParameters
from astro_sim.memory_task import StimulusParameters

Indices = NDArray[np.int64]
ZONE = 4  # an astrocyte lies over 4 x 4 neurons and shares the outer ones with its neighbours
MOST_DRAWS = 500  # of four times as many targets as a neuron has
LARGEST_STEP = 2e-4  # a spike rises from 0 to 30 mV in 0.14 ms


@dataclass(frozen=True)
class MemoryParameters(Constants):
    """What neurons and astrocytes do to each other, and the background of the neurons; as in the published run."""

    alpha_glu: float = constant(10.0, "1/s", "clearance rate of glutamate", strict=False)
    delta_glu: float = constant(0.06, "umol/l", "glutamate of a spike: 600 umol/(l s) for 0.1 ms", strict=False)
    G_thr: float = constant(0.7, "umol/l", "glutamate at which a neuron counts as active")
    F_act: float = constant(0.5, "1", "share of its neurons that must be active to drive an astrocyte")
    t_glu: float = constant(0.06, "s", "length of the drive of IP3 after that", strict=False)
    Ca_thr: float = constant(0.15, "umol/l", "calcium above which an astrocyte enhances synapses")
    F_astro: float = constant(0.375, "1", "share of its neurons that must spike in one step for it to do so")
    tau_syn: float = constant(0.01, "s", "time for which such a coincidence counts")
    tau_astro: float = constant(0.25, "s", "length of the enhancement after that", strict=False)
    eta: float = constant(0.5, "1/ms", "weight that an enhanced synapse gains", strict=False)
    f_noise: float = constant(1.5, "1/s", "rate of each neuron's noise pulses", strict=False)
    t_noise: float = constant(0.03, "s", "length of a noise pulse")
    A_noise: float = constant(20.0, "V/s", "largest size of a noise pulse, of either sign", strict=False)


@dataclass(frozen=True)
class WorkingMemoryModel:
    """The working-memory network of Gordleeva et al. (2021) and what it is shown.

    Parameters
    ----------
    astrocytes_a_side : int
        Astrocytes along a side of their square sheet, at least 2; neurons along a side of theirs are three times as
        many and one.
    n_links : int
        Synapses that leave a neuron, at most a quarter of all neurons.
    link_length : float
        Mean of their exponentially distributed lengths, in neurons, at least 1.
    learned, cued : str
        Characters shown to be learned, and shown as cues, one after the other; `learned` may be empty.

    Raises
    ------
    InputError
        A value outside its bound.
    """

    neurons: IzhikevichParameters = field(default_factory=IzhikevichParameters)
    astrocyte: DiffusiveAstrocyteParameters = field(default_factory=DiffusiveAstrocyteParameters)
    memory: MemoryParameters = field(default_factory=MemoryParameters)
    stimulus: StimulusParameters = field(default_factory=StimulusParameters)
    astrocytes_a_side: int = 26
    n_links: int = 40
    link_length: float = 5.0
    learned: str = "0123"
    cued: str = "05162738"

    def __post_init__(self) -> None:
        if not isinstance(self.astrocytes_a_side, int) or not 2 <= self.astrocytes_a_side <= 200:
            raise InputError("astrocytes_a_side", self.astrocytes_a_side, "a whole number from 2 to 200")
        if not isinstance(self.n_links, int) or not 1 <= self.n_links <= self.n_neurons // 4:
            raise InputError("n_links", self.n_links, f"a whole number from 1 to {self.n_neurons // 4}")
        if not 1 <= self.link_length < np.inf:
            raise InputError("link_length", self.link_length, "a finite length >= 1 neuron")
        if not self.cued:
            raise InputError("cued", self.cued, "one or more characters")
        p = self.stimulus
        end = p.learn_from + (len(self.learned) - 1) * p.learn_every + p.learn_for
        if self.learned and p.cue_from < end:
            raise InputError("cue_from", p.cue_from, f"at least {end:g} s, the end of learning")

    @property
    def neurons_a_side(self) -> int:
        """Neurons along a side of their sheet."""
        return (ZONE - 1) * self.astrocytes_a_side + 1

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return self.neurons_a_side**2

    @property
    def n_astrocytes(self) -> int:
        """Number of astrocytes."""
        return self.astrocytes_a_side**2

    def check_step(self, dt: float) -> None:
        """Refuse a step that passes over spikes, or that Euler's method overshoots with: glutamate, recovery."""
        if dt > LARGEST_STEP:
            raise InputError("dt", dt, f"at most {LARGEST_STEP:g} s: the membrane's spikes")
        fastest = max(self.memory.alpha_glu, 1e3 * self.neurons.a)
        if dt * fastest > 1:
            raise InputError("dt", dt, f"at most {1 / fastest:.2g} s: glutamate is cleared, or u recovers, that fast")

    def check_astrocyte_step(self, dt: float) -> None:
        """Refuse a step that RK4 makes unstable, or that misses coincidences."""
        longest = min(2.5 / self.astrocyte.calcium_rate, self.memory.tau_syn)
        if dt > longest:
            raise InputError("astrocyte_dt", dt, f"at most {longest:.2g} s: calcium, IP3 and gate, and tau_syn")

    def namespace(self) -> dict[str, Any]:
        """All constants as Brian2 quantities."""
        sets = (self.neurons, self.astrocyte, self.memory)
        return {name: value for part in sets for name, value in part.namespace().items()}

    @classmethod
    def from_json(cls, text: str) -> "WorkingMemoryModel":
        """The model whose fields a recording carries as the attribute ``parameters``."""
        values = json.loads(text)
        parts = {"neurons": IzhikevichParameters, "astrocyte": DiffusiveAstrocyteParameters}
        parts |= {"memory": MemoryParameters, "stimulus": StimulusParameters}
        return cls(**values | {name: part(**values[name]) for name, part in parts.items()})

    def zones(self) -> Indices:
        """The neurons that each astrocyte sees, all numbered row by row, shape (n_astrocytes, 16)."""
        lines = (ZONE - 1) * np.arange(self.astrocytes_a_side)[:, None] + np.arange(ZONE)
        rows, columns = lines[:, None, :, None], lines[None, :, None, :]
        return (rows * self.neurons_a_side + columns).reshape(-1, ZONE**2)

    def owners(self) -> Indices:
        """The astrocyte that acts on each neuron's synapses: of those that see it the last, row by row."""
        owner = np.empty(self.n_neurons, dtype=np.int64)
        for astrocyte, seen in enumerate(self.zones()):
            owner[seen] = astrocyte
        return owner

    def synapses(self, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Draw source and target neuron of every synapse.

        Targets of a neuron are distinct, drawn at an exponentially distributed distance in any direction, cut to whole
        neurons towards it.
        """
        neurons = range(self.n_neurons)
        target = [self._targets(*divmod(neuron, self.neurons_a_side), rng) for neuron in neurons]
        return np.repeat(neurons, self.n_links), np.concatenate(target)

    def _targets(self, row: int, column: int, rng: np.random.Generator) -> Indices:
        """Targets of one neuron."""
        side, found = self.neurons_a_side, np.empty(0, dtype=np.int64)
        for _ in range(MOST_DRAWS):
            distance = rng.exponential(self.link_length, 4 * self.n_links)
            angle = rng.uniform(0, 2 * np.pi, 4 * self.n_links)
            rows = row + np.trunc(distance * np.cos(angle)).astype(np.int64)
            columns = column + np.trunc(distance * np.sin(angle)).astype(np.int64)
            inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
            inside &= (rows != row) | (columns != column)
            found = np.concatenate([found, (rows * side + columns)[inside]])
            found = found[np.sort(np.unique(found, return_index=True)[1])]
            if len(found) >= self.n_links:
                return found[: self.n_links]
        wanted = f"a length at which {self.n_links} neurons of {side} x {side} are found"
        raise InputError("link_length", self.link_length, wanted)
