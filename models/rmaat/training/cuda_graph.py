"""Forward and backward pass as a CUDA graph: recorded once for each shape of batch, then launched as one.

A small model keeps a GPU waiting: each of the thousands of kernels of a step takes the processor longer to launch
than the GPU to run. A graph launches them all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

from astro_sim.errors import InputError
from rmaat.baselines import own_fields
from rmaat.config import RMAATConfig
from rmaat.training.batches import Batch
from rmaat.training.evaluation import Score
from rmaat.training.recipe import Recipe

WIDTHS = 128  # sequences are padded to a multiple of so many tokens, so that few graphs serve all lengths
WARM_UP = 3  # passes before the recording, in which libraries set themselves up


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    batch: Batch
    score: Score
    gradients: list[Tensor | None]


def refuse_what_no_graph_holds(recipe: Recipe, fabric: Fabric) -> None:
    """Raise InputError if `recipe` asks for CUDA graphs of what cannot be recorded.

    AMRB and masked modelling read from the GPU while they run, uniform and random retention make their factors on the
    CPU. Floors train nothing.
    """
    if not recipe.optimisation.cuda_graph or recipe.kind == "floor":
        return
    if fabric.device.type != "cuda" or dist.is_initialized():
        allowed = "false (--set optimisation.cuda_graph=false) unless one process trains on one CUDA GPU"
        raise InputError("optimisation.cuda_graph", True, allowed)
    if recipe.optimisation.accumulate > 1:
        raise InputError("optimisation.accumulate", recipe.optimisation.accumulate, "1, with cuda_graph")
    if recipe.objective == "masked":
        raise InputError("optimisation.cuda_graph", True, "false, for masked modelling")
    own = {field: value for field, value in own_fields(recipe.kind).items() if field != "segment_length"}
    config = RMAATConfig(**recipe.model | own)
    if config.backprop != "bptt":
        raise InputError("model.backprop", config.backprop, "'bptt', with cuda_graph: the gradients are the same")
    if config.retention in ("uniform", "random"):
        raise InputError("model.retention", config.retention, "'fitted' or 'off', with cuda_graph")


class RecordedPass:
    """Calls `run`, which scores a batch and leaves its gradients, by replaying what it did the first time.

    The score and the gradients are overwritten by the next call: all recordings take their memory from one pool, which
    is safe as long as one is done with before the next is launched.

    Parameters
    ----------
    run : callable
        From ids (batch, ..., longest), lengths and labels to a `Score`; it must not wait for the GPU, and adds to the
        gradients of `parameters`.
    parameters : sequence of nn.Parameter
    """

    def __init__(self, run: Callable[[Tensor, Tensor, Tensor], Score], parameters: Sequence[nn.Parameter]) -> None:
        self._run, self._parameters = run, parameters
        self._recordings: dict[torch.Size, _Recording] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, ids: Tensor, lengths: Tensor, labels: Tensor) -> Score:
        """Score one batch; `parameter.grad` holds the gradients afterwards."""
        batch = F.pad(ids, (0, -ids.shape[-1] % WIDTHS)), lengths, labels
        if (shape := batch[0].shape) not in self._recordings:
            self._recordings[shape] = self._record(batch)
        recording = self._recordings[shape]
        for place, values in zip(recording.batch, batch, strict=True):
            place.copy_(values)
        recording.graph.replay()
        for parameter, gradient in zip(self._parameters, recording.gradients, strict=True):
            parameter.grad = gradient
        return recording.score

    def _record(self, batch: Batch) -> _Recording:
        first, second, third = (tensor.clone() for tensor in batch)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._run(first, second, third)
        torch.cuda.current_stream().wait_stream(side)
        self._forget()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            score = self._run(first, second, third)
        return _Recording(graph, (first, second, third), score, [p.grad for p in self._parameters])

    def _forget(self) -> None:
        """Drop the gradients, so that the recording makes its own and each replay writes them afresh."""
        for parameter in self._parameters:
            parameter.grad = None
