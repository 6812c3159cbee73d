"""Peak memory of the tensors that a piece of code makes, exact and independent of the allocator."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rmaat.config import RMAATConfig
from rmaat.heads import RMAATForSequenceClassification


class PeakMemory(TorchDispatchMode):
    """Count the bytes of every tensor storage made inside the ``with`` block while it is alive.

    What existed before (parameters, inputs) is not counted; what is saved for the backward pass, gradients
    and temporaries is. Works on any device, and does not see what an operator allocates and frees inside.

    Attributes
    ----------
    live, peak : int
        Bytes alive now, and the most that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._watched: dict[int, Any] = {}

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        known = {self._key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and self._key(leaf) not in known:
                self._watch(leaf.untyped_storage())
        return result

    @staticmethod
    def _key(tensor: torch.Tensor) -> int:
        return tensor.untyped_storage()._cdata

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._watched:
            return
        self.live += size
        self.peak = max(self.peak, self.live)

        def freed(_: Any) -> None:
            self.live -= size
            del self._watched[key]

        self._watched[key] = weakref.ref(storage, freed)


def training_step_peak(config: RMAATConfig, n_segments: int, batch: int, seed: int = 0) -> int:
    """Peak bytes of forward and backward of one classification step on random tokens.

    Parameters
    ----------
    config : RMAATConfig
        The model; `config.backprop` decides between AMRB and BPTT.
    n_segments, batch : int
        Sequences of ``n_segments * config.segment_length`` tokens.
    seed : int
        Of weights and tokens.
    """
    torch.manual_seed(seed)
    model = RMAATForSequenceClassification(config)
    inputs = torch.randint(1, config.vocab_size, (batch, n_segments * config.segment_length))
    labels = torch.randint(config.num_labels, (batch,))
    with PeakMemory() as memory:
        model(inputs, labels=labels).loss.backward()
    return memory.peak


def backprop_memory(config: RMAATConfig, segments: Sequence[int], batch: int, seed: int = 0) -> dict[str, list[int]]:
    """Peak bytes of a training step under AMRB and under BPTT for each number of segments."""
    return {
        backprop: [
            training_step_peak(config.model_copy(update={"backprop": backprop}), n, batch, seed) for n in segments
        ]
        for backprop in ("amrb", "bptt")
    }
