"""Astrocytic memory replay backpropagation (AMRB): exact gradients at one segment's memory."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import get_device_states, set_device_states

Segment = tuple[Tensor | None, ...]
Step = Callable[..., tuple[Tensor, Tensor]]


def recur(
    step: Step,
    memory: Tensor,
    segments: Sequence[Segment],
    shared: Sequence[Tensor | None] = (),
    parameters: Sequence[Tensor] = (),
    every_k: int | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Run ``memory, output_t = step(memory, *segment_t, *shared)`` over the segments.

    Under AMRB the forward pass keeps the memory that enters each group of `every_k` segments and nothing
    else. The backward pass walks the groups from the last to the first: it takes the kept memory, runs the
    group again with gradients, the random numbers of the first run included, and hands the gradient on to
    the memory before. The last group is not run twice. The result is the gradient of plain backpropagation
    through time, which has no further derivatives. Per-segment outputs may enter the loss.

    It is gradient checkpointing at the places where the state is small, as in Memformer's memory replay
    (arXiv 2010.06891); RMAAT (arXiv 2601.00426) calls it AMRB.

    Parameters
    ----------
    step : callable
        Maps a memory, the tensors of one segment and the shared tensors to (next memory, output).
    memory : Tensor
        The first memory, usually (batch, memory_tokens, dim).
    segments : sequence of tuples of Tensor or None
        What each step reads; every tuple of the same length.
    shared : sequence of Tensor or None
        What all steps read, computed outside; gradients reach it.
    parameters : sequence of Tensor
        Leaves that `step` uses besides; gradients reach those and no others. One that is named twice (a tied
        weight) gets its gradient once.
    every_k : int, optional
        Segments a group; None keeps every activation (plain BPTT).

    Returns
    -------
    memory : Tensor
        The memory after the last segment.
    outputs : list of Tensor
        One a segment.
    """
    outputs: list[Tensor] = []
    group = len(segments) if every_k is None or not torch.is_grad_enabled() else every_k
    parameters = list(dict.fromkeys(parameter for parameter in parameters if parameter.requires_grad))
    for start in range(0, len(segments), group):
        some = segments[start : start + group]
        run = _Group(step, len(some), len(some[0]), 1 + len(some) * len(some[0]) + len(shared))
        inputs = (memory, *(tensor for segment in some for tensor in segment), *shared)
        last = start + group >= len(segments)
        memory, *new = run(*inputs) if last else _Replay.apply(run, *inputs, *parameters)
        outputs.extend(new)
    return memory, outputs


class _Group:
    """Some consecutive segments as one function of a flat list of tensors."""

    def __init__(self, step: Step, segments: int, width: int, inputs: int) -> None:
        self.step, self.segments, self.width, self.inputs = step, segments, width, inputs

    def __call__(self, *inputs: Any) -> tuple[Tensor, ...]:
        memory, *tensors = inputs
        flat, shared = tensors[: self.segments * self.width], tensors[self.segments * self.width :]
        outputs: list[Tensor] = []
        for start in range(0, len(flat), self.width):
            memory, output = self.step(memory, *flat[start : start + self.width], *shared)
            outputs.append(output)
        return memory, *outputs


class _Replay(torch.autograd.Function):
    """A group whose activations are not kept but made again when its gradient is asked for."""

    @staticmethod
    def forward(ctx: Any, run: _Group, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        device = tensors[0].device.type  # type: ignore[union-attr]
        ctx.run = run
        ctx.autocast = {
            "device_type": device,
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
            "cache_enabled": False,  # a cast made without gradients must not serve a run with them
        }
        ctx.cpu_state = torch.get_rng_state()
        ctx.devices, ctx.states = get_device_states(*tensors)
        ctx.save_for_backward(*tensors)
        with torch.autocast(**ctx.autocast):
            return run(*tensors[: run.inputs])

    @staticmethod
    @once_differentiable  # the replay leaves no graph behind
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        kept, wanted = ctx.saved_tensors, ctx.needs_input_grad[1:]
        inputs, parameters = kept[: ctx.run.inputs], kept[ctx.run.inputs :]
        inputs = [
            tensor if tensor is None else tensor.detach().requires_grad_(want)
            for tensor, want in zip(inputs, wanted, strict=False)
        ]
        with (
            torch.random.fork_rng(ctx.devices),
            torch.enable_grad(),
            torch.autocast(**ctx.autocast),
        ):
            torch.set_rng_state(ctx.cpu_state)
            set_device_states(ctx.devices, ctx.states)
            outputs = ctx.run(*inputs)
        # of a memory that depends on nothing trained a gradient of zeros arrives too
        arrived = [(y, dy) for y, dy in zip(outputs, gradients, strict=True) if dy is not None and y.requires_grad]
        leaves = [*inputs, *parameters]
        found = iter(
            torch.autograd.grad(
                [y for y, _ in arrived],
                [leaf for leaf, want in zip(leaves, wanted, strict=True) if want],
                [dy for _, dy in arrived],
                allow_unused=True,
            )
        )
        return None, *(next(found) if want else None for want in wanted)
