"""`rmaat train`: a transformer whose memory and attention come from a bio-parameters file."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from astro_sim.errors import InputError


def train(
    task: Annotated[str, typer.Option("--task", help="What to learn; listops, …")] = "listops",
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
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run; else runs/TASK.")] = None,
) -> None:
    """Train on a task and test on unseen examples: checkpoint, metrics, curves and floors."""
    from rmaat.data.tasks import find_task
    from rmaat.training.recipe import load_recipe
    from rmaat.training.run import train as run

    find_task(task)
    flags = {
        "seed": seed,
        "kind": model,
        "data.source": source,
        "data.folder": None if data is None else str(data),
        "optimisation.steps": steps,
        "optimisation.minutes": minutes,
    }
    given = {"task": task} | {name: value for name, value in flags.items() if value is not None}
    recipe = load_recipe(config or f"{task}-small", given | dict(map(parse_change, changes or [])))
    run(recipe, bio, out or Path("runs") / task, resume=resume)


def parse_change(text: str) -> tuple[str, Any]:
    """``name=value`` with the value in TOML, or taken as a string where it is not TOML."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError("--set", text, "name=value")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value
