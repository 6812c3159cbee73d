"""AMRB against BPTT of the same model: peak memory and time of a training step over the number of segments.

Memory is measured twice: the bytes of all tensors alive (exact, any allocator), and the resident memory that a
fresh process adds. Run ``python benchmarks/amrb.py --out runs/bench/amrb.json``.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from measure import interleaved, resident_peak, write_json

from rmaat import RMAATConfig, RMAATForSequenceClassification
from rmaat.peak_memory import training_step_peak


def training_step(made: RMAATConfig, segments: int, batch: int) -> Callable[[], None]:
    """One forward and backward pass on random tokens."""
    torch.manual_seed(0)
    model = RMAATForSequenceClassification(made)
    inputs = torch.randint(1, made.vocab_size, (batch, segments * made.segment_length))
    labels = torch.randint(made.num_labels, (batch,))

    def step() -> None:
        model.zero_grad()
        model(inputs, labels=labels).loss.backward()

    return step


def main() -> None:
    """Measure and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--segment-length", type=int, default=512)
    parser.add_argument("--memory-tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/amrb.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes = {name: getattr(options, name) for name in ("dim", "layers", "segment_length", "memory_tokens")}
    modes = {"bptt": ("bptt", 1), "amrb": ("amrb", 1), "amrb-every-4": ("amrb", 4)}
    rows = []
    for segments in options.segments:
        made = {name: RMAATConfig(backprop=rule, every_k=k, **sizes) for name, (rule, k) in modes.items()}
        steps = {name: training_step(one, segments, options.batch) for name, one in made.items()}
        row = {"segments": segments, "time": interleaved(steps, options.rounds)}
        row["tensor_bytes"] = {n: training_step_peak(one, segments, options.batch) for n, one in made.items()}
        row["resident_bytes"] = {
            name: resident_peak(training_step, (one, 1, 1), (one, segments, options.batch))
            for name, one in made.items()
        }
        row["time_floor"] = 1 + (segments - 1) / segments / 3  # one more forward of all segments but the last
        rows.append(row)
        time = row["time"]
        print(
            f"T = {segments:3d}  memory AMRB / BPTT {_ratio(row['tensor_bytes']):.3f} (tensors) "
            f"{_ratio(row['resident_bytes']):.3f} (resident)  time "
            f"{time['amrb']['wall_s']['median'] / time['bptt']['wall_s']['median']:.3f} wall "
            f"{time['amrb']['cpu_s']['median'] / time['bptt']['cpu_s']['median']:.3f} CPU "
            f"(floor {row['time_floor']:.3f})",
            flush=True,
        )
    write_json(options.out, settings=vars(options) | {"out": str(options.out)}, rows=rows)


def _ratio(values: dict[str, int]) -> float:
    return values["amrb"] / values["bptt"]


if __name__ == "__main__":
    main()
