"""Where the classes are decided: tokens and memory pooled over the segments, a pair's compared, then a classifier."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rmaat_lava.arithmetic import MULTIPLIER_BITS, Integers, multiply_shift, round_shift, saturate
from rmaat_lava.messages import HEADER, IDLE, PRESENT, ProgramModel
from rmaat_lava.program import Program, centred


class ReadOut(AbstractProcess):
    """Pools tokens and memory over the segments and classifies at the end of each sequence.

    Of pairs, it keeps the centred pool of the first document and classifies at the end of the second.
    """

    def __init__(self, program: Program, sequences: int, **kwargs: object) -> None:
        super().__init__(program=program, **kwargs)
        self.x_in = InPort(shape=(HEADER + program.dim,))
        self.pool = Var(shape=(program.trace_width,), init=0)
        self.kept = Var(shape=(program.trace_width,), init=0)
        self.logits = Var(shape=(sequences // program.documents, program.labels), init=0)
        self.saturated = Var(shape=(1,), init=0)


@implements(proc=ReadOut, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReadOut(ProgramModel):
    x_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    pool: np.ndarray = LavaPyType(np.ndarray, np.int64)
    kept: np.ndarray = LavaPyType(np.ndarray, np.int64)
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
        """Add the segment's means to the pool; the last segment ends the sequence."""
        part = self.program.readout
        means = [self.mean(kind) for kind in range(2 if self.first else 1)]
        if t == 1:
            self.pool[:] = 0
        added = round_shift(np.concatenate(means) * part.share[total, t], MULTIPLIER_BITS)
        self.pool[:] = saturate(self.pool + added, "pool", self.counts)
        if t == total:
            example, document = divmod(self.sequence, self.program.documents)
            self.sequence += 1
            trace = centred(part, self.pool, (total - 1) * self.program.token_places + self.terms[0])
            if document == self.program.documents - 1:
                self.logits[example] = self.classify(trace)
            else:
                self.kept[:] = trace

    def classify(self, trace: Integers) -> Integers:
        """Logits (labels,) from the centred trace, of a pair from the one that was kept too."""
        part, features = self.program.readout, self.features(trace)
        for matching in part.matching:
            a, b = self.features(self.kept), features
            product = round_shift(a * b, matching.product_shift)
            compared = saturate(np.concatenate([a, b, product, a - b]), "matching", self.counts)
            features = np.maximum(self.dense(matching.hidden, compared, "hidden"), 0)
        return self.dense(part.classifier, features, "logits")

    def features(self, trace: Integers) -> Integers:
        """Messages of a centred trace, of its shape."""
        part = self.program.readout
        return saturate(multiply_shift(trace, part.gain, part.gain_shift), "features", self.counts)

    def mean(self, kind: int) -> Integers:
        """Mean of the tokens (0) or of the memory (1) of the segment, (dim,)."""
        part = self.program.readout
        mantissa, shift = part.reciprocal(self.terms[kind])
        return saturate(round_shift(self.sums[kind] * mantissa, shift + part.mean_shift), "mean", self.counts)
