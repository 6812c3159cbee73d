"""What the process models of the classifier agree on: time steps, messages, saturation counts.

Time is cut into phases of N steps, N the places of a segment. In one phase a layer writes a segment while it still
reads the one before; in the next it reads what it has written, and the following layer writes. A segment's memory
leaves the last layer first and enters the first layer last, so the next segment starts while the last layer reads:
T segments take L·T + 1 phases for L layers, and one more where a stem holds each segment for a phase.

Messages are ``[mode, t, T, x_1 ... x_dim]``: mode 2 is a token or memory place, 1 a place that does not exist, 0 an
idle step; t is the segment and T the sequence's number of segments.
"""

from collections import Counter

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel

from rmaat_lava.arithmetic import Integers, Linear
from rmaat_lava.program import Program

HEADER = 3
IDLE, ABSENT, PRESENT = 0, 1, 2


class ProgramModel(PyLoihiProcessModel):
    """What the process models of the classifier share: schedule, exact integer synapses, count of saturated values."""

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self.program: Program = proc_params["program"]
        self.size, self.first = self.program.token_places, self.program.memory_tokens
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
