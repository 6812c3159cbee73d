"""Tasks x models x seeds: one run a cell, several at the same time, restartable."""

from __future__ import annotations

import signal
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, product
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
from rich.console import Console

from astro_sim.errors import InputError
from rmaat.baselines import BASELINES, own_fields
from rmaat.config import RMAATConfig
from rmaat.data.splits import source_folder
from rmaat.training.benchmark_table import collect, folder_name, read_result, refuse_other_recipe, with_defaults
from rmaat.training.folder import refuse_other_run
from rmaat.training.recipe import Recipe, load_recipe, parse_changes

ABLATIONS: dict[str, dict[str, Any]] = {
    "no-retention": {"retention": "off"},
    "uniform-retention": {"retention": "uniform"},
    "random-retention": {"retention": "random"},
    "no-astrocyte": {"astrocytic": False},
    "alpha-1": {"presynaptic": "linear", "alpha": None, "learn_alpha": False},
    "no-presynaptic": {"presynaptic": "off", "alpha": None, "learn_alpha": False},
    "bptt": {"backprop": "bptt"},
    "streaming": {"streaming": True},
    "no-memory": {"memory_tokens": 0},
}


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
        """Where the run lies."""
        return out / self.task / folder_name(self.model) / f"seed-{self.seed}"

    def recipe(self, config: str, changes: dict[str, Any]) -> Recipe:
        """The recipe ``<task>-<config>`` with what all cells share and what this one sets.

        Raises
        ------
        InputError
            If the model is unknown, or an entry is unknown, out of bounds or what makes the cell what it is.
        """
        name, colon, settings = self.model.partition(":")
        if name not in (known := (*BASELINES, *ABLATIONS, "floor")):
            raise InputError("--models", name, f"one of {', '.join(known)}")
        for field, option in (("task", "--tasks"), ("kind", "--models"), ("seed", "--seeds")):
            if field in changes:
                raise InputError("--set", f"{field}={changes[field]}", f"another entry: {option} says which")
        ablation = ABLATIONS.get(name, {})
        own = {"task", "kind", "seed", *ablation, *own_fields(name)}
        entries = changes | {f"model.{field}": value for field, value in ablation.items()}
        texts = (text.removeprefix("model.") for text in settings.split(";")) if colon else ()
        for field, value in parse_changes(texts, option="--models").items():
            if field in own:
                raise InputError("--models", self.model, f"another field: {field} makes {name} what it is")
            if field not in RMAATConfig.model_fields and field.partition(".")[0] not in Recipe.model_fields:
                fields = ", ".join(name for name in RMAATConfig.model_fields if name not in own)
                raise InputError("--models", self.model, f"an entry of the recipe, or a field of the model: {fields}")
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
        If a recipe cannot be, data are missing, a result in `out` is damaged, or a seed of one of these models was
        run by another recipe; and if a cell is killed.
    """
    collect(out)  # what is there must be whole
    recipes = {cell: cell.recipe(config, changes) for cell in cells}
    for cell, recipe in recipes.items():
        seeds = cell.folder(out).parent
        for path in sorted(seeds.glob("seed-*/result.json")):
            refuse_other_recipe(seeds, read_result(path).recipe, with_defaults(recipe))
        refuse_other_run(cell.folder(out), recipe)
    for cell, recipe in recipes.items():
        if not _is_done(cell, out):
            source_folder(cell.task, recipe.data)
    todo = [(cell, recipe, out, workers) for cell, recipe in recipes.items() if not _is_done(cell, out)]
    processes = get_context("forkserver")  # whose server imports torch once for all cells
    processes.set_forkserver_preload(["rmaat.training.run"])
    pool = ProcessPoolExecutor(workers, processes, max_tasks_per_child=1)
    jobs, running = iter(todo), set[Future[None]]()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # which ends the table as Ctrl-C does
    try:  # no more cells are handed over than run, so that a cell that fails, or Ctrl-C, ends the table
        while running := running | {pool.submit(_run, *job) for job in islice(jobs, workers - len(running))}:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for ended in done:
                ended.result()
    except BrokenProcessPool:
        allowed = "processes that are left to end: one was killed, for want of memory perhaps; the same command goes on"
        raise InputError("--workers", workers, allowed) from None
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


def _is_done(cell: Cell, out: Path) -> bool:
    return (cell.folder(out) / "result.json").is_file()


def _run(cell: Cell, recipe: Recipe, out: Path, workers: int) -> None:
    import torch

    from rmaat.training.run import train

    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a script runs in the background
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    if _is_done(cell, out):  # by another table's process, meanwhile
        return
    Console().print(f"[bold]{cell.task} · {cell.model} · seed {cell.seed}")
    train(recipe, None, cell.folder(out), resume=True)


def _end_with(table: Any) -> None:
    """Interrupt this cell when the process of its table is gone, killed perhaps: it goes on with the next table."""
    table.join()
    signal.raise_signal(signal.SIGINT)


def grid(tasks: str, models: str, seeds: int) -> list[Cell]:
    """Cells of comma-separated tasks and models and the seeds 0 .. seeds - 1; each once."""
    return list(dict.fromkeys(Cell(*cell) for cell in product(tasks.split(","), models.split(","), range(seeds))))
