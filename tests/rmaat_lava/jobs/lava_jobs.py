"""Small Lava networks for the tests of the child-process runner; importable in the child through PYTHONPATH."""

import os
import signal
import time

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
from lava.proc.dense.process import Dense
from lava.proc.io.source import RingBuffer
from lava.utils.weightutils import SignMode

from rmaat_lava.processes.classifier import Classifier
from rmaat_lava.program import rebuild
from rmaat_lava.worker import record, simulate


class Ramp(AbstractProcess):
    """Sends its time step."""

    def __init__(self, fail_at, sleep):
        super().__init__(fail_at=fail_at, sleep=sleep)
        self.s_out = OutPort(shape=(3,))


class Sum(AbstractProcess):
    """Adds up what arrives."""

    def __init__(self):
        super().__init__()
        self.a_in = InPort(shape=(3,))
        self.total = Var(shape=(3,), init=0)


@implements(proc=Ramp, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRamp(PyLoihiProcessModel):
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def run_spk(self):
        if self.time_step == self.proc_params["fail_at"]:
            raise ZeroDivisionError(f"the ramp broke at {time.monotonic()}")
        time.sleep(self.proc_params["sleep"])
        self.s_out.send(np.full(3, self.time_step, dtype=np.int64))


@implements(proc=Sum, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySum(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    total: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def run_spk(self):
        self.total = self.total + self.a_in.recv()


def ramp(arrays, settings):
    """Sum of 1 .. steps, plus an offset, by two processes."""
    source, sink = Ramp(settings["fail_at"], settings["sleep"]), Sum()
    source.s_out.connect(sink.a_in)
    simulate(source, settings["steps"], "fixed_pt")
    total = sink.total.get()
    source.stop()
    return {"total": total + arrays["offset"]}


def alone(arrays, settings):
    """A network of one process, in which Lava reports an exception differently."""
    source = Ramp(settings["fail_at"], settings["sleep"])
    simulate(source, settings["steps"], "fixed_pt")
    source.stop()
    return {}


def broken(arrays, settings):
    """Fails before any network is built."""
    raise KeyError("no network")


def killed(arrays, settings):
    """Ends this interpreter."""
    os.kill(os.getpid(), signal.SIGKILL)


def hierarchy(arrays, settings):
    """Names of the classifier's processes, all levels."""
    classifier = Classifier(rebuild(arrays), [np.ones(1, np.int64)], name="classifier")
    simulate(classifier, 1, "fixed_pt")

    def names(process):
        return [process.name, *(name for part in process.procs for name in names(part))]

    found = names(classifier)
    classifier.stop()
    return {"names": np.array(found)}


def dense(arrays, settings):
    """What Lava's Dense sends for messages, (steps, out)."""
    source = RingBuffer(data=arrays["messages"].T)
    synapses = Dense(
        weights=arrays["weight"],
        num_message_bits=24,
        num_weight_bits=settings["bits"],
        weight_exp=settings["exponent"],
        sign_mode=SignMode.MIXED,
    )
    source.s_out.connect(synapses.s_in)
    recorded, _ = record(synapses, len(arrays["messages"]), "fixed_pt", {"sums": synapses.a_out})
    synapses.stop()
    return recorded
