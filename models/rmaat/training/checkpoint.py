"""Training states on disk that a killed run continues from, bit for bit.

A state is a folder ``step-<n>`` of safetensors and JSON (never a pickle), written to the side and renamed,
so that it is whole or absent. The newest two are kept; a broken one is skipped with a warning.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from astro_sim.provenance import replacing

KEPT = 2
log = logging.getLogger(__name__)


class TrainingProgress(BaseModel):
    """Where a run stands: its step, its best validation accuracy, seconds of training and tokens seen."""

    step: int
    best: float
    elapsed: float
    tokens_seen: int


def save_state(
    folder: Path,
    progress: TrainingProgress,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    random: dict[str, Tensor],
) -> None:
    """Write everything that the rest of the run depends on.

    Parameters
    ----------
    folder : path
        Holds the ``step-<n>`` folders.
    progress : TrainingProgress
    modules : dict of name to module
        Model and, if there is one, the moving average.
    random : dict of name to tensor
        States of the random generators.
    """
    tensors = {f"{name}/{key}": value for name, m in modules.items() for key, value in m.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in slots.items()}
    tensors |= {f"random/{name}": value for name, value in random.items()}
    with replacing(folder / f"step-{progress.step:08d}") as room:
        room.mkdir()
        save_file(
            {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()},
            room / "state.safetensors",
        )
        (room / "progress.json").write_text(progress.model_dump_json(), encoding="utf-8")
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)


def load_state(
    folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer
) -> tuple[TrainingProgress, dict[str, Tensor]] | None:
    """Load the newest whole state into `modules` and `optimizer`; None where there is none.

    Returns
    -------
    progress : TrainingProgress
    random : dict of name to tensor
    """
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            progress = TrainingProgress.model_validate_json((path / "progress.json").read_bytes())
            tensors = load_file(path / "state.safetensors")
            for name, module in modules.items():
                module.load_state_dict(_under(tensors, name))
            state = optimizer.state_dict()
            state["state"] = {}
            for name, tensor in _under(tensors, "optimizer").items():
                index, slot = name.split("/")
                state["state"].setdefault(int(index), {})[slot] = tensor
            optimizer.load_state_dict(state)
            return progress, _under(tensors, "random")
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            log.warning("skipping the broken training state %s: %s", path, str(error).splitlines()[0])
    return None


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}
