"""Training states on disk that a killed run continues from, bit for bit.

A state is a folder ``step-<n>`` of safetensors and JSON (never a pickle), written to the side and renamed,
so that it is whole or absent. The newest two are kept; a broken one is skipped with a warning.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch
from pydantic import BaseModel, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchmetrics import Metric

from astro_sim.provenance import file_sha256, replacing
from rmaat.pretrained import check_tensors, shapes

KEPT = 2
TENSORS = "state.safetensors"
log = logging.getLogger(__name__)


class TrainingProgress(BaseModel):
    """Where a run stands: its step, best validation accuracy, seconds, tokens seen, peak memory, checksum."""

    step: int = Field(ge=1)
    best: float = Field(ge=-1, le=1)  # -1 before the first validation
    elapsed: float = Field(ge=0, allow_inf_nan=False)
    validating: float = Field(0.0, ge=0, allow_inf_nan=False)  # of the seconds in `elapsed`
    tokens_seen: int = Field(ge=0)
    sha256: str = ""  # of the tensors beside it
    peak_memory_mib: float = Field(0.0, ge=0, allow_inf_nan=False)


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
        Model, moving average if there is one, and the sums of the row of the curves that is under way.
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
            room / TENSORS,
        )
        noted = progress.model_copy(update={"sha256": file_sha256(room / TENSORS)})
        (room / "progress.json").write_text(noted.model_dump_json(), encoding="utf-8")
    done = sorted(path for path in folder.glob("step-*") if path.name <= f"step-{progress.step:08d}")
    for old in done[:-KEPT]:  # of later steps there are only ones that could not be read
        shutil.rmtree(old)


def load_state(
    folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer, last_step: int
) -> tuple[TrainingProgress, dict[str, Tensor]] | None:
    """Load the newest whole state into `modules` and `optimizer`; None, and nothing loaded, where there is none.

    Parameters
    ----------
    folder : path
        Holds the states, ``step-*``.
    last_step : int
        No state of this run is of a later step.

    Returns
    -------
    progress : TrainingProgress
    random : dict of name to tensor
    """
    slots = dict(enumerate(tuple(p.shape) for group in optimizer.param_groups for p in group["params"]))
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            progress = TrainingProgress.model_validate_json((path / "progress.json").read_bytes())
            if progress.step > last_step or path.name != f"step-{progress.step:08d}":
                raise ValueError(f"progress.json says step {progress.step}")
            if progress.sha256 != file_sha256(path / TENSORS):
                raise ValueError(f"{TENSORS} is not the file that was written")
            tensors = load_file(path / TENSORS)
            there = {  # a state of before rows of the curves were kept has no sums of one
                name: module
                for name, module in modules.items()
                if _under(tensors, name) or not isinstance(module, Metric)
            }
            for name, module in there.items():
                check_tensors(_under(tensors, name), shapes(module), name)
            state: dict[int, dict[str, Tensor]] = {index: {} for index in slots}
            for name, tensor in _under(tensors, "optimizer").items():
                number, slot = name.split("/")
                state[int(number)][slot] = tensor
            for index in filter(state.get, slots):  # what has had no gradient yet has nothing there
                moments = {"step": (), "exp_avg": slots[index], "exp_avg_sq": slots[index]}
                check_tensors(state[index], moments, f"optimizer/{index}")
            if not any(state.values()):
                raise ValueError("nothing of the optimiser")
            random = _under(tensors, "random")
            torch.Generator().set_state(random["cpu"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            log.warning("skipping the broken training state %s: %s", path, str(error).splitlines()[0])
            continue
        for name, module in there.items():
            module.load_state_dict(_under(tensors, name))
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
        return progress, random
    return None


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}
