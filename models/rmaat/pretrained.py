"""Checkpoints: a folder of `model.safetensors` and `config.json`, never a pickle; or a hub repository of them."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from astro_sim.errors import InputError
from astro_sim.provenance import replacing, write_json
from rmaat.config import RMAATConfig

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Pretrained(nn.Module, PyTorchModelHubMixin):
    """Saving and loading of a module that is made from an `RMAATConfig`; `push_to_hub` is Hugging Face's."""

    config: RMAATConfig

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> None:
        """Write weights and configuration, bio-parameters included, to a folder.

        A tied weight is written under each of its names.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in self.state_dict().items()
        }
        with replacing(folder / WEIGHTS) as room:
            save_file(tensors, room)
        write_json(folder / CONFIG, self.config.model_dump(mode="json"))

    @classmethod
    def from_pretrained(cls, folder: str | Path, **hub: Any) -> Self:  # type: ignore[override]
        """Read a model that `save_pretrained` wrote.

        Parameters
        ----------
        folder : str or path
            A folder; where there is none, the name of a hub repository (``"owner/name"``).
        **hub
            `revision`, `token` and whatever else `huggingface_hub.snapshot_download` takes.

        Raises
        ------
        InputError
            If a file is missing or broken, or the weights are not those of the configuration or not finite.
        """
        path = _local(str(folder), hub)
        config = read_config(path)
        with _faults_in(path / CONFIG):
            model = cls(config)
        try:
            tensors = load_file(path / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise InputError("checkpoint", str(path / WEIGHTS), f"a safetensors file ({error})") from None
        check_tensors(tensors, shapes(model), f"checkpoint {path}")
        model.load_state_dict(tensors)
        return model


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a module's state, by name."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def check_tensors(tensors: dict[str, Tensor], wanted: dict[str, tuple[int, ...]], where: str) -> None:
    """InputError unless there is a tensor of each shape `wanted`, and no other, of floats that float32 holds.

    One of no dimensions may be a whole number: a counter.
    """
    for name in sorted(wanted.keys() | tensors.keys()):
        given = tuple(tensors[name].shape) if name in tensors else "nothing"
        if given != wanted.get(name):
            raise InputError(f"{where}: {name}", given, f"shape {wanted.get(name, 'none')}")
        if given and tensors[name].dtype not in FLOATS:
            raise InputError(f"{where}: {name}", str(tensors[name].dtype), "floats of 16, 32 or 64 bits")
        if not tensors[name].float().isfinite().all():
            raise InputError(f"{where}: {name}", "values that are not finite", "finite ones")


def read_config(folder: Path) -> RMAATConfig:
    """The configuration of a checkpoint folder.

    Raises
    ------
    InputError
        If its file is missing or damaged, or a field of it cannot be.
    """
    path = folder / CONFIG
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("checkpoint", str(path), f"a JSON file ({error})") from None
    if not isinstance(fields, dict):
        raise InputError("checkpoint", str(path), "a JSON object")
    with _faults_in(path):
        return RMAATConfig(**fields)


@contextmanager
def _faults_in(path: Path) -> Iterator[None]:
    """Name the file at `path` in an InputError of the block."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error.field}", error.value, error.allowed) from None


def _local(name: str, hub: dict[str, Any]) -> Path:
    """The folder itself, or a copy of the hub repository of that name."""
    if Path(name).exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=[WEIGHTS, CONFIG], **hub))
    except (HfHubHTTPError, OSError, ValueError):
        raise InputError("checkpoint", name, "a folder or a hub repository that can be reached") from None
