"""How much of its memory does a segment keep? From p_long over the cycles to the retention factors, with bands.

rmaat simulate --out runs/macro.nc
python figures/retention.py runs/macro.nc docs/images/retention.png
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from astro_sim import load_recording
from rmaat.report.figures import COLOURS
from rmaat_bridge import RetentionSchedule, fit_retention
from rmaat_bridge.retention import retention_band

LENGTHS = (2, 4, 6, 8, 16)


def draw(path: Path) -> Figure:
    """Build-up at every synapse; factors of several lengths with their bands; known length against streaming."""
    recording = load_recording(path)
    fit = fit_retention(recording)
    schedule = RetentionSchedule(fit)
    tau = fit.parameters["tau_p_long"]
    print(f"{fit.family}: tau_p_long {tau.value:.3f} ± {tau.standard_error:.3f} s, R2 {fit.r_squared:.8f}")
    for row in fit.candidates:
        delta = "not judged" if row.delta is None else f"delta AICc {row.delta:.1f}"
        print(f"  {row.family:24s} R2 {row.r_squared:.8f}  {delta}")

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    course, factors, unknown = figure.subplots(1, 3)
    time = recording["time"].values
    course.plot(time, recording["p_long"].stack(synapse=("post", "pre")), color=COLOURS[0], lw=0.6, alpha=0.6)
    course.plot(time, recording["p_long"].mean(("post", "pre")), color=COLOURS[1], lw=2)
    course.set(xlabel="time (s)", ylabel="p$^l$", title="nine synapses and their mean")

    for length, colour in zip(LENGTHS, COLOURS, strict=False):
        band = retention_band(fit, length)
        segment = np.arange(1, length + 1)
        factors.plot(segment, [q.value for q in band], "o-", ms=3, color=colour, label=f"T = {length}")
        factors.fill_between(segment, [q.lower for q in band], [q.upper for q in band], color=colour, alpha=0.3)
    factors.set(xlabel="segment t", ylabel="RF(t, T)", title="retention factors, 95 % bands")
    factors.legend(frameon=False)

    segment = np.arange(1, 17)
    unknown.plot(
        segment, [float(schedule.streaming(int(t)).detach()) for t in segment], "o-", ms=3, label="streaming(t)"
    )
    unknown.plot(segment, [float(schedule(int(t))[-1].detach()) for t in segment], "o-", ms=3, label="RF(t, t)")
    unknown.set(xlabel="segment t", ylim=(0, 1.05), title="share written by the newest segment")
    unknown.legend(frameon=False)
    for axis in (factors, unknown):
        axis.xaxis.get_major_locator().set_params(integer=True)
    return figure


if __name__ == "__main__":
    draw(Path(sys.argv[1])).savefig(sys.argv[2], dpi=110)
