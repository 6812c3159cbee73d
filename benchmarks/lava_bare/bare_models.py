"""The classifier's Lava network with models that only pass messages: what Lava itself costs."""

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rmaat_lava.processes.classifier import Classifier
from rmaat_lava.processes.embedding import Embedding, MemoryRetention, PyEmbedding, PyMemoryRetention
from rmaat_lava.processes.layer import PyReadMode, PyWriteMode, ReadMode, WriteMode
from rmaat_lava.processes.readout import PyReadOut, ReadOut
from rmaat_lava.processes.stem import PyStem, Stem
from rmaat_lava.program import rebuild
from rmaat_lava.worker import simulate


@implements(proc=Embedding, protocol=LoihiProtocol)
@requires(CPU)
class BareEmbedding(PyEmbedding):
    def run_spk(self) -> None:
        self.x_out.send(np.zeros(self.x_out.shape, np.int64))


@implements(proc=Stem, protocol=LoihiProtocol)
@requires(CPU)
class BareStem(PyStem):
    def run_spk(self) -> None:
        self.x_out.send(self.x_in.recv())


@implements(proc=MemoryRetention, protocol=LoihiProtocol)
@requires(CPU)
class BareMemoryRetention(PyMemoryRetention):
    def run_spk(self) -> None:
        self.x_out.send(self.token_in.recv())
        self.memory_in.recv()


@implements(proc=WriteMode, protocol=LoihiProtocol)
@requires(CPU)
class BareWriteMode(PyWriteMode):
    def run_spk(self) -> None:
        self.x_in.recv()
        if self.slot()[1] == self.places - 1:
            self.weights_out.send(np.zeros(self.weights_out.shape, np.int64))


@implements(proc=ReadMode, protocol=LoihiProtocol)
@requires(CPU)
class BareReadMode(PyReadMode):
    def run_spk(self) -> None:
        self.x_out.send(np.zeros(self.x_out.shape, np.int64))
        self.x_in.recv()
        if self.slot()[1] == self.places - 1:
            self.weights_in.recv()


@implements(proc=ReadOut, protocol=LoihiProtocol)
@requires(CPU)
class BareReadOut(PyReadOut):
    def run_spk(self) -> None:
        self.x_in.recv()


MODELS = {
    Embedding: BareEmbedding,
    Stem: BareStem,
    MemoryRetention: BareMemoryRetention,
    WriteMode: BareWriteMode,
    ReadMode: BareReadMode,
    ReadOut: BareReadOut,
}


def bare(arrays: dict[str, np.ndarray], settings: dict[str, int]) -> dict[str, np.ndarray]:
    """Seconds a step of a network with the ports and processes of the classifier and nothing in them."""
    network = Classifier(rebuild(arrays), [np.ones((1, 1), np.int64)])
    seconds = simulate(network, settings["steps"], "fixed_pt", MODELS)
    network.stop()
    return {"seconds_per_step": np.array(seconds / settings["steps"])}
