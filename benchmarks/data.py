"""Speed of the generators in examples a CPU-second on one core: `python benchmarks/data.py [OUT.json]`."""

import json
import sys
import time
from pathlib import Path

from astro_sim.provenance import timestamp, versions
from rmaat.data import listops, pathfinder

CASES = {
    "listops": (4000, lambda n: listops.generate(n, 1)),
    "pathfinder easy": (512, lambda n: pathfinder.generate(n, 1, pathfinder.Layout(contour_length=6), 1)),
    "pathfinder intermediate": (256, lambda n: pathfinder.generate(n, 1, pathfinder.Layout(contour_length=9), 1)),
    "pathfinder hard": (128, lambda n: pathfinder.generate(n, 1, pathfinder.Layout(), 1)),
    "pathfinder 128 hard": (64, lambda n: pathfinder.generate(n, 1, pathfinder.Layout.of_size(128), 1)),
}


def main() -> None:
    """Print one line a generator, and write all as JSON if asked to."""
    rates = {}
    for name, (n, draw) in CASES.items():
        start = time.process_time()
        draw(n)
        rates[name] = n / (time.process_time() - start)
        print(f"{name}: {rates[name]:,.0f} examples a CPU-second")
    if len(sys.argv) > 1:
        content = {"examples_per_cpu_s": rates, "versions": versions(), "created": timestamp()}
        Path(sys.argv[1]).write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
