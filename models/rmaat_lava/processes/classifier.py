"""The deployed classifier as one hierarchical Lava process, one token a time step; see `rmaat_lava.messages`."""

from lava.magma.core.decorator import implements, tag
from lava.magma.core.model.sub.model import AbstractSubProcessModel
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from rmaat_lava.messages import HEADER
from rmaat_lava.processes.embedding import Embedding, MemoryRetention
from rmaat_lava.processes.layer import ReadMode, WriteMode
from rmaat_lava.processes.readout import ReadOut
from rmaat_lava.processes.stem import Stem
from rmaat_lava.program import Program


class AstromorphicLayer(AbstractProcess):
    """One layer: a `WriteMode` and a `ReadMode` that get the same tokens.

    Attributes
    ----------
    weights, activity, attended, features, write_saturated, read_saturated : Var
        States of the two.
    """

    def __init__(self, program: Program, layer: int, **kwargs: object) -> None:
        super().__init__(program=program, layer=layer, **kwargs)
        shape = (HEADER + program.dim,)
        self.x_in, self.x_out = InPort(shape=shape), OutPort(shape=shape)
        for name, dimensions in layer_states(program).items():
            setattr(self, name, Var(shape=dimensions, init=0))


def layer_states(program: Program) -> dict[str, tuple[int, ...]]:
    """Shapes of the states of a layer, by name."""
    heads, width = program.heads, program.head_dim
    return {
        "weights": (heads, width, width),
        "activity": (heads, width),
        "attended": (program.dim,),
        "features": (program.dim,),
        "write_saturated": (1,),
        "read_saturated": (1,),
    }


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
        for part, names in ((self.write, ("weights", "activity")), (self.read, ("attended", "features"))):
            for name in names:
                getattr(process.vars, name).alias(getattr(part.vars, name))
        process.vars.write_saturated.alias(self.write.vars.saturated)
        process.vars.read_saturated.alias(self.read.vars.saturated)


class Classifier(AbstractProcess):
    """Embedding (-> stem) -> memory retention -> layers -> read-out, the last layer feeding back to the retention.

    After compilation its parts are `classifier.procs.embedding`, `.stem` where the model has convolutions,
    `.retention`, `.layer_0` (with `.write` and `.read` below it), ..., `.readout`.

    Parameters
    ----------
    program : Program
    inputs : list of int64 arrays
        Rows that the tokens activate (length, active) or feature messages (length, features), one a sequence; the
        documents of a pair are neighbours.

    Attributes
    ----------
    memory, pool, kept, logits, layer_0_weights, layer_0_activity, ..., embedding_features, stem_features : Var
        Every state of every part; any of them can be probed with a Lava Monitor.
    """

    def __init__(self, program: Program, inputs: list, **kwargs: object) -> None:
        super().__init__(program=program, inputs=inputs, **kwargs)
        for name, shape in _states(program, len(inputs)).items():
            setattr(self, name, Var(shape=shape, init=0))

    def probes(self) -> dict[str, Var]:
        """Every state of the dynamics, by the name that `rmaat_lava.trace.trace` has for it."""
        named = {
            "embedding.features": self.vars.embedding_features,
            "retention.memory": self.vars.memory,
            "readout.pool": self.vars.pool,
        }
        for i in range(len(self.proc_params["program"].layers)):
            for name in ("weights", "activity", "attended", "features"):
                named[f"layers.{i}.{name}"] = getattr(self.vars, f"layer_{i}_{name}")
        if self.proc_params["program"].stem:
            named["stem.features"] = self.vars.stem_features
        if self.proc_params["program"].documents == 2:
            named["readout.kept"] = self.vars.kept
        return named

    def saturated(self) -> int:
        """Values that had to be cut to 24 bits, in all parts."""
        return int(sum(var.get()[0] for var in self.vars if var.name.endswith("saturated")))


def _states(program: Program, sequences: int) -> dict[str, tuple[int, ...]]:
    layers = {
        f"layer_{i}_{name}": shape for i in range(len(program.layers)) for name, shape in layer_states(program).items()
    }
    stem = {"stem_features": (program.dim,), "stem_saturated": (1,)} if program.stem else {}
    return (
        layers
        | stem
        | {
            "memory": (max(program.memory_tokens, 1), program.dim),
            "pool": (program.trace_width,),
            "kept": (program.trace_width,),
            "logits": (sequences // program.documents, program.labels),
            "embedding_features": (program.dim,),
            "embedding_saturated": (1,),
            "retention_saturated": (1,),
            "readout_saturated": (1,),
        }
    )


@implements(proc=Classifier, protocol=LoihiProtocol)
@tag("fixed_pt")
class SubClassifier(AbstractSubProcessModel):
    """Wires the parts of the classifier."""

    def __init__(self, process: AbstractProcess) -> None:
        program, inputs = process.proc_params["program"], process.proc_params["inputs"]
        self.embedding = Embedding(program, inputs, name="embedding")
        self.retention = MemoryRetention(program, name="retention")
        self.readout = ReadOut(program, len(inputs), name="readout")
        if program.stem:
            self.stem = Stem(program, name="stem")
            self.embedding.x_out.connect(self.stem.x_in)
            self.stem.x_out.connect(self.retention.token_in)
            process.vars.stem_features.alias(self.stem.vars.features)
            process.vars.stem_saturated.alias(self.stem.vars.saturated)
        else:
            self.embedding.x_out.connect(self.retention.token_in)
        source = self.retention.x_out
        for i in range(len(program.layers)):
            layer = AstromorphicLayer(program, i, name=f"layers.{i}")
            setattr(self, f"layer_{i}", layer)
            source.connect(layer.x_in)
            source = layer.x_out
            for name in layer_states(program):
                getattr(process.vars, f"layer_{i}_{name}").alias(getattr(layer.vars, name))
        source.connect(self.retention.memory_in)
        source.connect(self.readout.x_in)
        process.vars.embedding_features.alias(self.embedding.vars.features)
        process.vars.memory.alias(self.retention.vars.memory)
        for name in ("pool", "kept", "logits"):
            getattr(process.vars, name).alias(getattr(self.readout.vars, name))
        for part in ("embedding", "retention", "readout"):
            getattr(process.vars, f"{part}_saturated").alias(getattr(self, part).vars.saturated)
