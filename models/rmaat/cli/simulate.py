"""`rmaat simulate`: run a model and write its recording."""

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from astro_sim.errors import InputError
from astro_sim.provenance import refuse_to_replace
from rmaat.cli.options import ConfigOption, SeedOption, file_to_write, out_file

if TYPE_CHECKING:
    from xarray import Dataset

# Brian2 and xarray import these where they find them, for scripts, tests and clusters: a third of a short run.
UNUSED = ("pylab", "pytest", "distributed", "dask.array")


def simulate(
    model: Annotated[
        str, typer.Option(help="macro, tripartite, ring, network, self-repair or working-memory.")
    ] = "macro",
    preset: Annotated[str | None, typer.Option(help="Named parameters; a wrong name lists them.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A parameter, with unit: tau_p_long=300s. Repeatable; a list or table named settings in a config.",
        ),
    ] = None,
    backend: Annotated[str, typer.Option(help="brian2, brian2-standalone or scipy.")] = "brian2",
    out: Annotated[Path | None, out_file("NetCDF file to write; else runs/MODEL.nc.")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Write a picture beside the recording.")] = False,
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Simulate a neuron–astrocyte model and write a NetCDF recording."""
    from rich.console import Console

    from astro_sim.experiment import Experiment
    from astro_sim.macro_parameters import LatchingWarning

    console, path = Console(soft_wrap=True, highlight=False), out or file_to_write(Path("runs") / f"{model}.nc")
    refuse_to_replace([config], path)
    if plot and path.suffix == ".png":
        raise InputError("--out", str(path), "another ending, as in run.nc: --plot writes the .png beside it")
    picture = path.with_suffix(".png") if path.suffix == ".nc" else path.with_name(f"{path.name}.png")
    experiment = Experiment(model, preset, parse_settings(settings or []), backend, seed)
    with console.status(f"simulating {model}"), _unimported(*UNUSED):
        if backend != "scipy":
            with _unimported("matplotlib"):  # which Brian2 imports for its version, and others for what it is
                import brian2  # noqa: F401
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")  # why a run stopped is in its attributes
            warnings.simplefilter("always", LatchingWarning)
            recording = experiment.run(path)
            expected = _expected(recording) if model == "macro" else []
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        console.print(f"[yellow]warning:[/] {message}")
    for line in expected:
        console.print(f"expected: {line}")
    console.print(f"recording: {path}")
    if plot:
        from astro_sim.plotting import plot_recording

        console.print(f"picture: {plot_recording(recording, picture)}")
    if "stopped" in recording.attrs:
        console.print(f"[red]stopped early:[/] {recording.attrs['stopped']}")
        raise typer.Exit(130 if "interrupted" in recording.attrs["stopped"] else 1)


def _expected(recording: "Dataset") -> list[str]:
    """What theory says about a run of the macro model."""
    from astro_sim.macro_parameters import MacroParameters
    from astro_sim.theory import predictions

    cycle_s = json.loads(recording.attrs["protocol"]).get("cycle_s")
    return predictions(MacroParameters.from_json(recording.attrs["parameters"]), cycle_s)


@contextmanager
def _unimported(*names: str) -> Iterator[None]:
    """Inside the block, modules of these names that are not there yet count as not installed."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def parse_settings(pairs: list[str], option: str = "--set") -> dict[str, str]:
    """The settings in ``NAME=VALUE`` pairs of an option.

    Raises
    ------
    InputError
        If a pair has no equals sign, or a name is there twice.
    """
    settings: dict[str, str] = {}
    for pair in pairs:
        name, found, text = pair.partition("=")
        if not found or not name.strip() or not text.strip():
            raise InputError(option, pair, "NAME=VALUE, as in tau_p_long=300s")
        if name.strip() in settings:
            raise InputError(option, pair, f"each name once; {name.strip()} is {settings[name.strip()]} before")
        settings[name.strip()] = text.strip()
    return settings
