"""Character language model: bits per character of RMAAT and its baselines at equal steps and near-equal parameters.

Every model is trained at every learning rate on the same windows of the first nine tenths of the text; the first
half of the last tenth chooses a model's learning rate, the second half gives its bits per character. All models
are trained by BPTT (AMRB gives the same gradients at less memory and more time).
Run ``python benchmarks/char_lm.py TEXT --out runs/bench/char_lm.json``.
"""

import argparse
import math
import statistics
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch
from measure import write_json

from rmaat import RMAATConfig, RMAATForCausalLM, baseline_config


def configs(names: list[str], vocab: int, length: int, **sizes: int) -> dict[str, RMAATConfig]:
    """One causal configuration a model; `sizes` are fields of `RMAATConfig`."""
    common: dict[str, Any] = {"vocab_size": vocab, "layers": 2, "heads": 4, "causal": True, "backprop": "bptt"}
    return {name: baseline_config(name, length, **common | sizes) for name in names}


def train(
    config: RMAATConfig, text: torch.Tensor, options: argparse.Namespace, learning_rate: float, seed: int
) -> RMAATForCausalLM:
    """AdamW with warm-up and cosine decay on random windows; every model sees the same ones."""
    torch.manual_seed(seed)
    model = RMAATForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.98))
    windows = torch.Generator().manual_seed(seed)
    for step in range(options.steps):
        share = step / options.steps
        scale = min(1.0, 20 * share, 0.5 * (1 + math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * max(scale, 1e-3)
        starts = torch.randint(len(text) - options.length, (options.batch, 1), generator=windows)
        tokens = text[starts + torch.arange(options.length)]
        optimizer.zero_grad()
        model(tokens, None, tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


@torch.no_grad()
def bits_per_character(model: RMAATForCausalLM, text: torch.Tensor, length: int, windows: int) -> float:
    """Mean over `windows` windows that share no character."""
    tokens = text[: windows * length].reshape(windows, length)
    losses = [model.eval()(rows, None, rows).loss for rows in tokens.split(32)]
    return float(torch.stack(losses).mean() / math.log(2))


def main() -> None:
    """Train every model on the same windows and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--models", nargs="+", default=["rmaat", "linear", "rmt"])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--segment-length", type=int, default=16)
    parser.add_argument("--memory-tokens", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[8e-3, 1.1e-2, 1.6e-2])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/char_lm.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    characters = options.text.read_text(encoding="utf-8")
    alphabet = {character: i for i, character in enumerate(sorted(set(characters)), 1)}
    ids = torch.tensor([alphabet[character] for character in characters])
    held_out = len(ids) // 10
    sizes = {name: getattr(options, name) for name in ("dim", "segment_length", "memory_tokens")}
    made = configs(options.models, len(alphabet) + 1, options.length, **sizes)
    settings = {key: str(value) for key, value in vars(options).items()}
    rows: list[dict[str, Any]] = []
    for seed, (name, config), rate in product(range(options.seeds), made.items(), options.learning_rates):
        start = time.process_time()
        model = train(config, ids[:-held_out], options, rate, seed)
        validation, test = (
            bits_per_character(model, part, options.length, options.windows) for part in ids[-held_out:].chunk(2)
        )
        parameters = sum(p.numel() for p in model.parameters())
        used = time.process_time() - start
        row = {"model": name, "seed": seed, "learning_rate": rate, "validation": validation, "test": test}
        rows.append(row | {"parameters": parameters, "cpu_s": used})
        print(rows[-1], flush=True)
        write_json(options.out, settings=settings, rows=rows, chosen=chosen(rows))
    for name, best in chosen(rows).items():
        print(f"{name:12s} {best['test']:.3f} bits per character at learning rate {best['learning_rate']}")


def chosen(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For each model the learning rate with the least mean validation bits, and its mean test bits over seeds."""
    found: dict[str, dict[str, float]] = {}
    for model, rate in {(row["model"], row["learning_rate"]): None for row in rows}:
        runs = [row for row in rows if (row["model"], row["learning_rate"]) == (model, rate)]
        mean = {part: statistics.mean(row[part] for row in runs) for part in ("validation", "test")}
        if model not in found or mean["validation"] < found[model]["validation"]:
            found[model] = {"learning_rate": rate, **mean}
    return found


if __name__ == "__main__":
    main()
