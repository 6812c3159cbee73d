"""The astrocyte ring and the neuron-astrocyte network against the form of the published scripts: CPU time and ratios.

Both forms record the same: three variables of the ring every 0.5 s, or at every step (ring-every-step), and of the
network what each form records by default; both read it when the run is over. Every case runs in a process of its own,
in turn with the others, twice or as often as ``--rounds`` says: first for a time that is not used, where a compiled
program is built, then for a short and a long model time. Their difference gives the cost of a model second, the first
run that of starting (building included).
Run ``python benchmarks/networks.py --out runs/bench/networks.json``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from processor_time import cpu_seconds

# Short and long model time, seconds: far enough apart for the difference to exceed the scatter of a build, and at
# run time so long that both are compiled (see `brian_backend.NUMPY_STEPS`).
LENGTHS = {
    ("ring", "brian2"): {"library": (3200.0, 12800.0), "published": (3200.0, 12800.0)},
    ("ring", "brian2-standalone"): {"library": (3200.0, 25600.0), "published": (3200.0, 25600.0)},
    ("ring-every-step", "brian2"): {"library": (3200.0, 6400.0), "published": (3200.0, 6400.0)},
    ("ring-every-step", "brian2-standalone"): {"library": (3200.0, 6400.0), "published": (3200.0, 6400.0)},
    ("network", "brian2"): {"library": (1.0, 21.0), "published": (0.1, 0.4)},
    ("network", "brian2-standalone"): {"library": (1.0, 41.0), "published": (0.1, 0.4)},
}
MODELS = ("ring", "ring-every-step", "network")
RING_RECORD_DT = {"ring": 0.5, "ring-every-step": 0.05}
FORMS = ("library", "published")
BACKENDS = ("brian2", "brian2-standalone")


def one(model: str, form: str, backend: str, duration: float) -> float:
    """CPU seconds of one run, imports left out."""
    import brian2 as b2
    import published_form

    from astro_sim import simulate_network, simulate_ring
    from astro_sim.brian_backend import brian_target

    before = cpu_seconds()
    if form == "published":
        with brian_target(backend, None, 0, "published", model):
            if model in RING_RECORD_DT:
                published_form.ring(duration, recorded=("C", "I", "h"), record_dt=RING_RECORD_DT[model])
            else:
                published_form.network(duration)
    elif model in RING_RECORD_DT:
        simulate_ring(duration=duration, record_dt=RING_RECORD_DT[model], backend=backend)
    else:
        simulate_network(duration=duration, backend=backend)
    assert b2.get_device() is b2.all_devices["runtime"]
    return cpu_seconds() - before


def measured(model: str, backend: str, rounds: int) -> dict[str, dict[str, float]]:
    """Median cost of a start and of a model second, for each form."""
    times: dict[str, list[tuple[float, ...]]] = {form: [] for form in FORMS}
    warm = 1 if backend == "brian2" else 0  # the first round fills the cache of compiled code
    for number in range(rounds + warm):
        for form in FORMS:
            short, long = LENGTHS[model, backend][form]
            taken = []
            with tempfile.TemporaryDirectory() as cache:  # a compiled program is built whole, then twice in part
                fresh = {} if backend == "brian2" else {"XDG_CACHE_HOME": cache}
                for duration in (1.5 * short, short, long):
                    command = [sys.executable, __file__, "--one", model, form, backend, str(duration)]
                    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | fresh)
                    taken.append(float(done.stdout.splitlines()[-1]))
            if number >= warm:
                times[form].append(tuple(taken))
    result = {}
    for form, taken_by_round in times.items():
        short, long = LENGTHS[model, backend][form]
        slope = statistics.median((b - a) / (long - short) for _, a, b in taken_by_round)
        start = statistics.median(first for first, _, _ in taken_by_round) - slope * 1.5 * short
        result[form] = {"cpu_s_per_model_s": slope, "start_cpu_s": start, f"cpu_s_of_{long:g}_s": taken_by_round[-1][2]}
    return result


def main() -> None:
    """Measure all cases and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, metavar=("MODEL", "FORM", "BACKEND", "SECONDS"), help=argparse.SUPPRESS)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/networks.json"))
    options = parser.parse_args()
    if options.one:
        model, form, backend, duration = options.one
        print(one(model, form, backend, float(duration)))
        return
    from measure import write_json

    cases = {}
    for model in options.models:
        for backend in options.backends:
            row = measured(model, backend, options.rounds)
            slopes = {form: row[form]["cpu_s_per_model_s"] for form in FORMS}
            cases[f"{model} {backend}"] = row | {"ratio": slopes["library"] / slopes["published"]}
            print(json.dumps({f"{model} {backend}": cases[f"{model} {backend}"]}), flush=True)
        if set(BACKENDS) <= set(options.backends):
            fast = cases[f"{model} brian2-standalone"]["library"]["cpu_s_per_model_s"]
            for form in FORMS:
                slow = cases[f"{model} brian2"][form]["cpu_s_per_model_s"]
                cases[f"{model} speed-up of standalone over {form} at run time"] = slow / fast
    write_json(options.out, cases=cases)


if __name__ == "__main__":
    main()
