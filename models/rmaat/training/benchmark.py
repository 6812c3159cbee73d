"""Tasks x models x seeds: one run a cell, restartable, and one table of them all."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, product
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console

from astro_sim.errors import InputError, refusal
from astro_sim.provenance import replacing
from rmaat.baselines import BASELINES
from rmaat.config import RMAATConfig
from rmaat.training.recipe import Recipe, load_recipe, parse_change

ABLATIONS: dict[str, dict[str, Any]] = {
    "no-retention": {"retention": "off"},
    "uniform-retention": {"retention": "uniform"},
    "random-retention": {"retention": "random"},
    "no-astrocyte": {"astrocytic": False},
    "alpha-1": {"presynaptic": "linear"},
    "no-presynaptic": {"presynaptic": "off"},
    "bptt": {"backprop": "bptt"},
    "streaming": {"streaming": True},
    "no-memory": {"memory_tokens": 0},
}
COLUMNS = ("task", "model", "accuracy", "std", "seeds", "parameters", "tokens_per_s", "peak_memory_mib", "minutes")


@dataclass(frozen=True)
class Cell:
    """One run of the table.

    Parameters
    ----------
    task : str
    model : str
        ``name[:field=value[;field=value]]``: a baseline, an ablation of RMAAT or floor, and fields of
        `RMAATConfig` or other entries of the recipe that are to be otherwise.
    seed : int
    """

    task: str
    model: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Where the run lies; `collect` reads the model from the folder's name."""
        name = quote(self.model.replace(":", ",", 1).replace(";", ","), safe="=,")
        return out / self.task / name / f"seed-{self.seed}"

    def recipe(self, config: str, changes: dict[str, Any]) -> Recipe:
        """The recipe ``<task>-<config>`` with what all cells share and what this one sets.

        Raises
        ------
        InputError
            If the model is unknown, or an entry is unknown, out of bounds or what makes the cell what it is.
        """
        name, _, settings = self.model.partition(":")
        if name not in (known := (*BASELINES, *ABLATIONS, "floor")):
            raise InputError("--models", name, f"one of {', '.join(known)}")
        for field, option in (("task", "--tasks"), ("kind", "--models"), ("seed", "--seeds")):
            if field in changes:
                raise InputError("--set", f"{field}={changes[field]}", f"another entry: {option} says which")
        ablation = ABLATIONS.get(name, {})
        own = {"task", "kind", "seed", *ablation, *BASELINES.get(name, {})}
        if BASELINES.get(name, {}).get("memory_tokens") == 0:
            own.add("segment_length")  # holds the whole sequence
        entries = changes | {f"model.{field}": value for field, value in ablation.items()}
        for text in settings.split(";") if settings else ():
            field, value = parse_change(text.removeprefix("model."), "--models")
            if field in own:
                raise InputError("--models", self.model, f"another field: {field} makes {name} what it is")
            entries[f"model.{field}" if field in RMAATConfig.model_fields else field] = value
        kind = "rmaat" if name in ABLATIONS else name
        return load_recipe(f"{self.task}-{config}", entries | {"kind": kind, "seed": self.seed})


def run_cells(cells: list[Cell], config: str, changes: dict[str, Any], out: Path, workers: int = 1) -> None:
    """Run the cells that have no result yet, each in a process of its own, whose peak memory is thus its own.

    Broken-off cells are continued from their newest state. Cells that run at the same time share the threads that
    one would have: those of PyTorch wait for each other in loops that keep a core, and more of them than cores hold
    each other up.

    Parameters
    ----------
    config : str
        Name of the recipes, ``<task>-<config>``.
    changes : dict
        Recipe entries that all cells share, by dotted name.
    workers : int
        Processes at the same time.

    Raises
    ------
    InputError
        If a recipe cannot be, a result in `out` is damaged, or one of these cells was made by another recipe.
    """
    collect(out)  # what is there must be whole
    recipes = {cell: cell.recipe(config, changes) for cell in cells}
    todo = [(cell, recipe, out, workers) for cell, recipe in recipes.items() if not _is_done(cell.folder(out), recipe)]
    processes = get_context("forkserver")  # whose server imports torch once for all cells
    processes.set_forkserver_preload(["rmaat.training.run"])
    pool = ProcessPoolExecutor(workers, processes, max_tasks_per_child=1)
    jobs, running = iter(todo), set[Future[None]]()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # which ends the table as Ctrl-C does
    try:  # no more cells are handed over than run, so that a cell that fails, or Ctrl-C, ends the table
        while running := running | {pool.submit(_run, *job) for job in islice(jobs, workers - len(running))}:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for cell in done:
                cell.result()
    except KeyboardInterrupt:
        me = psutil.Process()
        workers_left = set(me.children(recursive=True)) - set(me.children())  # the server's children
        _, unaware = psutil.wait_procs(workers_left, timeout=2)  # a terminal tells them, who kills one process does not
        for process in unaware:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)
        _, deaf = psutil.wait_procs(unaware, timeout=5)
        for process in deaf:  # an interrupt that meets a callback of Python's is lost; what is on disk is whole
            with suppress(psutil.NoSuchProcess):
                process.kill()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        pool.shutdown()


def _is_done(folder: Path, recipe: Recipe) -> bool:
    """Whether the cell in `folder` has a result; it must be of this recipe."""
    path = folder / "result.json"
    if not path.is_file():
        return False
    if _with_defaults(_read(path).recipe) != _with_defaults(recipe):
        raise InputError("--out", str(folder), "a folder without a finished run of another recipe")
    return True


class TestScore(BaseModel):
    """The score of a run."""

    accuracy: float = Field(ge=0, le=1)


class Result(BaseModel):
    """What the table takes from a cell's ``result.json``; a cell of floors has no model."""

    model_config = ConfigDict(allow_inf_nan=False)

    recipe: Recipe
    floors: dict[str, float]
    test: TestScore | None = None
    parameters: int = 0
    tokens_per_s: float = 0.0
    peak_memory_mib: float = 0.0
    seconds: float = 0.0


def _read(path: Path) -> Result:
    """A cell's result.json, which a person may have damaged."""
    try:
        return Result.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fault = refusal(error, Result)
        allowed = f"a whole result of a run ({fault}); remove it to run the cell again"
        raise InputError("--out", str(path), allowed) from None


def _with_defaults(recipe: Recipe) -> Recipe:
    """The recipe with every setting of the model: one that is left out is one at its default."""
    return recipe.model_copy(update={"model": RMAATConfig(**recipe.model).model_dump(mode="json")})


def _run(cell: Cell, recipe: Recipe, out: Path, workers: int) -> None:
    import torch

    from rmaat.training.run import train

    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a script runs in the background
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    if _is_done(cell.folder(out), recipe):  # by another table's process, meanwhile
        return
    Console().print(f"[bold]{cell.task} · {cell.model} · seed {cell.seed}")
    train(recipe, None, cell.folder(out), resume=True)


def _end_with(table: Any) -> None:
    """Interrupt this cell when the process of its table is gone, killed perhaps: it goes on with the next table."""
    table.join()
    signal.raise_signal(signal.SIGINT)


def collect(out: Path) -> list[dict[str, Any]]:
    """One row a task and model over its finished seeds, the trivial models of each task below them."""
    found: dict[tuple[str, str], list[Result]] = {}
    floors: dict[str, dict[str, dict[str, float]]] = {}  # of each task and seed
    for path in sorted(out.glob("*/*/seed-*/result.json")):
        result = _read(path)
        task, model = path.parts[-4], _model(path.parts[-3])
        for name, value in result.floors.items():
            floors.setdefault(task, {}).setdefault(name, {})[path.parts[-2]] = value
        if result.test is not None:
            found.setdefault((task, model), []).append(result)
    rows = [_row(task, model, results) for (task, model), results in found.items()]
    for task, known in floors.items():
        for name, values in known.items():
            rows.append({"task": task, "model": f"floor: {name}", **_spread(list(values.values()))})
    return sorted(rows, key=lambda row: (row["task"], -row["accuracy"]))


def _model(folder: str) -> str:
    """The cell's model, from its folder's name."""
    name, *settings = map(unquote, folder.split(","))
    return f"{name}:{';'.join(settings)}" if settings else name


def _row(task: str, model: str, results: list[Result]) -> dict[str, Any]:
    return {
        "task": task,
        "model": model,
        **_spread([result.test.accuracy for result in results if result.test]),
        "parameters": results[0].parameters,
        "tokens_per_s": np.mean([result.tokens_per_s for result in results]),
        "peak_memory_mib": max(result.peak_memory_mib for result in results),
        "minutes": np.mean([result.seconds for result in results]) / 60,
    }


def _spread(accuracies: list[float]) -> dict[str, Any]:
    std = np.std(accuracies, ddof=1) if len(accuracies) > 1 else float("nan")
    return {"accuracy": np.mean(accuracies), "std": std, "seeds": len(accuracies)}


def write_tables(rows: list[dict[str, Any]], out: Path) -> list[Path]:
    """Write ``table.md``, ``table.csv`` and ``table.tex``."""
    titles = ("task", "model", "accuracy (%)", "seeds", "parameters", "tokens/s", "peak MiB", "minutes")
    body = [_cells(row) for row in rows]
    markdown = [_line(titles), _line(["---"] * len(titles)), *map(_line, body)]
    latex = [r"\begin{tabular}{ll" + "r" * 6 + "}", r"\toprule", _latex(titles), r"\midrule"]
    latex += [*map(_latex, body), r"\bottomrule", r"\end{tabular}"]
    paths = [out / f"table.{kind}" for kind in ("md", "tex", "csv")]
    for path, lines in zip(paths, (markdown, latex), strict=False):
        with replacing(path) as room:
            room.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with replacing(paths[2]) as room, room.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return paths


def _cells(row: dict[str, Any]) -> list[str]:
    spread = "" if np.isnan(row["std"]) else f" ± {100 * row['std']:.1f}"
    cells = [row["task"], row["model"], f"{100 * row['accuracy']:.1f}{spread}", str(row["seeds"])]
    if "parameters" not in row:
        return [*cells, "", "", "", ""]
    numbers = (row["parameters"], row["tokens_per_s"], row["peak_memory_mib"])
    return [*cells, *(f"{number:,.0f}" for number in numbers), f"{row['minutes']:.1f}"]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _latex(cells: Iterable[str]) -> str:
    escaped = (cell.replace("%", r"\%").replace("_", r"\_").replace("±", r"$\pm$") for cell in cells)
    return " & ".join(escaped) + r" \\"


def grid(tasks: str, models: str, seeds: int) -> list[Cell]:
    """Cells of comma-separated tasks and models and the seeds 0 .. seeds - 1; each once."""
    return list(dict.fromkeys(Cell(*cell) for cell in product(tasks.split(","), models.split(","), range(seeds))))
