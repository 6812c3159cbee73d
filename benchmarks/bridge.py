"""The astrocytic kernel applied to (N, m) in O(N m) against the dense product, and the time of the fits.

Run ``python benchmarks/bridge.py --out runs/bench/bridge.json``.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from measure import interleaved, write_json

from astro_sim import simulate_macro
from rmaat_bridge import (
    AstrocyticKernel,
    AttentionFit,
    Quantity,
    fit_attention,
    fit_presynaptic,
    fit_retention,
    sobol_indices,
)

FAMILIES: dict[str, dict[str, float]] = {
    "exponential": {},
    "gaussian": {},
    "power-law": {"exponent": 1.5},
    "difference-of-exponentials": {"surround": 0.3, "surround_ratio": 2.0},
}


def kernel(family: str, length: float) -> AstrocyticKernel:
    """A kernel with the given decay length in tokens."""
    values = {"length": length, "tokens_per_step": 1.0, **FAMILIES[family]}
    parameters = {name: Quantity.exact(value, "1") for name, value in values.items()}
    return AstrocyticKernel(AttentionFit(family=family, parameters=parameters, r_squared=1.0))


def products(n: int, m: int, family: str, dense: bool) -> dict[str, Callable[[], torch.Tensor]]:
    """The fast product and, if asked for, the dense one, forward and backward in the matrix."""
    r, matrix = kernel(family, 10.0), torch.randn(n, m, requires_grad=True)

    def backward(result: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(result.sum(), matrix)[0]

    cells = {"fast": lambda: backward(r @ matrix)}
    return cells | ({"dense": lambda: backward(r(n) @ matrix)} if dense else {})


def main() -> None:
    """Measure and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512, 2048, 8192, 32768])
    parser.add_argument("--largest-dense", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/bridge.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for family in FAMILIES:
        for n in options.lengths:
            cells = products(n, options.columns, family, n <= options.largest_dense)
            times = interleaved(cells, options.rounds)
            rows.append({"family": family, "n": n, "time": times})
            cpu = "  ".join(f"{name} {1e3 * time['cpu_s']['min']:8.2f} ms" for name, time in times.items())
            print(f"{family:26s} N = {n:6d}  {cpu}", flush=True)
    recording = simulate_macro(backend="scipy")
    fits = interleaved(
        {
            "fit_retention": lambda: fit_retention(recording),
            "fit_attention": lambda: fit_attention(recording),
            "fit_presynaptic": lambda: fit_presynaptic(recording),
            "sobol_indices(256)": lambda: sobol_indices(256),
        },
        options.rounds,
    )
    for name, time in fits.items():
        print(f"{name:26s} {time['cpu_s']['min']:.3f} s CPU")
    write_json(options.out, settings={"columns": options.columns}, products=rows, fits=fits)


if __name__ == "__main__":
    main()
