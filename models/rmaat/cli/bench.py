"""`rmaat bench`: models side by side."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from rmaat.cli.options import out_folder, refuse_foreign

app = typer.Typer(help="Models side by side, in one table.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def lra(
    tasks: Annotated[str, typer.Option("--tasks", help="Comma-separated.")] = "listops,text,image,pathfinder",
    models: Annotated[
        str,
        typer.Option(
            "--models",
            help="Comma-separated: baselines, ablations (no-retention, …), floor; with settings of their own as in "
            "rmaat:segment_length=64;retention=random.",
        ),
    ] = "rmaat,transformer,linear,rmt,rlt,floor",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds 0 .. N-1.")] = 2,
    config: Annotated[
        Literal["small", "paper"], typer.Option("--config", help="Sizes: the recipes TASK-small or TASK-paper.")
    ] = "small",
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Optimiser steps of all runs.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="A recipe entry for all runs.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Runs at the same time.")] = 1,
    out: Annotated[Path, out_folder("Folder of runs and tables.")] = Path("runs/lra"),
) -> None:
    """Train every model on every task; started again, it goes on where it was."""
    from rmaat.data.tasks import find_task
    from rmaat.training.benchmark import grid, run_cells
    from rmaat.training.benchmark_table import TABLES, collect, write_tables
    from rmaat.training.recipe import parse_changes

    refuse_foreign(out, TABLES, "*/*/seed-*/*.json", ("recipe",))
    for task in tasks.split(","):
        find_task(task, "--tasks")
    shared = {} if steps is None else {"optimisation.steps": steps}
    run_cells(grid(tasks, models, seeds), config, shared | parse_changes(changes, shared), out, workers)
    paths = write_tables(collect(out), out)
    print(paths[0].read_text(encoding="utf-8"))
    print("tables: " + ", ".join(map(str, paths)))
