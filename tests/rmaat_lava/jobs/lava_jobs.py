"""Small Lava networks for the tests of the child-process runner; importable in the child through PYTHONPATH."""

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

from rmaat_lava.worker import simulate


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
            raise ZeroDivisionError("the ramp broke")
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
