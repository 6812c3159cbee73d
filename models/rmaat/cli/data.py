"""`rmaat data`: prepare a task's data once, look at them."""

from pathlib import Path
from typing import Annotated

import typer

from rmaat.cli.options import folder_to_write, out_folder

app = typer.Typer(help="Prepare a task's data; look at them.", no_args_is_help=True)

MOST = 10**7  # examples, as in a recipe
TaskArgument = Annotated[str, typer.Argument(help="listops, text, retrieval, image, pathfinder, mnist, …")]


@app.command()
def prepare(
    task: TaskArgument,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="In the official layout; else downloaded or generated.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="Another layout: 20news (retrieval).")] = None,
    train: Annotated[
        int | None, typer.Option("--train", min=1, max=MOST, help="Examples to generate (20,000).")
    ] = None,
    validation: Annotated[
        int | None, typer.Option("--validation", min=1, max=MOST, help="For validation (1,000).")
    ] = None,
    test: Annotated[int | None, typer.Option("--test", min=1, max=MOST, help="For the test (2,000).")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of generated examples (0).")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Of the generator: size=128, contour_length=6 of pathfinder; min_length, max_length, max_depth, "
            "max_args of listops.",
        ),
    ] = None,
    out: Annotated[Path | None, out_folder("Where the cache goes; else data/TASK.")] = None,
) -> None:
    """Read or generate a data set once and keep it as memory-mapped arrays."""
    from rich.console import Console

    from astro_sim.errors import InputError
    from rmaat.data.preparation import prepare as write_cache
    from rmaat.data.splits import default_folder
    from rmaat.data.tasks import find_task
    from rmaat.training.recipe import parse_changes

    find_task(task, "TASK")
    if settings and out is None:
        raise InputError("--out", None, f"a folder, with --set; {default_folder(task)} is of the task as it is")
    out = out or folder_to_write(default_folder(task))
    with Console().status(f"reading {folder or task}"):
        given = {"train": train, "validation": validation, "test": test}
        sizes = {split: n for split, n in given.items() if n is not None}
        splits = write_cache(task, folder, source, out, sizes, seed, parse_changes(settings))
    for name, data in splits.items():
        print(f"{name}: {len(data):,} examples, mean length {data.lengths.mean():,.0f}")
    print(f"cache: {out}")


@app.command()
def inspect(
    task: TaskArgument,
    folder: Annotated[Path | None, typer.Option("--folder", help="Cache or official layout.")] = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "train",
    count: Annotated[int, typer.Option("--count", min=1, max=64, help="Examples to show.")] = 4,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of generated examples and of the choice.")] = 0,
    out: Annotated[Path, out_folder("Where pictures go.")] = Path("runs/inspect"),
) -> None:
    """Print how many examples there are, their lengths and labels, and show some of them."""
    from rmaat.data.inspection import describe, load_one, show
    from rmaat.data.tasks import find_task

    find_task(task, "TASK")
    data = load_one(task, folder, split, seed)
    for line in (*describe(data), *show(task, data, count, seed, out)):
        print(line)
