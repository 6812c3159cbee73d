"""RMAAT against its peers in one run: speed, memory, distance from the matrix products' own time, streaming.

Every cell is a forward and a backward pass on random tokens; the rounds are interleaved, and every ratio is given
for the medians of wall and of CPU time. On a machine that does nothing else wall time counts; beside other load,
CPU time with ``--threads 1``. Peers of other packages need ``pip install linear-attention-transformer
performer-pytorch recurrent-memory-transformer-pytorch``. The JSON is written after every group of measurements.
Run ``python benchmarks/model.py --out runs/bench/model.json``.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from measure import interleaved, write_json
from peers import peer_steps

from rmaat import RMAATConfig, RMAATForSequenceClassification, baseline_config
from rmaat.peak_memory import training_step_peak

SIZES: dict[str, Any] = {"dim": 256, "heads": 4, "layers": 4, "memory_tokens": 16}


def training_step(config: RMAATConfig, inputs: torch.Tensor) -> Callable[[], None]:
    """One forward and backward pass."""
    torch.manual_seed(0)
    model = RMAATForSequenceClassification(config)
    labels = torch.zeros(len(inputs), dtype=torch.long)

    def step() -> None:
        model.zero_grad()
        model(inputs, labels=labels).loss.backward()

    return step


def matrix_products(config: RMAATConfig, batch: int, segments: int) -> Callable[[], None]:
    """The products of one RMAAT step alone, forward and backward, on the same shapes."""
    d, f, n, h = config.dim, config.ffn_dim or 4 * config.dim, config.segment_tokens, config.heads
    x, wide, hidden = (torch.randn(batch * n, width) for width in (d, 3 * d, f))
    w_qkv, w_in, w_out = torch.randn(d, 3 * d), torch.randn(d, f), torch.randn(f, d)
    q, v = torch.randn(2, batch * h, n, d // h).unbind(0)
    state = torch.randn(batch * h, d // h, d // h)

    def run() -> None:
        for _ in range(config.layers * segments):
            for a, w, b in ((x, w_qkv, wide), (x, w_in, hidden), (hidden, w_out, x)):
                a @ w, b @ w.T, a.T @ b
            for _ in range(3):  # H = K^T V and Q H; dQ, dH; dK, dV
                q.mT @ v, q @ state

    return run


def operations(config: RMAATConfig) -> float:
    """Multiply-adds of a forward pass for one token of the sequence, all layers."""
    d, f, n = config.dim, config.ffn_dim or 4 * config.dim, config.segment_tokens
    mixing = 2 * n * d if config.mixer == "softmax" else 2 * d * d / config.heads
    return config.layers * (3 * d * d + 2 * d * f + mixing) * n / config.segment_length


def configs(tokens: int) -> dict[str, RMAATConfig]:
    """RMAAT and its baselines for sequences of `tokens`, at segments of 512 where the name has no number."""
    whole = {name: baseline_config(name, tokens, **SIZES) for name in ("transformer", "linear", "ssm")}
    rmt, rmt_2048 = (baseline_config("rmt", tokens, **SIZES, segment_length=n) for n in (512, 2048))
    amrb, amrb_2048 = (baseline_config("rmaat", tokens, **SIZES, segment_length=n) for n in (512, 2048))
    bptt = {"backprop": "bptt"}
    return {
        "rmaat": amrb.model_copy(update=bptt),
        "rmaat-amrb": amrb,
        "rmaat-2048": amrb_2048.model_copy(update=bptt),
        "rmt": rmt,
        "rmt-2048": rmt_2048,
        **whole,
    }


def peers(options: argparse.Namespace) -> dict[str, Any]:
    """Step times of RMAAT, its baselines, other packages and the matrix products; batch and length as asked."""
    made = configs(options.tokens)
    inputs = torch.randint(1, 256, (options.batch, options.tokens), generator=torch.Generator().manual_seed(0))
    cells: dict[str, Callable[[], Any]] = {name: training_step(config, inputs) for name, config in made.items()}
    packages, absent = peer_steps(SIZES | {"segment_length": 512}, inputs)
    segments = options.tokens // 512
    for name, why in absent.items():
        print(f"{name}: left out, {why}", flush=True)
    cells |= packages | {"matrix-products": matrix_products(made["rmaat"], options.batch, segments)}
    if missing := set(options.cells or ()) - cells.keys():
        raise SystemExit(f"--cells {min(missing)}: expected some of {', '.join(cells)}")
    timed = interleaved({name: cells[name] for name in options.cells or cells}, options.rounds)
    compared = [
        ("rmaat", "matrix-products"),
        *((name, "rmaat") for name in ("rmt", *packages, "linear", "ssm")),
        ("rmt-2048", "rmaat-2048"),
        ("rmt", "rmaat-amrb"),
        ("transformer", "rmaat-amrb"),
        ("rmaat-amrb", "rmaat"),
    ]
    allowed = {name: operations(config) for name, config in made.items() if name != "ssm"}
    allowed["rmaat-amrb"] *= 1 + (segments - 1) / segments / 3  # all segments but the last run forward once more
    ratios = {}
    for slow, fast in compared:
        if not {slow, fast} <= timed.keys():
            continue
        ratios[f"{slow} / {fast}"] = row = {
            clock: timed[slow][clock]["median"] / timed[fast][clock]["median"] for clock in ("wall_s", "cpu_s")
        }
        if slow in allowed and fast in allowed:
            row["operations"] = allowed[slow] / allowed[fast]
        print(f"{f'{slow} / {fast}':52s}", " ".join(f"{clock} {value:.3f}" for clock, value in row.items()), flush=True)
    return {"cells": timed, "ratios": ratios, "absent": absent}


def flat(options: argparse.Namespace) -> dict[str, Any]:
    """Cost of a token over the length of the sequence, batch 1, BPTT."""
    config = configs(options.tokens)["rmaat"]
    inputs = {tokens: torch.randint(1, 256, (1, tokens)) for tokens in options.flat_tokens}
    timed = interleaved({str(n): training_step(config, some) for n, some in inputs.items()}, options.rounds)
    cost = {n: {clock: timed[str(n)][clock]["median"] / n for clock in ("wall_s", "cpu_s")} for n in inputs}
    for n, seconds in cost.items():
        print(
            f"{n} tokens: microseconds a token", {k: round(1e6 * value, 2) for k, value in seconds.items()}, flush=True
        )
    return {"cells": timed, "seconds_a_token": cost}


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak bytes of the tensors of a training step."""
    made = configs(options.tokens)
    peaks = {
        name: training_step_peak(made[name], options.tokens // 512, options.batch)
        for name in ("rmaat-amrb", "rmaat", "rmt")
    }
    for name in ("rmaat", "rmt"):
        print(f"peak memory, rmaat-amrb / {name}: 1 / {peaks[name] / peaks['rmaat-amrb']:.2f}", flush=True)
    return {"peak_bytes": peaks}


def stream(options: argparse.Namespace) -> dict[str, Any]:
    """Resident memory over a stream, and its latency a segment at the end beside that of a young stream."""
    config = configs(options.tokens)["rmaat-amrb"].model_copy(update={"streaming": True})
    torch.manual_seed(0)
    model = RMAATForSequenceClassification(config)
    old, resident = model.stream(), []
    for _ in range(options.stream_tokens // config.segment_length):
        old.feed(torch.randint(1, config.vocab_size, (1, config.segment_length)))
        resident.append(psutil.Process().memory_info().rss)
    settled = resident[len(resident) // 10 :]
    young = model.stream()
    times: dict[str, list[float]] = {"old": [], "young": []}
    for _ in range(60):
        piece = torch.randint(1, config.vocab_size, (1, config.segment_length))
        for name, reader in (("old", old), ("young", young)):
            start = time.process_time()
            reader.feed(piece)
            times[name].append(time.process_time() - start)
    late, early = (median(times[name][20:]) for name in ("old", "young"))
    found = {
        "tokens": options.stream_tokens,
        "resident_growth": max(settled) / min(settled) - 1,
        "latency_change": late / early - 1,
        "segment_cpu_s": late,
    }
    print(found, flush=True)
    return found


GROUPS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "memory": memory,
    "stream": stream,
    "flat": flat,
    "peers": peers,
}


def main() -> None:
    """Measure group by group, print the ratios and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--cells", nargs="+", help="of the group peers, these only")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flat-tokens", type=int, nargs="+", default=[2048, 8192, 65536])
    parser.add_argument("--stream-tokens", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/model.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = {}
    for name in options.only:
        results[name] = GROUPS[name](options)
        write_json(options.out, settings=SIZES | vars(options) | {"out": str(options.out)}, **results)


if __name__ == "__main__":
    main()
