"""One astromorphic layer: write mode and read mode, which get the same tokens."""

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
from rmaat_lava.messages import HEADER, PRESENT, ProgramModel, tokens_first
from rmaat_lava.program import Program


class WriteMode(AbstractProcess):
    """Hebbian write: H += (φ(k) + φ(R)) vᵀ and G += φ(k); hands H and g over at the end of the segment."""

    def __init__(self, program: Program, layer: int, **kwargs: object) -> None:
        super().__init__(program=program, layer=layer, **kwargs)
        heads, width = program.heads, program.head_dim
        self.x_in = InPort(shape=(HEADER + program.dim,))
        self.weights_out = OutPort(shape=(heads, width, width + 1))
        self.weights = Var(shape=(heads, width, width), init=0)
        self.activity = Var(shape=(heads, width), init=0)
        self.saturated = Var(shape=(1,), init=0)


@implements(proc=WriteMode, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyWriteMode(ProgramModel):
    x_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    weights_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    weights: np.ndarray = LavaPyType(np.ndarray, np.int64)
    activity: np.ndarray = LavaPyType(np.ndarray, np.int64)
    saturated: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self.part = self.program.layers[proc_params["layer"]].write

    def run_spk(self) -> None:
        _, slot = self.slot()
        message = self.x_in.recv()
        if slot == 0:
            self.weights[:], self.activity[:] = 0, 0
        if message[0] == PRESENT:
            self.write(message[HEADER:], tokens_first(slot, self.size, self.first))
            self.count()
        if slot == self.places - 1:
            self.weights_out.send(self.handed_over())

    def write(self, x: Integers, place: int) -> None:
        """One token's contribution."""
        part = self.part
        spikes = round_shift(x, part.message_shift)
        k = saturate(part.phi(self.dense(part.key, spikes, "key")), "phi", self.counts)
        v = self.dense(part.value, spikes, "value").reshape(self.program.heads, 1, -1)
        k = k.reshape(self.program.heads, -1)
        written = (k + part.astrocytic[:, place])[..., None] * v
        self.weights[:] = saturate(self.weights + written, "weights", self.counts)
        self.activity[:] = saturate(self.activity + k, "activity", self.counts)

    def handed_over(self) -> Integers:
        """H and g as they are read, (heads, head_dim, head_dim + 1)."""
        weights = round_shift(self.weights, self.part.shift)
        g = self.part.response[0](self.activity) if self.part.response else self.activity
        return np.concatenate([weights, g[..., None]], axis=-1)


class ReadMode(AbstractProcess):
    """Read φ(q) H / C, add the residual; then layer norm, feed-forward network, layer norm."""

    def __init__(self, program: Program, layer: int, **kwargs: object) -> None:
        super().__init__(program=program, layer=layer, **kwargs)
        heads, width = program.heads, program.head_dim
        shape = (HEADER + program.dim,)
        self.x_in, self.x_out = InPort(shape=shape), OutPort(shape=shape)
        self.weights_in = InPort(shape=(heads, width, width + 1))
        self.attended = Var(shape=(program.dim,), init=0)
        self.features = Var(shape=(program.dim,), init=0)
        self.saturated = Var(shape=(1,), init=0)


@implements(proc=ReadMode, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReadMode(ProgramModel):
    x_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    weights_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    x_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    attended: np.ndarray = LavaPyType(np.ndarray, np.int64)
    features: np.ndarray = LavaPyType(np.ndarray, np.int64)
    saturated: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self.part = self.program.layers[proc_params["layer"]].read
        self.last = proc_params["layer"] == len(self.program.layers) - 1
        self.waiting = np.zeros((self.places, HEADER + self.program.dim), np.int64)
        self.leaving = self.waiting.copy()
        self.added = np.zeros((self.places, self.program.dim), np.int64)
        self.stored = np.zeros((self.program.heads, self.program.head_dim, self.program.head_dim + 1))

    def run_spk(self) -> None:
        """Send one place a step; a segment is read in one go when its phase begins, which costs NumPy less."""
        _, slot = self.slot()
        if slot == 0 and (present := self.leaving[:, 0] == PRESENT).any():
            self.added[present], self.leaving[present, HEADER:] = self.read(self.leaving[present, HEADER:])
            self.count()
        place = slot if self.last else tokens_first(slot, self.size, self.first)
        if self.leaving[place, 0] == PRESENT:
            self.attended[:], self.features[:] = self.added[place], self.leaving[place, HEADER:]
        self.x_out.send(self.leaving[place])
        self.waiting[tokens_first(slot, self.size, self.first)] = self.x_in.recv()
        if slot == self.places - 1:
            self.stored = self.weights_in.recv().astype(float)
            self.leaving, self.waiting = self.waiting, self.leaving

    def read(self, x: Integers) -> tuple[Integers, Integers]:
        """Tokens (count, dim) through the layer: what attention adds to them, and what leaves."""
        part, counts, heads = self.part, self.counts, self.program.heads
        q = self.dense(part.query, round_shift(x, part.message_shift), "query")
        q = saturate(part.phi(q), "phi", counts).reshape(len(x), heads, 1, -1)
        both = (q @ self.stored)[:, :, 0].astype(np.int64)  # φ(q) H and C, exact below 2^53
        ratio = saturate(both[..., :-1], "numerator", counts)
        if part.reciprocal:
            mantissa, shift = part.reciprocal[0](saturate(both[..., -1:], "c", counts))
            ratio = saturate(round_shift(ratio * mantissa, shift - part.ratio_shift[:, None]), "ratio", counts)
        added = round_shift(ratio * part.multiplier[:, None], part.shift[:, None]).reshape(len(x), -1)
        y = part.norm(saturate(x + added, "residual", counts), "norm", counts)
        hidden = self.dense(part.ffn_in, round_shift(y, part.ffn_shift), "ffn_in")
        out = self.dense(part.ffn_out, np.maximum(hidden, 0), "ffn_out")
        return added, part.ffn_norm(saturate(y + out, "ffn", counts), "ffn_norm", counts)
