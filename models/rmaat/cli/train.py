"""`rmaat train`: a transformer whose memory and attention come from a bio-parameters file."""

from pathlib import Path
from typing import Annotated

import typer

from rmaat.cli.options import folder_to_write, out_folder


def train(
    task: Annotated[
        str | None, typer.Option("--task", help="What to learn: listops, text, …; else that of --config, or listops.")
    ] = None,
    bio: Annotated[
        Path | None,
        typer.Option("--bio", help="Bio-parameters (TOML) of `rmaat fit`; else the packaged ones."),
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", help="Recipe: a TOML file or a packaged name; else TASK-small.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="rmaat, a baseline (transformer, linear, rmt, …) or floor.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option("--objective", help="labels, or masked: hidden tokens of the task's sequences.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--start", help="Run or checkpoint whose weights, without its head, to start from.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="Another data layout: 20news (retrieval).")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the data: a prepared cache or the official layout.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Optimiser steps.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Stop training after this time.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Any entry of the recipe: --set model.dim=128")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of every random number.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    out: Annotated[Path | None, out_folder("Folder of the run; else runs/TASK or runs/TASK-masked.")] = None,
) -> None:
    """Train on a task and test on unseen examples: checkpoint, metrics, curves and floors."""
    from rmaat.data.tasks import find_task
    from rmaat.training.recipe import load_recipe, parse_changes, refuse_overridden
    from rmaat.training.run import train as run

    if task is not None:
        find_task(task)
    flags = {
        "task": task,
        "seed": seed,
        "kind": model,
        "objective": objective,
        "start": None if start is None else str(start),
        "data.source": source,
        "data.folder": None if data is None else str(data),
        "optimisation.steps": steps,
        "optimisation.minutes": minutes,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    recipe_name = config or f"{task or 'listops'}-small"
    entries = parse_changes(changes, given)
    recipe = load_recipe(recipe_name, given | entries)
    refuse_overridden(recipe, entries)
    find_task(recipe.task, f"{recipe_name}: task")
    name = f"{recipe.task}-masked" if recipe.objective == "masked" else recipe.task
    run(recipe, bio, out or folder_to_write(Path("runs") / name), resume=resume, overwrite=overwrite)
