"""CPU time of a step of the macro model against the direct Brian2 program, and its growth with size.

Every figure is CPU time of this process divided by steps, as a difference of two runs so that preparation falls
out, and the smallest of three. The two programs take the same steps; the direct one is RK4 with the transport
held during a step (first order in it), ours re-evaluates it in each of four stages.

    python benchmarks/macro.py --out runs/bench [--quick]
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import brian2 as b2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from astro_sim.coupling import Coupling
from astro_sim.macro import simulate_macro
from astro_sim.macro_brian2 import constants
from astro_sim.macro_parameters import MacroParameters
from astro_sim.protocols import array
from astro_sim.provenance import timestamp, versions, write_json

DT = 0.02

NEURONS = """
dx/dt = (-leak_x*x + inflow + b)/tau_n : 1
activity = tanh(clip(x, 0, inf)) : 1
inflow : 1
b : 1
"""
PROCESSES = """
ds/dt = (-leak_s*s + own*afferent + calcium)/tau_s : 1
dp_short/dt = (-leak_p_short*p_short + arriving + drive*uptake)/tau_p_short : 1
dp_long/dt = (-leak_p_long*p_long + uptake)/tau_p_long : 1
uptake = tanh(s) : 1
own : 1
afferent : 1
arriving : 1
"""


class NoTransport(Coupling):
    """The model without coupling."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape, self._nothing = shape, np.zeros(shape)

    def apply(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._nothing

    @property
    def dense(self) -> NDArray[np.float64]:
        raise NotImplementedError


def cost_of_step(run: Callable[[int], None], steps: int) -> float:
    """CPU time of one step [µs]: the difference of a long and a short run, the smallest of three."""

    def cpu(n: int) -> float:
        start = time.process_time()
        run(n)
        return time.process_time() - start

    cpu(2)
    return min((cpu(steps + 2) - cpu(2)) / steps for _ in range(3)) * 1e6


def ours(n: int, steps: int, *, coupled: bool = True) -> float:
    """Our macro model with n neurons."""
    parameters = MacroParameters(n, coupling=0.02)
    if not coupled:
        parameters.__dict__["transport"] = NoTransport((n, n))

    def run(k: int) -> None:
        simulate_macro(parameters, array(np.ones((1, n)), k * DT), dt=DT, record_dt=k * DT)

    return cost_of_step(run, steps)


def direct_program(n: int, *, psi_once: bool) -> tuple[b2.Network, b2.NeuronGroup]:
    """The program one would write first: `Synapses` between processes, T·ψ(p) summed over pairs."""
    parameters = MacroParameters(n, coupling=0.02)
    neurons = b2.NeuronGroup(n, NEURONS, method="rk4", dt=DT * b2.second, namespace=constants(parameters))
    calcium = "calcium = tanh(p_short) : 1" + (" (constant over dt)" if psi_once else "")
    processes = b2.NeuronGroup(
        n * n, PROCESSES + calcium, method="rk4", dt=DT * b2.second, namespace=constants(parameters)
    )
    i, j = np.divmod(np.arange(n * n), n)
    links = b2.Synapses(
        processes,
        neurons,
        "inflow_post = gain*s_pre*afferent_pre : 1 (summed)",
        dt=DT * b2.second,
        namespace=constants(parameters),
    )
    links.connect(i=i * n + j, j=i)
    feeds = [
        b2.Synapses(neurons, processes, f"{name}_post = activity_pre : 1 (summed)", dt=DT * b2.second)
        for name in ("own", "afferent")
    ]
    for feed, neuron in zip(feeds, (i, j), strict=True):
        feed.connect(i=neuron, j=i * n + j)
    transport = b2.Synapses(
        processes,
        processes,
        "T : 1 (constant)\narriving_post = T*" + ("calcium_pre" if psi_once else "tanh(p_short_pre)") + " : 1 (summed)",
        dt=DT * b2.second,
    )
    source, target = (index.ravel() for index in np.indices((n * n, n * n)))
    transport.connect(i=source, j=target)
    del source, target
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    near = np.exp(-distance / parameters.coupling_length)
    transport.T = parameters.coupling * np.kron(near, near).ravel()
    neurons.b = 1
    network = b2.Network(neurons, processes, links, *feeds, transport)
    assert len(transport) == n**4
    return network, processes


def direct(n: int, steps: int, *, psi_once: bool) -> float:
    """Cost of a step of the direct program."""
    network, _ = direct_program(n, psi_once=psi_once)
    return cost_of_step(lambda k: network.run(k * DT * b2.second), steps)


def disagreement() -> float:
    """Largest difference of p_short after 5 s between the two programs at 9 × 9, relative to the largest value."""
    network, processes = direct_program(9, psi_once=False)
    network.run(5 * b2.second)
    run = simulate_macro(MacroParameters(9, coupling=0.02), array(np.ones((1, 9)), 5.0), dt=DT, record_dt=5.0)
    here = run.p_short.values[-1].ravel()
    return float(np.abs(here - processes.p_short_[:]).max() / here.max())


def peak_memory(n: int) -> float:
    """Peak memory of a child that simulates n neurons for 20 steps [MiB]."""
    code = (
        "import numpy as np, resource; from astro_sim import simulate_macro, MacroParameters;"
        "from astro_sim.protocols import array;"
        f"simulate_macro(MacroParameters({n}, coupling=0.02), array(np.ones((1, {n})), 0.4), dt={DT}, record_dt=0.4);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    return int(subprocess.check_output([sys.executable, "-W", "ignore", "-c", code])) / 1024


def demo() -> dict[str, float]:
    """CPU time of the 3 × 3 demo protocol (270 s) in NumPy [s], first and second run in one process."""
    times = []
    for _ in range(2):
        start = time.process_time()
        simulate_macro()
        times.append(time.process_time() - start)
    return {"first_cpu_s": times[0], "second_cpu_s": times[1]}


def measure(quick: bool) -> dict[str, object]:
    """All figures; `quick` leaves out the direct program above 16 and sizes above 64."""
    sizes = (3, 9, 16, 32, 64) if quick else (3, 9, 16, 32, 64, 128, 256)
    steps = {n: int(np.clip(400 * (32 / n) ** 2, 20, 2000)) for n in sizes}
    few = {n: int(np.clip(20 * (32 / n) ** 4, 10, 3000)) for n in sizes}
    memory = peak_memory(sizes[-1])  # first: a child starts with the peak of its parent
    coupled = {n: ours(n, steps[n]) for n in sizes}
    alone = {n: ours(n, steps[n], coupled=False) for n in sizes}
    first = {n: direct(n, few[n], psi_once=False) for n in sizes if n <= (16 if quick else 32)}
    cheap = {n: direct(n, few[n], psi_once=True) for n in sizes if n <= (16 if quick else 64)}
    large = [n for n in sizes if n >= 32]
    slope = float(np.polyfit(np.log(large), np.log([coupled[n] for n in large]), 1)[0])

    def growth(costs: dict[int, float]) -> float:
        small, big = sorted(costs)[-2:]
        return float(np.log(costs[big] / costs[small]) / np.log(big / small))

    return {
        "us_per_step": {"ours": coupled, "ours_without_coupling": alone, "direct": first, "direct_psi_once": cheap},
        "ratio_direct": {n: first[n] / coupled[n] for n in first},
        "ratio_direct_psi_once": {n: cheap[n] / coupled[n] for n in cheap},
        "ratio_to_no_coupling": {n: coupled[n] / alone[n] for n in sizes},
        "slope_ours": slope,
        "slope_direct": growth(first),
        "slope_direct_psi_once": growth(cheap),
        "peak_memory_mib": {sizes[-1]: memory},
        "disagreement_at_9": disagreement(),
        "demo": demo(),
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Measure and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    result = {"benchmark": "macro", "created": timestamp(), "versions": versions(), "dt_s": DT}
    with threadpool_limits(1):  # one thread on both sides
        result |= measure(options.quick)
    path = options.out / "macro.json"
    write_json(path, result)
    print(json.dumps(result, indent=2))
    print(f"results: {path}")


if __name__ == "__main__":
    main()
