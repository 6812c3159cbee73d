"""RMAAT against its peers in one run: speed, memory, distance from the matrix products' own time, streaming.

Every cell is a forward and a backward pass on random tokens; the rounds are interleaved and the ratios are those
of the medians of CPU time, which other load on the machine hardly moves (wall time is in the JSON too). Peers of
other packages need ``pip install linear-attention-transformer performer-pytorch
recurrent-memory-transformer-pytorch``. Run ``python benchmarks/model.py --out runs/bench/model.json``.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from measure import interleaved, write_json
from peers import peer_steps

from rmaat import RMAATConfig, RMAATForSequenceClassification, baseline_config
from rmaat.peak_memory import training_step_peak


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


def stream(config: RMAATConfig, tokens: int) -> dict[str, float]:
    """Resident memory and time of a segment over a stream, early against late."""
    torch.manual_seed(0)
    reader = RMAATForSequenceClassification(config).stream()
    process, resident, times = psutil.Process(), [], []
    for _ in range(tokens // config.segment_length):
        piece = torch.randint(1, config.vocab_size, (1, config.segment_length))
        start = time.process_time()
        reader.feed(piece)
        times.append(time.process_time() - start)
        resident.append(process.memory_info().rss)
    tenth = max(1, len(times) // 10)
    early, late = (sorted(part)[len(part) // 2] for part in (times[tenth : 2 * tenth], times[-tenth:]))
    return {
        "tokens": tokens,
        "resident_growth": max(resident[tenth:]) / min(resident[tenth:]) - 1,
        "latency_change": late / early - 1,
        "segment_cpu_s": late,
    }


def main() -> None:
    """Measure, print the ratios and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flat-tokens", type=int, nargs="*", default=[2048, 16384, 65536])
    parser.add_argument("--stream-tokens", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/model.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    length = options.tokens
    sizes: dict[str, Any] = {"dim": 256, "heads": 4, "layers": 4, "memory_tokens": 16}
    inputs = torch.randint(1, 256, (options.batch, length), generator=torch.Generator().manual_seed(0))

    made = {
        f"{name}-{segment}": baseline_config(name, length, **sizes, segment_length=segment)
        for segment in (512, 2048)
        for name in ("rmaat", "rmt")
    }
    made = {name + ("-amrb" if config.backprop == "amrb" else "-bptt"): config for name, config in made.items()}
    for segment in (512, 2048):
        amrb = made[f"rmaat-{segment}-amrb"]
        made[f"rmaat-{segment}-bptt"] = amrb.model_copy(update={"backprop": "bptt"})
    made |= {name: baseline_config(name, length, **sizes) for name in ("transformer", "linear", "ssm")}
    cells = {name: training_step(config, inputs) for name, config in made.items()}
    peers, absent = peer_steps(sizes | {"segment_length": 512}, inputs)
    segments = length // 512
    cells |= peers | {"matrix-products": matrix_products(made["rmaat-512-bptt"], options.batch, segments)}
    for tokens in options.flat_tokens:
        longer = torch.randint(1, 256, (1, tokens))
        cells[f"flat-{tokens}"] = training_step(made["rmaat-512-bptt"], longer)
    timed = interleaved(cells, options.rounds)
    cpu = {name: cell["cpu_s"]["median"] for name, cell in timed.items()}

    allowed = {name: operations(config) for name, config in made.items()}
    linear_peers = [name for name in ("linear-attention-transformer", "performer-pytorch") if name in cpu]
    flat = {tokens: tokens / cpu[f"flat-{tokens}"] for tokens in options.flat_tokens}
    peaks = {
        name: training_step_peak(made[name], length // made[name].segment_length, options.batch)
        for name in ("rmaat-512-amrb", "rmaat-512-bptt", "rmt-512-bptt")
    }
    ratios = {
        "step / matrix products": cpu["rmaat-512-bptt"] / cpu["matrix-products"],
        "speed over RMT, segment 512": cpu["rmt-512-bptt"] / cpu["rmaat-512-bptt"],
        "  allowed by operations": allowed["rmt-512-bptt"] / allowed["rmaat-512-bptt"],
        "speed over RMT, segment 2048": cpu["rmt-2048-bptt"] / cpu["rmaat-2048-bptt"],
        "  allowed by operations ": allowed["rmt-2048-bptt"] / allowed["rmaat-2048-bptt"],
        "speed over RMT, segment 512, AMRB on": cpu["rmt-512-bptt"] / cpu["rmaat-512-amrb"],
        "speed over softmax transformer, AMRB on": cpu["transformer"] / cpu["rmaat-512-amrb"],
        **{f"speed over {name}": cpu[name] / cpu["rmaat-512-bptt"] for name in [*peers, "linear", "ssm"]},
        "speed over best linear peer": min((cpu[n] for n in linear_peers), default=float("nan"))
        / cpu["rmaat-512-bptt"],
        f"AMRB / BPTT time, {segments} segments": cpu["rmaat-512-amrb"] / cpu["rmaat-512-bptt"],
        f"AMRB / BPTT peak memory, {segments} segments": peaks["rmaat-512-amrb"] / peaks["rmaat-512-bptt"],
        "AMRB / RMT peak memory": peaks["rmaat-512-amrb"] / peaks["rmt-512-bptt"],
        "slowest / fastest tokens per second over lengths": min(flat.values()) / max(flat.values())
        if flat
        else float("nan"),
    }
    for name, value in ratios.items():
        print(f"{name:52s} {value:.3f}")
    streamed = stream(made["rmaat-512-amrb"].model_copy(update={"streaming": True}), options.stream_tokens)
    print(streamed)
    write_json(
        options.out,
        settings=sizes | {"tokens": length, "batch": options.batch, "rounds": options.rounds},
        cells={name: cell | {"tokens": options.batch * length} for name, cell in timed.items()},
        ratios={name.strip(): value for name, value in ratios.items()},
        tokens_per_cpu_second_by_length=flat,
        peak_bytes=peaks,
        stream=streamed,
        absent=absent,
    )


if __name__ == "__main__":
    main()
