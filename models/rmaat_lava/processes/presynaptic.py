"""Tsodyks-Markram release as a Lava process: spikes in, graded spikes out, state in the presynaptic neuron."""

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

from rmaat_lava.presynaptic import STATE_EXPONENT, Release


class Presynaptic(AbstractProcess):
    """Docked (u) and available (x) neurotransmitter of each of n neurons; sends the released fraction at a spike.

    Parameters
    ----------
    release : Release
        Constants.
    number_format : str
        ``"floating_pt"`` or ``"fixed_pt"``: the unit of the resting state x = 1.
    """

    def __init__(self, release: Release, number_format: str, **kwargs: object) -> None:
        super().__init__(release=release, **kwargs)
        shape = (release.neurons,)
        self.s_in, self.bound_in, self.s_out = InPort(shape=shape), InPort(shape=shape), OutPort(shape=shape)
        self.u = Var(shape=shape, init=0)
        self.x = Var(shape=shape, init=1 << STATE_EXPONENT if number_format == "fixed_pt" else 1)


class _PresynapticModel(PyLoihiProcessModel):
    """One step, the same for both number formats; the formats differ in `Release.real` and `Release.integer`."""

    arithmetic: str

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self.step = getattr(proc_params["release"], self.arithmetic)

    def run_spk(self) -> None:
        self.u[:], self.x[:], released = self.step(self.s_in.recv(), self.bound_in.recv(), self.u, self.x)
        self.s_out.send(released)


@implements(proc=Presynaptic, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyPresynapticFloat(_PresynapticModel):
    arithmetic = "real"
    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    bound_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    u: np.ndarray = LavaPyType(np.ndarray, float)
    x: np.ndarray = LavaPyType(np.ndarray, float)


@implements(proc=Presynaptic, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPresynapticFixed(_PresynapticModel):
    arithmetic = "integer"
    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    bound_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    u: np.ndarray = LavaPyType(np.ndarray, np.int64)
    x: np.ndarray = LavaPyType(np.ndarray, np.int64)
