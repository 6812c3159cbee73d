"""`rmaat fit`: from recordings to bio-parameters."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from astro_sim.provenance import refuse_to_replace
from rmaat.cli.options import ConfigOption, SeedOption, out_file

if TYPE_CHECKING:
    from rich.table import Table

    from rmaat_bridge.bio_parameters import BioParameters


def fit(
    recording: Annotated[Path, typer.Argument(help="Macro recording (.nc) over several STP cycles.")],
    attention: Annotated[Path | None, typer.Option(help="Recording for the spatial kernel, if another one.")] = None,
    presynaptic: Annotated[
        Path | None, typer.Option(help="Recording for the presynaptic exponent, if another one.")
    ] = None,
    cycle_s: Annotated[
        float | None,
        typer.Option(help="Seconds a cycle, for the retention of a RECORDING without cycles in its protocol."),
    ] = None,
    activity_range: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Lowest and highest presynaptic activity to fit, in Hz (macro: θ(x))."),
    ] = None,
    check: Annotated[Path | None, typer.Option(help="Only check that this TOML was fitted to RECORDING.")] = None,
    out: Annotated[Path, out_file("TOML file to write.")] = Path("runs/bio.toml"),
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Fit retention, attention kernel and presynaptic exponent, with errors, and write a TOML file."""
    from rich.console import Console

    from rmaat_bridge import BioParameters

    console = Console()
    if check is not None:
        sections = BioParameters.load(check).check_source(recording)
        console.print(f"{check}: {', '.join(sections)} fitted to {recording}")
        return
    refuse_to_replace((recording, attention, presynaptic, config), out)
    with console.status("fitting"):
        bio = BioParameters.from_recordings(recording, attention, presynaptic, seed, cycle_s, activity_range)
    bio.save(out)
    console.print(_table(bio))
    console.print(f"bio-parameters: {out}")


def _table(bio: "BioParameters") -> "Table":
    from rich.table import Table

    table = Table(title="Bio-parameters", title_justify="left")
    for column in ("section: form", "R²", "quantity", "value ± standard error"):
        table.add_column(column, overflow="fold")
    for section in ("retention", "attention", "presynaptic"):
        result = getattr(bio, section)
        heading = (f"{section}: {result.family}", f"{result.r_squared:.6f}")
        for name, quantity in result.parameters.items():
            table.add_row(*heading, name, str(quantity))
            heading = ("", "")
        table.add_section()
    return table
