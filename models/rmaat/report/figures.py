"""Figures of the report, each from the artefact that it shows."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#1f6f8b", "#d1495b", "#66a182", "#edae49", "#7b6d8d", "#30343f")
SHOWN_SEGMENTS = (2, 4, 8, 16)


def _axes(columns: int, rows: int = 1, height: float = 3.2, **options: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(9.0, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, **options)
    for axis in np.atleast_1d(axes).flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_prop_cycle(color=COLOURS)
    return figure, axes


def _shade_drive(axis: Axes, protocol: Mapping[str, Any]) -> None:
    for cycle in range(protocol["n_cycles"]):
        start = cycle * protocol["cycle_s"]
        axis.axvspan(start, start + protocol["on_s"], color="0.92", lw=0, zorder=0)


def macro_traces(recording: xr.Dataset, protocol: Mapping[str, Any]) -> Figure:
    """Neurons, synapses, STP and LTP of a macro recording against time; the driven phases are shaded.

    Parameters
    ----------
    recording : Dataset
        x (time, neuron); s, p_short, p_long (time, post, pre).
    protocol : Mapping
        Of `stp_cycles`: n_cycles, cycle_s, on_s.
    """
    figure, axes = _axes(2, rows=2, height=2.4, sharex=True)
    titles = {
        "x": "neurons x",
        "s": "synapses s",
        "p_short": "short-term process p$^s$ (STP)",
        "p_long": "long-term process p$^l$ (LTP)",
    }
    for axis, (name, title) in zip(axes.flat, titles.items(), strict=True):
        _shade_drive(axis, protocol)
        traces = recording[name].values.reshape(recording.sizes["time"], -1)
        axis.plot(recording["time"], traces, lw=1)
        axis.set(title=title)
    for axis in axes[-1]:
        axis.set(xlabel="time (s)")
    return figure


def retention_factors(rows: Mapping[int, Sequence[float]], simulated: Sequence[float]) -> Figure:
    """Retention factor RF(t, T) against the segment t, for several lengths T and for all of them.

    Parameters
    ----------
    rows : Mapping of int to sequence of float
        T to its T factors.
    simulated : sequence of float
        Share of each recorded cycle in the build-up of p^l, the factors that the recording itself shows.
    """
    figure, (left, right) = _axes(2)
    for length in SHOWN_SEGMENTS:
        left.plot(np.arange(1, length + 1), rows[length], "o-", ms=3, label=f"T = {length}")
    cycles = len(simulated)
    left.plot(np.arange(1, cycles + 1), simulated, "kx", ms=6, label=f"simulated, {cycles} cycles")
    left.plot(np.arange(1, cycles + 1), rows[cycles], "k-", lw=0.8, label=f"fit, T = {cycles}")
    left.set(xlabel="segment t", ylabel="retention factor RF(t, T)", xlim=(0.5, None), ylim=(0, None))
    left.locator_params(axis="x", integer=True)
    left.legend(frameon=False)
    longest = max(rows)
    table = np.full((longest - 1, longest), np.nan)
    for length in range(2, longest + 1):
        table[length - 2, :length] = rows[length]
    image = right.imshow(table, aspect="auto", extent=(0.5, longest + 0.5, longest + 0.5, 1.5))
    right.set(xlabel="segment t", ylabel="number of segments T")
    figure.colorbar(image, ax=right, label="RF(t, T)")
    return figure


def attention_kernel(
    response: np.ndarray, distance: np.ndarray, curves: Mapping[str, np.ndarray], kernel: np.ndarray
) -> Figure:
    """Where p^s answers, the fitted decay with distance, and the kernel r over token positions.

    Parameters
    ----------
    response : ndarray
        Recorded p^s, (post, pre).
    distance : ndarray
        Distances [grid steps], (n,).
    curves : Mapping
        ``"fit"``, ``"lower"`` and ``"upper"``: decay at these distances and its 95 % limits, (n,) each.
    kernel : ndarray
        r, (length, length).
    """
    figure, (left, middle, right) = _axes(3)
    image = left.imshow(response, vmin=0)
    left.set(xlabel="presynaptic neuron", ylabel="postsynaptic neuron", title="simulated p$^s$")
    left.set(xticks=range(response.shape[1]), yticks=range(response.shape[0]))
    figure.colorbar(image, ax=left)
    middle.fill_between(distance, curves["lower"], curves["upper"], color=COLOURS[0], alpha=0.2, lw=0)
    middle.plot(distance, curves["fit"])
    middle.set(xlabel="distance (grid steps)", ylabel="decay r", title="fit, 95 % interval of the length")
    image = right.imshow(kernel, vmin=0, vmax=1)
    right.set(xlabel="token position j", ylabel="token position i", title="kernel r$_{ij}$")
    right.locator_params(integer=True)
    figure.colorbar(image, ax=right)
    return figure


def training_curves(rows: Sequence[Mapping[str, str]], floors: Mapping[str, float]) -> Figure:
    """Loss and accuracy against the step; the floors are dashed, and share a label where they lie close.

    Parameters
    ----------
    rows : sequence of mappings
        Of ``metrics.csv``: step, split, loss, accuracy.
    floors : Mapping of str to float
        Accuracy of trivial models, as fractions.
    """
    figure, (left, right) = _axes(2)
    for split in ("train", "validation"):
        steps, loss, accuracy = (
            np.array([float(row[name]) for row in rows if row["split"] == split])
            for name in ("step", "loss", "accuracy")
        )
        left.plot(steps, loss, "-" if split == "train" else "o-", ms=3, lw=1, label=split)
        right.plot(steps, 100 * accuracy, "-" if split == "train" else "o-", ms=3, lw=1, label=split)
    for floor in floors.values():
        right.axhline(100 * floor, ls="--", lw=0.8, color="0.5")
    line = 0.05 * np.ptp(right.get_ylim())  # about the height of a label
    labels: list[tuple[float, str]] = []
    for name, floor in sorted(floors.items(), key=lambda item: item[1]):
        if labels and 100 * floor - labels[-1][0] < line:
            name = f"{labels.pop()[1]}, {name}"
        labels.append((100 * floor, name))
    beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "center", "size": 7}
    for height, label in labels:  # outside, since curves end where labels inside would stand
        right.annotate(fill(label, 18), (1.01, height), **beside)
    left.set(xlabel="step", ylabel="cross-entropy (nats)")
    right.set(xlabel="step", ylabel="accuracy (%)")
    left.legend(frameon=False)
    return figure


def backprop_memory(segments: Sequence[int], peak_bytes: Mapping[str, Sequence[int]]) -> Figure:
    """Peak memory of a training step under AMRB and under BPTT against the number of segments, and their ratio.

    Parameters
    ----------
    segments : sequence of int
        Numbers of segments T.
    peak_bytes : Mapping
        ``"amrb"`` and ``"bptt"`` to the peak for each T [bytes].
    """
    figure, (left, right) = _axes(2)
    for name, label in (("bptt", "BPTT"), ("amrb", "AMRB")):
        left.plot(segments, np.array(peak_bytes[name]) / 2**20, "o-", ms=4, label=label)
    left.set(xlabel="segments T", ylabel="peak memory (MiB)", ylim=(0, None))
    left.legend(frameon=False)
    right.plot(segments, np.array(peak_bytes["amrb"]) / np.array(peak_bytes["bptt"]), "o-", ms=4)
    right.set(xlabel="segments T", ylabel="AMRB / BPTT", ylim=(0, 1.05))
    return figure


def integer_agreement(real: np.ndarray, integer: np.ndarray) -> Figure:
    """Outputs of the integer model against those of the float model, and the predictions of both.

    Parameters
    ----------
    real, integer : ndarray
        Class scores (sequences, classes); `integer` is scaled back to the units of `real`.
    """
    figure, (left, right) = _axes(2)
    left.plot(real.ravel(), integer.ravel(), ".", ms=3, alpha=0.4)
    span = [min(real.min(), integer.min()), max(real.max(), integer.max())]
    left.plot(span, span, lw=0.8, color="0.5")
    left.set(xlabel="float output", ylabel="integer output")
    classes = real.shape[1]
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (real.argmax(1), integer.argmax(1)), 1)
    image = right.imshow(counts)
    right.set(xlabel="integer prediction", ylabel="float prediction")
    figure.colorbar(image, ax=right, label="sequences")
    return figure
