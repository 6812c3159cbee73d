"""`rmaat report`: the HTML report of a demo run, made again from its artefacts."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder that `rmaat demo` wrote.")] = Path("runs/demo"),
) -> None:
    """Write report.html into the run's folder: every figure and number from the files there."""
    from rmaat.report.run_report import write_report

    typer.echo(f"report: {write_report(run)}")
