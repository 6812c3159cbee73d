"""Synapses that Lava's learning engine writes, and the post-neurons that send it φ(k) and the astrocyte's φ(R)."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.learning.constants import GradedSpikeCfg
from lava.magma.core.learning.learning_rule import Loihi3FLearningRule
from lava.magma.core.model.py.neuron import LearningNeuronModel, LearningNeuronModelFixed, LearningNeuronModelFloat
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.neuron import LearningNeuronProcess
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.process import LearningDense
from lava.utils.weightutils import SignMode

from rmaat_lava.plasticity import RULE, SEED, TRACE_LIMIT, TRACE_TAU


class Features(LearningNeuronProcess, AbstractProcess):
    """Post-neurons of the write mode: `a_in` is φ(k), `a_third_factor_in` the astrocyte's φ(R), a value each a step."""

    def __init__(self, shape: tuple[int, ...], learning_rule: Loihi3FLearningRule, **kwargs: object) -> None:
        super().__init__(shape, learning_rule, **kwargs)
        self.a_in = InPort(shape=shape)


def hebbian_synapses(features: int, values: int) -> LearningDense:
    """Synapses from values to features, all 0 before the first write."""
    rule = Loihi3FLearningRule(dw=RULE, x1_tau=TRACE_TAU, rng_seed=SEED)
    synapses = LearningDense(
        weights=np.zeros((features, values)),
        learning_rule=rule,
        graded_spike_cfg=GradedSpikeCfg.OVERWRITE,
        num_message_bits=8,
        sign_mode=SignMode.EXCITATORY,
        name="hebbian",
    )
    synapses.learning_rule = rule
    return synapses


def _send(model: LearningNeuronModel, key: np.ndarray, third: np.ndarray) -> None:
    """y1 is φ(k), y2 is φ(R); no spike goes back and y3 is not used."""
    model.y1[:], model.y2[:] = key, third
    model.s_out_bap.send(np.zeros(model.y1.shape, bool))
    model.s_out_y1.send(model.y1)
    model.s_out_y2.send(model.y2)
    model.s_out_y3.send(model.y3)


@implements(proc=Features, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyFeaturesFloat(LearningNeuronModelFloat):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)

    def run_spk(self) -> None:
        _send(self, self.a_in.recv(), self.a_third_factor_in.recv())


@implements(proc=Features, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFeaturesFixed(LearningNeuronModelFixed):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        _send(self, *(np.clip(port.recv(), 0, TRACE_LIMIT) for port in (self.a_in, self.a_third_factor_in)))
