"""The astrocyte's dynamics as a Lava process: the synaptic half of the macro model, one unit a tripartite synapse.

    τ_s   ds/dt   = −β s + θ(x_i) θ(x_j) + ψ(p^s)
    τ_p^s dp^s/dt = −γ^s p^s + Σ_kl T_ijkl ψ(p^s_kl) + drive·κ(s)
    τ_p^l dp^l/dt = −γ^l p^l + κ(s)

Each state is advanced by the exact solution for an input that is constant over the step,
``y ← y + (1 − e^{−leak Δt / τ}) (input / leak − y)``; κ takes the mean of s before and after the step.
Messages in are θ(x_i) θ(x_j); messages out are g(s), what the neurons'
transmission is multiplied with, and ψ(p^s), what the astrocyte gives back to the synapse.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rmaat_lava.tripartite import Unit


class TripartiteUnit(AbstractProcess):
    """Synaptic strength, short-term and long-term astrocytic process of each of n tripartite synapses.

    Parameters
    ----------
    unit : Unit
        Constants and tables.
    """

    def __init__(self, unit: Unit, **kwargs: object) -> None:
        super().__init__(unit=unit, **kwargs)
        shape = (unit.synapses,)
        self.pair_in, self.gain_out, self.calcium_out = InPort(shape=shape), OutPort(shape=shape), OutPort(shape=shape)
        self.s, self.p_short, self.p_long = (Var(shape=shape, init=0) for _ in range(3))
        self.saturated = Var(shape=(1,), init=0)


class _TripartiteModel(PyLoihiProcessModel):
    """One step, the same for both number formats; the formats differ in `Unit.real` and `Unit.integer`."""

    arithmetic: str

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self.unit = proc_params["unit"]
        self.step = getattr(self.unit, self.arithmetic)

    def run_spk(self) -> None:
        state = self.step(self.pair_in.recv(), self.s, self.p_short, self.p_long)
        self.s[:], self.p_short[:], self.p_long[:], gain, calcium = state
        self.saturated[:] = self.unit.saturated.total()
        self.gain_out.send(gain)
        self.calcium_out.send(calcium)


@implements(proc=TripartiteUnit, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyTripartiteFloat(_TripartiteModel):
    arithmetic = "real"
    pair_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    gain_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    calcium_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    s: np.ndarray = LavaPyType(np.ndarray, float)
    p_short: np.ndarray = LavaPyType(np.ndarray, float)
    p_long: np.ndarray = LavaPyType(np.ndarray, float)
    saturated: np.ndarray = LavaPyType(np.ndarray, np.int64)


@implements(proc=TripartiteUnit, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyTripartiteFixed(_TripartiteModel):
    arithmetic = "integer"
    pair_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    gain_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    calcium_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    s: np.ndarray = LavaPyType(np.ndarray, np.int64)
    p_short: np.ndarray = LavaPyType(np.ndarray, np.int64)
    p_long: np.ndarray = LavaPyType(np.ndarray, np.int64)
    saturated: np.ndarray = LavaPyType(np.ndarray, np.int64)
