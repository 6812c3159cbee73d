"""The deployed classifier as Lava processes, one token a time step.

Time is cut into phases of N steps, N the places of a segment. In one phase a layer writes a segment while it still
reads the one before; in the next it reads what it has written, and the following layer writes. A segment's memory
leaves the last layer first and enters the first layer last, so the next segment starts while the last layer reads:
T segments take L·T + 1 phases for L layers.

Messages are ``[mode, t, T, x_1 ... x_dim]``: mode 2 is a token or memory place, 1 a place that does not exist, 0 an
idle step; t is the segment and T the sequence's number of segments.
"""

from collections import Counter

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rmaat_lava.arithmetic import MULTIPLIER_BITS, Integers, Linear, round_shift, saturate
from rmaat_lava.program import Program

HEADER = 3
IDLE, ABSENT, PRESENT = 0, 1, 2


class Embedding(AbstractProcess):
    """Sends the embedded tokens of all sequences, segment by segment.

    Parameters
    ----------
    program : Program
    inputs : list of int64 arrays
        Token ids (length,) or feature messages (length, features), one a sequence.
    """

    def __init__(self, program: Program, inputs: list[np.ndarray], **kwargs: object) -> None:
        super().__init__(program=program, inputs=inputs, **kwargs)
        self.x_out = OutPort(shape=(HEADER + program.dim,))
        self.saturated = Var(shape=(1,), init=0)


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


class AstromorphicLayer(AbstractProcess):
    """One layer: a `WriteMode` and a `ReadMode` that get the same tokens."""

    def __init__(self, program: Program, layer: int, **kwargs: object) -> None:
        super().__init__(program=program, layer=layer, **kwargs)
        heads, width = program.heads, program.head_dim
        shape = (HEADER + program.dim,)
        self.x_in, self.x_out = InPort(shape=shape), OutPort(shape=shape)
        self.weights = Var(shape=(heads, width, width), init=0)
        self.activity = Var(shape=(heads, width), init=0)
        self.attended = Var(shape=(program.dim,), init=0)
        self.features = Var(shape=(program.dim,), init=0)
        self.write_saturated = Var(shape=(1,), init=0)
        self.read_saturated = Var(shape=(1,), init=0)


class ReadOut(AbstractProcess):
    """Pools tokens and memory over the segments and classifies at the end of each sequence."""

    def __init__(self, program: Program, sequences: int, **kwargs: object) -> None:
        super().__init__(program=program, **kwargs)
        self.x_in = InPort(shape=(HEADER + program.dim,))
        self.pool = Var(shape=(len(program.readout.classifier.weight),), init=0)
        self.logits = Var(shape=(sequences, program.labels), init=0)
        self.saturated = Var(shape=(1,), init=0)


@implements(proc=AstromorphicLayer, protocol=LoihiProtocol)
@tag("fixed_pt")
class SubAstromorphicLayer(AbstractSubProcessModel):
    """Wires write mode and read mode of a layer."""

    def __init__(self, process: AbstractProcess) -> None:
        program, layer = process.proc_params["program"], process.proc_params["layer"]
        self.write = WriteMode(program, layer, name=f"{process.name}.write")
        self.read = ReadMode(program, layer, name=f"{process.name}.read")
        process.in_ports.x_in.connect(self.write.in_ports.x_in)
        process.in_ports.x_in.connect(self.read.in_ports.x_in)
        self.write.out_ports.weights_out.connect(self.read.in_ports.weights_in)
        self.read.out_ports.x_out.connect(process.out_ports.x_out)
        process.vars.weights.alias(self.write.vars.weights)
        process.vars.activity.alias(self.write.vars.activity)
        process.vars.attended.alias(self.read.vars.attended)
        process.vars.features.alias(self.read.vars.features)
        process.vars.write_saturated.alias(self.write.vars.saturated)
        process.vars.read_saturated.alias(self.read.vars.saturated)


class _Model(PyLoihiProcessModel):
    """What the models share: the schedule, exact integer synapses and the count of saturated values."""

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self.program: Program = proc_params["program"]
        self.size, self.first = self.program.segment_length, self.program.memory_tokens
        self.places = self.program.places
        self.counts: Counter = Counter()

    def slot(self) -> tuple[int, int]:
        """Phase and step within the phase, from 0."""
        return divmod(self.time_step - 1, self.places)

    def dense(self, linear: Linear, x: Integers, place: str) -> Integers:
        """A linear layer on one token."""
        return linear.rescale((x @ linear.matrix).astype(np.int64), place, self.counts)

    def count(self) -> None:
        """Publish the number of saturated values."""
        self.saturated[0] = self.counts.total()


def tokens_first(slot: int, size: int, first: int) -> int:
    """Place in the segment (memory, then tokens) of the n-th step of a stream that sends tokens first."""
    return first + slot if slot < size else slot - size


@implements(proc=Embedding, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyEmbedding(_Model):
    x_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    saturated: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self.pieces = [
            (t + 1, -(-len(tokens) // self.size), tokens[t * self.size : (t + 1) * self.size])
            for tokens in proc_params["inputs"]
            for t in range(-(-len(tokens) // self.size))
        ]

    def run_spk(self) -> None:
        phase, slot = self.slot()
        segment, idle = divmod(phase, len(self.program.layers))
        message = np.zeros(HEADER + self.program.dim, np.int64)
        if not idle and segment < len(self.pieces):
            t, total, tokens = self.pieces[segment]
            exists = slot >= self.size or slot < len(tokens)
            message[:HEADER] = PRESENT if exists else ABSENT, t, total
            if slot < len(tokens):
                message[HEADER:] = self.embed(tokens[slot], slot)
                self.count()
        self.x_out.send(message)

    def embed(self, token: Integers, slot: int) -> Integers:
        linear = self.program.embedding.linear
        if token.ndim == 0:
            x = linear.rescale(linear.weight[token].astype(np.int64), "linear", self.counts)
        else:
            x = self.dense(linear, token, "linear")
        return saturate(x + self.program.embedding.position[slot], "embedding", self.counts)


@implements(proc=MemoryRetention, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyMemoryRetention(_Model):
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
        else:
            scaled = round_shift(memory * retention.factor[total, t - 1], retention.shift)
        return saturate(scaled + retention.identity[place], "memory", self.counts)


@implements(proc=WriteMode, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyWriteMode(_Model):
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


@implements(proc=ReadMode, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReadMode(_Model):
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
        self.stored = np.zeros((self.program.heads, self.program.head_dim, self.program.head_dim + 1), np.int64)

    def run_spk(self) -> None:
        _, slot = self.slot()
        message = self.leaving[slot if self.last else tokens_first(slot, self.size, self.first)].copy()
        if message[0] == PRESENT:
            message[HEADER:] = self.features[:] = self.read(message[HEADER:])
            self.count()
        self.x_out.send(message)
        self.waiting[tokens_first(slot, self.size, self.first)] = self.x_in.recv()
        if slot == self.places - 1:
            self.stored = self.weights_in.recv()
            self.leaving, self.waiting = self.waiting, self.leaving

    def read(self, x: Integers) -> Integers:
        """One token through the layer."""
        part, counts = self.part, self.counts
        q = self.dense(part.query, round_shift(x, part.message_shift), "query")
        q = saturate(part.phi(q), "phi", counts).reshape(self.program.heads, -1)
        ratio = saturate((q[..., None] * self.stored[..., :-1]).sum(1), "numerator", counts)
        if part.reciprocal:
            c = saturate((q * self.stored[..., -1]).sum(1, keepdims=True), "c", counts)
            mantissa, shift = part.reciprocal[0](c)
            ratio = saturate(round_shift(ratio * mantissa, shift - part.ratio_shift[:, None]), "ratio", counts)
        self.attended[:] = round_shift(ratio * part.multiplier[:, None], part.shift[:, None]).reshape(-1)
        y = part.norm(saturate(x + self.attended, "residual", counts), "norm", counts)
        hidden = self.dense(part.ffn_in, round_shift(y, part.ffn_shift), "ffn_in")
        out = self.dense(part.ffn_out, np.maximum(hidden, 0), "ffn_out")
        return part.ffn_norm(saturate(y + out, "ffn", counts), "ffn_norm", counts)


@implements(proc=ReadOut, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReadOut(_Model):
    x_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    pool: np.ndarray = LavaPyType(np.ndarray, np.int64)
    logits: np.ndarray = LavaPyType(np.ndarray, np.int64)
    saturated: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self.sums = np.zeros((2, self.program.dim), np.int64)
        self.terms = np.zeros(2, np.int64)
        self.sequence = 0

    def run_spk(self) -> None:
        _, slot = self.slot()
        message = self.x_in.recv()
        mode, t, total = message[:HEADER]
        if mode == IDLE:
            return
        if slot == 0:
            self.sums[:], self.terms[:] = 0, 0
        if mode == PRESENT:
            kind = 1 if slot < self.first else 0
            term = round_shift(message[HEADER:], self.program.readout.sum_shift)
            self.sums[kind] = saturate(self.sums[kind] + term, "sum", self.counts)
            self.terms[kind] += 1
        if slot == self.places - 1:
            self.end_segment(t, total)
        self.count()

    def end_segment(self, t: int, total: int) -> None:
        """Add the segment's means to the pool; after the last segment, classify."""
        part = self.program.readout
        means = [self.mean(kind) for kind in range(2 if self.first else 1)]
        if t == 1:
            self.pool[:] = 0
        added = round_shift(np.concatenate(means) * part.share[total, t], MULTIPLIER_BITS)
        self.pool[:] = saturate(self.pool + added, "pool", self.counts)
        if t == total:
            spikes = round_shift(self.pool, part.message_shift)
            self.logits[self.sequence] = self.dense(part.classifier, spikes, "logits")
            self.sequence += 1

    def mean(self, kind: int) -> Integers:
        """Mean of the tokens (0) or of the memory (1) of the segment, (dim,)."""
        part = self.program.readout
        mantissa, shift = part.reciprocal(self.terms[kind])
        return saturate(round_shift(self.sums[kind] * mantissa, shift + part.mean_shift), "mean", self.counts)
