"""Where tokens enter: the embedding sends them, and memory retention puts the memory behind those of a segment."""

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
from rmaat_lava.messages import ABSENT, HEADER, PRESENT, ProgramModel
from rmaat_lava.program import Program


class Embedding(AbstractProcess):
    """Sends the embedded tokens of all sequences, segment by segment, those that share a place merged.

    Parameters
    ----------
    program : Program
    inputs : list of int64 arrays
        Rows that the tokens activate (length, active) or feature messages (length, features), one a sequence.
    """

    def __init__(self, program: Program, inputs: list[np.ndarray], **kwargs: object) -> None:
        super().__init__(program=program, inputs=inputs, **kwargs)
        self.x_out = OutPort(shape=(HEADER + program.dim,))
        self.features = Var(shape=(program.dim,), init=0)
        self.saturated = Var(shape=(1,), init=0)


@implements(proc=Embedding, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyEmbedding(ProgramModel):
    x_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    features: np.ndarray = LavaPyType(np.ndarray, np.int64)
    saturated: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        length = self.program.segment_length
        self.pieces = [
            (t + 1, -(-len(tokens) // length), tokens[t * length : (t + 1) * length])
            for tokens in proc_params["inputs"]
            for t in range(-(-len(tokens) // length))
        ]

    def run_spk(self) -> None:
        phase, slot = self.slot()
        segment, idle = divmod(phase, len(self.program.layers))
        message = np.zeros(HEADER + self.program.dim, np.int64)
        if not idle and segment < len(self.pieces):
            t, total, tokens = self.pieces[segment]
            stride = self.program.stride
            group = tokens[slot * stride : (slot + 1) * stride] if slot < self.size else tokens[:0]
            message[:HEADER] = PRESENT if slot >= self.size or len(group) else ABSENT, t, total
            if len(group):
                self.features[:] = message[HEADER:] = self.embed(group, slot)
                self.count()
        self.x_out.send(message)

    def embed(self, group: Integers, slot: int) -> Integers:
        """One place, from the tokens (count, active or features) that share it."""
        part = self.program.embedding
        x = np.stack([self.token(token) for token in group])
        if part.merge:
            messages = np.zeros((self.program.stride, x.shape[1]), np.int64)
            messages[: len(x)] = round_shift(x, part.merge[0].message_shift)
            x = self.dense(part.merge[0].linear, messages.reshape(1, -1), "merge")
        if self.program.stem:
            return x[0]
        return saturate(x[0] + self.program.position[slot], "embedding", self.counts)

    def token(self, token: Integers) -> Integers:
        """Its rows added up, or its features weighted."""
        part = self.program.embedding
        if part.active:
            return part.linear.rescale(part.linear.weight[token].sum(0, dtype=np.int64), "linear", self.counts)
        return self.dense(part.linear, token, "linear")


class MemoryRetention(AbstractProcess):
    """Keeps the memory and puts it, scaled by RF(t, T), behind the tokens of the next segment."""

    def __init__(self, program: Program, **kwargs: object) -> None:
        super().__init__(program=program, **kwargs)
        shape = (HEADER + program.dim,)
        self.token_in, self.memory_in, self.x_out = (
            InPort(shape=shape),
            InPort(shape=shape),
            OutPort(shape=shape),
        )
        self.memory = Var(shape=(max(program.memory_tokens, 1), program.dim), init=0)
        self.saturated = Var(shape=(1,), init=0)


@implements(proc=MemoryRetention, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyMemoryRetention(ProgramModel):
    token_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    memory_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    x_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    memory: np.ndarray = LavaPyType(np.ndarray, np.int64)
    saturated: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def run_spk(self) -> None:
        _, slot = self.slot()
        message = self.token_in.recv()
        mode, t, total = message[:HEADER]
        if mode == PRESENT and slot >= self.size:
            place = slot - self.size
            message[HEADER:] = self.enter(self.memory[place], place, t, total)
            self.count()
        self.x_out.send(message)
        back = self.memory_in.recv()
        if back[0] == PRESENT and slot < self.first:
            self.memory[slot] = back[HEADER:]

    def enter(self, memory: Integers, place: int, t: int, total: int) -> Integers:
        """The memory at one place as it enters segment t."""
        retention = self.program.retention
        if t == 1:
            scaled = retention.initial[place]
        elif retention.norm:
            scaled = retention.norm[0].at(total, t - 1)(memory, "norm", self.counts)
        else:
            scaled = round_shift(memory * retention.factor[total, t - 1], retention.shift)
        return saturate(scaled + retention.identity[place], "memory", self.counts)
