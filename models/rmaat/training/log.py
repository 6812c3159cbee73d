"""What a run says while it trains: a CSV of the curves, TensorBoard where installed, peak memory."""

from __future__ import annotations

import csv
import resource
import sys
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from astro_sim.errors import InputError
from astro_sim.provenance import replacing

COLUMNS = (
    "step",
    "split",
    "loss",
    "accuracy",
    "learning_rate",
    "tokens_per_s",
    "elapsed_s",
    "peak_memory_mib",
)


class CurveLog:
    """Rows of :data:`COLUMNS` in ``metrics.csv``; a resumed run drops the rows after its state, of TensorBoard too."""

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "metrics.csv"
        kept = (
            [row for row in read_curves(self.path) if int(row["step"]) <= step] if self.path.is_file() and step else []
        )
        with replacing(self.path) as room, room.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        self.board = None
        if find_spec("tensorboard") or find_spec("tensorboardX"):
            from lightning.fabric.loggers import TensorBoardLogger

            self.board = TensorBoardLogger(folder, name="tensorboard", version="", purge_step=step + 1)

    def write(self, step: int, split: str, **values: float) -> None:
        """Append one row."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow({"step": step, "split": split, **values})
        if self.board:
            self.board.log_metrics({f"{split}/{name}": value for name, value in values.items()}, step)


def read_curves(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``metrics.csv``; one cut short by a killed run, or damaged otherwise, is left out.

    Raises
    ------
    InputError
        If the file is none of curves.
    """
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file)
        if (columns := tuple(reader.fieldnames or ())) != COLUMNS:
            raise InputError(str(path), ",".join(columns), f"a table of the columns {','.join(COLUMNS)}")
        return [row for row in reader if _is_whole(row)]


def _is_whole(row: dict[str, Any]) -> bool:
    try:
        numbers = float(row["loss"]), float(row["accuracy"]), float(row["elapsed_s"])
        return all(map(isfinite, numbers)) and int(row["step"]) >= 0 and row["split"] in ("train", "validation")
    except (TypeError, ValueError):
        return False


def peak_memory_mib() -> float:
    """Largest memory so far in MiB: of the GPU's tensors if there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
