"""`rmaat figures`: the figures of a demo run as picture files."""

from pathlib import Path
from typing import Annotated

import typer

from astro_sim.errors import InputError
from rmaat.cli.options import folder_to_write, out_folder

FORMATS = ("png", "svg", "pdf")


def figures(
    run: Annotated[Path, typer.Argument(help="Folder that `rmaat demo` wrote.")] = Path("runs/demo"),
    out: Annotated[Path | None, out_folder("Folder to write to; else RUN/figures.")] = None,
    format: Annotated[str, typer.Option(help=", ".join(FORMATS))] = "png",
) -> None:
    """Write every figure of a run's report as a picture, named by what it shows."""
    from astro_sim.plotting import save_figure
    from rmaat.report.run_report import sections

    if format not in FORMATS:
        raise InputError("--format", format, f"one of {', '.join(FORMATS)}")
    out = out or folder_to_write(run / "figures")
    for number, section in enumerate(sections(run), start=1):
        name = "-".join("".join(c if c.isalnum() else " " for c in section.title.lower()).split())
        save_figure(section.figure, out / f"{number}-{name}.{format}", dpi=150, bbox_inches="tight")
    typer.echo(f"figures: {out}")
