"""`rmaat simulate`: run a model and write its recording."""

from pathlib import Path
from typing import Annotated

import typer

from rmaat.cli.options import ConfigOption, SeedOption


def simulate(
    model: Annotated[str, typer.Option(help="macro, tripartite, ring or network.")] = "macro",
    out: Annotated[Path | None, typer.Option(help="NetCDF file to write.")] = None,
    backend: Annotated[str, typer.Option(help="brian2, brian2-standalone or scipy.")] = "brian2",
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Simulate a neuron–astrocyte model and write a NetCDF recording."""
    from astro_sim import save_recording, simulate_macro

    path = save_recording(simulate_macro(backend=backend, seed=seed), out or Path("runs") / f"{model}.nc")
    typer.echo(f"recording: {path}")
