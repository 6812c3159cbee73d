"""Quick pictures of recordings, and pictures that are written whole."""

from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from astro_sim.provenance import replacing

MAX_LINES = 256


def plot_recording(recording: xr.Dataset, path: str | Path) -> Path:
    """Draw every variable of a recording that has a time axis, one panel each, and save the picture.

    Parameters
    ----------
    recording : xarray.Dataset
        Variables with the dimension ``time``; of a variable with many elements, some 256 spread evenly are drawn.
    path : path
        Picture to write; its suffix is the format.
    """
    path = Path(path)
    names = [name for name, values in recording.data_vars.items() if values.dims[:1] == ("time",)]
    figure = Figure(figsize=(8, 1.8 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        values = recording[name]
        lines = values.values.reshape(values.sizes["time"], -1)
        axis.plot(recording.time, lines[:, :: max(1, lines.shape[1] // MAX_LINES)], linewidth=0.8)
        unit = values.attrs.get("units", "1")
        axis.set_ylabel(str(name) if unit == "1" else f"{name} [{unit}]")
        axis.set_title(values.attrs.get("long_name", ""), fontsize="small")
    axes[-1].set_xlabel("time [s]")
    save_figure(figure, path)
    return path


def save_figure(figure: Figure, path: str | Path, **options: Any) -> None:
    """Write a picture, whole or not at all; its suffix is the format, `options` are of matplotlib's ``savefig``."""
    with replacing(path) as aside:
        figure.savefig(aside, **options)
