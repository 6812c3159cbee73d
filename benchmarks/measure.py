"""How the benchmarks measure: interleaved rounds, medians, fresh processes for resident memory."""

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch

from astro_sim import provenance
from astro_sim.provenance import timestamp, versions


def interleaved(cells: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """Run every cell once a round, so that other load on the machine meets all of them alike.

    Every second round goes backwards, so that no cell always runs after the same other one. One round to warm
    up is not counted.

    Returns
    -------
    dict
        For each cell the median, the least and all of the wall and CPU times in seconds.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cells}
    for number in range(rounds + 1):
        for name, run in list(cells.items())[:: -1 if number % 2 else 1]:
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if number:
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: {
            f"{clock}_s": {"median": statistics.median(values), "min": min(values), "all": list(values)}
            for clock, values in zip(("wall", "cpu"), zip(*pairs, strict=True), strict=True)
        }
        for name, pairs in times.items()
    }


def resident_peak(make_step: Callable[..., Callable[[], Any]], small: tuple, large: tuple) -> int:
    """Bytes that a step adds to the resident memory of a fresh process at its peak (Linux: VmHWM).

    The step made from the arguments `small` runs first, so that the library's own pages are there already.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_resident_peak, (torch.get_num_threads(), make_step, small, large))


def _resident_peak(threads: int, make_step: Callable[..., Callable[[], Any]], small: tuple, large: tuple) -> int:
    torch.set_num_threads(threads)
    make_step(*small)()
    step = make_step(*large)
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")
    step()
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return peak - before


def write_json(path: Path, **entries: Any) -> None:
    """Results with what they were measured on and with."""
    about = {
        "created": timestamp(),
        "versions": versions(),
        "machine": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg(),
    }
    provenance.write_json(path, about | entries)
    print(path)
