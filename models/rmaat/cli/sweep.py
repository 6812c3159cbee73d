"""`rmaat sweep`: simulations over a grid or a Latin hypercube of parameters."""

from pathlib import Path
from typing import Annotated

import typer

from astro_sim.provenance import refuse_to_replace
from rmaat.cli.options import ConfigOption, SeedOption, out_file
from rmaat.cli.simulate import parse_settings


def sweep(
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="What varies: tau_p_long=100s,300s for a grid, tau_p_long='100:300 s' with --samples. Repeatable.",
        ),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Number of Latin-hypercube samples; without it, a grid.")] = None,
    model: Annotated[
        str, typer.Option(help="macro, tripartite, ring, network, self-repair or working-memory.")
    ] = "macro",
    preset: Annotated[str | None, typer.Option(help="Named parameters of all simulations.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of all simulations. Repeatable."),
    ] = None,
    backend: Annotated[str, typer.Option(help="brian2, brian2-standalone or scipy.")] = "brian2",
    workers: Annotated[int, typer.Option(min=1, help="Processes of the local Dask cluster.")] = 2,
    scheduler: Annotated[str | None, typer.Option(help="Address of a running Dask scheduler.")] = None,
    out: Annotated[Path, out_file("NetCDF file to write.")] = Path("runs/sweep.nc"),
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Simulate over parameters; started again after a stop, it finishes only what is missing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from astro_sim.experiment import Experiment
    from astro_sim.sweep import Sweep

    refuse_to_replace([config], out)
    base = Experiment(model, preset, parse_settings(settings or []), backend, seed)
    varied = parse_settings(over or [], "--over")
    runs = Sweep.grid(base, varied) if samples is None else Sweep.latin_hypercube(base, varied, samples)
    columns = ("simulating", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("simulating", total=len(runs.points))
        path = runs.run(
            out,
            workers=workers,
            scheduler=scheduler,
            progress=lambda done, total: bar.update(task, completed=done),
        )
    Console(soft_wrap=True, highlight=False).print(f"sweep of {len(runs.points)}: {path}")
