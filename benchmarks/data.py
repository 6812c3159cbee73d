"""Speed of the generators in examples a CPU-second on one core.

Run ``python benchmarks/data.py --out runs/bench/data.json``.
"""

import argparse
import time
from pathlib import Path

from measure import write_json

from rmaat.data import listops, pathfinder

CASES = {
    "listops": (4000, lambda n: listops.generate(n, 1)),
    "pathfinder easy": (512, lambda n: pathfinder.generate(n, 1, pathfinder.Layout(contour_length=6), 1)),
    "pathfinder intermediate": (256, lambda n: pathfinder.generate(n, 1, pathfinder.Layout(contour_length=9), 1)),
    "pathfinder hard": (128, lambda n: pathfinder.generate(n, 1, pathfinder.Layout(), 1)),
    "pathfinder 128 hard": (64, lambda n: pathfinder.generate(n, 1, pathfinder.Layout(128), 1)),
}


def main() -> None:
    """Print one line a generator and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/data.json"))
    options = parser.parse_args()
    rates = {}
    for name, (n, draw) in CASES.items():
        start = time.process_time()
        draw(n)
        rates[name] = n / (time.process_time() - start)
        print(f"{name}: {rates[name]:,.0f} examples a CPU-second")
    write_json(options.out, examples_per_cpu_s=rates)


if __name__ == "__main__":
    main()
