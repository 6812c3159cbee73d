"""A sweep on one and on two workers: wall time, the start of the cluster apart.

Each worker count runs a short and a long sweep of the same simulations; the slope is the time of one simulation,
and the rest what the cluster costs. Wall time: run it on a machine with two free cores.
Run ``python benchmarks/sweep.py --out runs/bench/sweep.json``.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from astro_sim.experiment import Experiment
from astro_sim.provenance import timestamp, versions, write_json
from astro_sim.sweep import Sweep

BASE = Experiment(settings={"n_neurons": "32", "coupling": "0.02", "n_cycles": "12", "record_dt": "5 s"})
POINTS = (2, 8)


def wall(points: int, workers: int) -> float:
    """Seconds of a sweep over `points` values of τ_p_long."""
    sweep = Sweep.grid(BASE, {"tau_p_long": ",".join(f"{100 + k} s" for k in range(points))})
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        sweep.run(Path(folder) / "sweep.nc", workers=workers)
        return time.perf_counter() - start


def main() -> None:
    """Measure and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/sweep.json"))
    options = parser.parse_args()
    short, long = POINTS
    rounds = [{n: (wall(short, n), wall(long, n)) for n in (1, 2)} for _ in range(options.rounds)]
    slope = {n: statistics.median((r[n][1] - r[n][0]) / (long - short) for r in rounds) for n in (1, 2)}
    result = {
        "benchmark": "sweep",
        "created": timestamp(),
        "versions": versions(),
        "load_average": os.getloadavg(),
        "s_per_point": slope,
        "s_of_cluster": {n: statistics.median(r[n][0] for r in rounds) - short * slope[n] for n in (1, 2)},
        "speed_up": slope[1] / slope[2],
        "speed_up_whole": statistics.median(r[1][1] / r[2][1] for r in rounds),
    }
    write_json(options.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
