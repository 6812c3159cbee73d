"""Convolutions over the places of a segment, between the embedding and the first layer."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rmaat_lava.arithmetic import Integers, round_shift, saturate
from rmaat_lava.messages import HEADER, PRESENT, ProgramModel
from rmaat_lava.program import Program


class Stem(AbstractProcess):
    """Holds a segment for a phase, since a place needs those after it too; sends it convolved, positions added."""

    def __init__(self, program: Program, **kwargs: object) -> None:
        super().__init__(program=program, **kwargs)
        shape = (HEADER + program.dim,)
        self.x_in, self.x_out = InPort(shape=shape), OutPort(shape=shape)
        self.features = Var(shape=(program.dim,), init=0)
        self.saturated = Var(shape=(1,), init=0)


@implements(proc=Stem, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyStem(ProgramModel):
    x_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    x_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    features: np.ndarray = LavaPyType(np.ndarray, np.int64)
    saturated: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self.waiting = np.zeros((self.places, HEADER + self.program.dim), np.int64)
        self.leaving = self.waiting.copy()

    def run_spk(self) -> None:
        """Work out a segment when its phase begins and send a place a step; see `PyReadMode.run_spk`."""
        _, slot = self.slot()
        if slot == 0 and (n := np.count_nonzero(self.leaving[: self.size, 0] == PRESENT)):
            self.leaving[:n, HEADER:] = self.convolve(self.leaving[:n, HEADER:])
            self.count()
        if slot < self.size and self.leaving[slot, 0] == PRESENT:
            self.features[:] = self.leaving[slot, HEADER:]
        self.x_out.send(self.leaving[slot])
        self.waiting[slot] = self.x_in.recv()
        if slot == self.places - 1:
            self.leaving, self.waiting = self.waiting, self.leaving

    def convolve(self, x: Integers) -> Integers:
        """The places that exist (count, dim) through the layers, positions added."""
        for index, part in enumerate(self.program.stem):
            messages = round_shift(x, part.message_shift)
            kernel = len(part.linear.weight) // x.shape[1]
            mixed = self.dense(part.linear, _windows(messages, kernel, 2**index), "linear")
            x = part.norm(saturate(x + np.maximum(mixed, 0), "residual", self.counts), "norm", self.counts)
        return saturate(x + self.program.position[: len(x)], "embedding", self.counts)


def _windows(messages: Integers, kernel: int, apart: int) -> Integers:
    """What each place gets from the `kernel` places around it, 0 beyond the ends: (count, kernel * dim)."""
    count = len(messages)
    places = np.arange(count)[:, None] + (np.arange(kernel) - kernel // 2) * apart
    exists = (places >= 0) & (places < count)
    return np.where(exists[..., None], messages[places.clip(0, count - 1)], 0).reshape(count, -1)
