"""The picture of the README: one panel a stage, from the artefacts of a demo run.

python figures/road.py runs/demo docs/images/road.png
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from astro_sim import load_recording
from rmaat.report.figures import COLOURS
from rmaat.report.run_report import read_agreement, read_json
from rmaat.training.log import read_curves
from rmaat_bridge import BioParameters, RetentionSchedule


def draw(run: Path) -> Figure:
    """Astrocyte, retention factors, training curve and integer outputs side by side."""
    figure = Figure(figsize=(13, 2.9), layout="constrained")
    cell, memory, learning, chip = figure.subplots(1, 4)

    recording = load_recording(run / "macro.nc")
    cell.plot(recording["time"], recording["p_short"].mean(("post", "pre")), color=COLOURS[0], label="STP")
    cell.plot(recording["time"], recording["p_long"].mean(("post", "pre")), color=COLOURS[1], label="LTP")
    cell.set(title="Brian2: astrocytic processes", xlabel="time (s)")

    schedule = RetentionSchedule(BioParameters.load(run / "bio.toml").retention)
    for length, colour in zip((2, 4, 8, 16), COLOURS, strict=False):
        factors = schedule(length).detach()
        memory.plot(np.arange(1, length + 1), factors, "o-", ms=3, color=colour, label=f"T = {length}")
    memory.set(title="SciPy: retention factors", xlabel="segment")

    curve = [row for row in read_curves(run / "train" / "metrics.csv") if row["split"] == "train"]
    learning.plot(
        [int(row["step"]) for row in curve], [100 * float(row["accuracy"]) for row in curve], color=COLOURS[0]
    )
    majority = 100 * read_json(run / "train" / "result.json")["floors"]["majority class"]
    learning.axhline(majority, ls="--", lw=0.8, color="0.5", label="majority class")
    learning.set(title="PyTorch: ListOps accuracy (%)", xlabel="step")

    real, integer = read_agreement(run)
    chip.plot(real.ravel(), integer.ravel(), ".", ms=2, alpha=0.4, color=COLOURS[0])
    chip.set(title="Lava: integer against float outputs", xlabel="float")

    for axis in (cell, memory, learning, chip):
        axis.spines[["top", "right"]].set_visible(False)
    for axis in (cell, memory, learning):
        axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    draw(Path(sys.argv[1])).savefig(sys.argv[2], dpi=110)
