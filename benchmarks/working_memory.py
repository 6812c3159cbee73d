"""What the working-memory network recalls: presets and controls, delays, patterns never learned, and steps.

Run ``python benchmarks/working_memory.py --out runs/bench/working_memory.json``: some six minutes of CPU time
(and one to compile at the first time).
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import write_json

from astro_sim import WorkingMemoryModel, memory_window, recall_correlation, simulate_working_memory
from astro_sim.presets import WORKING_MEMORY
from astro_sim.recall import spike_counts

DELAYS = (0.4, 0.6, 0.9, 1.2, 2.2, 3.2, 3.7, 4.2, 4.7, 5.2, 6.2)  # seconds from the start of the pattern to its cue
OVERLAPS = (("0", "0123"), ("1", "10234567"), ("T", "TU"), ("ABCD", "AEBFCGDH"))  # learned, cued


def cases(seeds: int) -> Iterator[tuple[str, WorkingMemoryModel, dict[str, Any]]]:
    """Name, model and run of every case."""
    for seed in range(seeds):
        for name, model in WORKING_MEMORY.items():
            yield f"{name} seed {seed}", model, {"seed": seed}
    whole = WORKING_MEMORY["gordleeva-2021"]
    for delay in DELAYS:
        start = whole.stimulus.learn_from + delay
        model = replace(whole, learned="3", cued="3", stimulus=replace(whole.stimulus, cue_from=start))
        yield f"3 cued after {delay} s", model, {"duration": round(start + 0.3, 2)}
    for learned, cued in OVERLAPS:
        yield f"{learned} learned, {cued} cued", replace(whole, learned=learned, cued=cued), {}
    for steps in ({"dt": 5e-5}, {"dt": 2e-4}, {"astrocyte_dt": 1e-4}):
        yield f"{steps}", whole, steps


def measured(model: WorkingMemoryModel, run: dict[str, Any]) -> dict[str, Any]:
    """Correlations of one run, the calcium window, CPU seconds; beside them Pearson's correlation of the same masks."""
    before = time.process_time()
    recording = simulate_working_memory(model, **run)
    seconds = time.process_time() - before
    recall, window = recall_correlation(recording), memory_window(recording)
    cues = recording.is_cue.values == 1
    masks = zip(spike_counts(recording).values[cues], recording.pattern.values[cues], strict=True)
    pearson = [float(np.corrcoef(counts > recall.attrs["threshold"], pattern)[0, 1]) for counts, pattern in masks]
    learned = recall.learned.values
    return {
        "cued": "".join(recall.character.values),
        "recall": recall.values.round(4).tolist(),
        "mean_learned": float(recall.values[learned].mean()) if learned.any() else None,
        "mean_other": float(recall.values[~learned].mean()) if not learned.all() else None,
        "pearson": np.round(pearson, 3).tolist(),
        "threshold": recall.attrs["threshold"],
        "opens_s": window.opens.values.tolist(),
        "closes_s": window.closes.values.tolist(),
        "cpu_s": seconds,
    }


def main() -> None:
    """Measure all cases and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/working_memory.json"))
    options = parser.parse_args()
    results = {}
    for name, model, run in cases(options.seeds):
        results[name] = measured(model, run)
        print(name, results[name], flush=True)
    write_json(options.out, cases=results)


if __name__ == "__main__":
    main()
