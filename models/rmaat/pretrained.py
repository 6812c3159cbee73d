"""Checkpoints: a folder of `model.safetensors` and `config.json`, never a pickle."""

import json
from pathlib import Path
from typing import Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from astro_sim.errors import InputError
from astro_sim.provenance import replacing
from rmaat.config import RMAATConfig

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Pretrained(nn.Module):
    """Saving and loading of a module that is made from an `RMAATConfig`."""

    config: RMAATConfig

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights and configuration, bio-parameters included, to a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        with replacing(folder / WEIGHTS) as room:
            save_file(tensors, room)
        with replacing(folder / CONFIG) as room:
            room.write_text(json.dumps(self.config.model_dump(mode="json"), indent=2), encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read a model that `save_pretrained` wrote.

        Raises
        ------
        InputError
            If a file is missing or broken, or the weights are not those of the configuration.
        """
        folder = Path(folder)
        model = cls(read_config(folder))
        try:
            tensors = load_file(folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise InputError("checkpoint", str(folder / WEIGHTS), f"a safetensors file ({error})") from None
        own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        for name in sorted(own.keys() | given.keys()):
            if own.get(name) != given.get(name):
                raise InputError(
                    f"checkpoint {folder}: {name}",
                    given.get(name, "nothing"),
                    f"shape {own.get(name, 'none')}",
                )
        model.load_state_dict(tensors)
        return model


def read_config(folder: Path) -> RMAATConfig:
    """The configuration of a checkpoint folder."""
    path = folder / CONFIG
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("checkpoint", str(path), f"a JSON file ({error})") from None
    if not isinstance(fields, dict):
        raise InputError("checkpoint", str(path), "a JSON object")
    return RMAATConfig(**fields)
