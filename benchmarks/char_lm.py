"""Character language model: bits per character of RMAAT and its baselines at equal steps and parameters.

Every model, without and with the causal convolutional stem, is trained on the same windows of the first nine
tenths of the text; the width of its feed-forward network makes its parameters as many as RMAAT's. The first half
of the last tenth chooses its learning rate, on seed 0; the second half gives its bits per character over all
seeds. All models are trained by BPTT (AMRB gives the same gradients at less memory and more time). Beside them
stand the bits of n-gram models counted on the same text. Runs that stand in the JSON already are not run again.
Run ``python benchmarks/char_lm.py TEXT --out runs/bench/char_lm.json``.
"""

import argparse
import json
import math
import statistics
import time
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import torch
from measure import write_json

from rmaat import RMAATConfig, RMAATForCausalLM, baseline_config
from rmaat.training.models import trainable


def matched(name: str, length: int, **fields: Any) -> RMAATConfig:
    """A causal baseline whose feed-forward network is as wide as makes its parameters those of RMAAT."""
    common: dict[str, Any] = {"heads": 4, "causal": True, "backprop": "bptt"}
    config, target = (baseline_config(model, length, **common | fields) for model in (name, "rmaat"))
    missing = trainable(RMAATForCausalLM(target)) - trainable(RMAATForCausalLM(config))
    hidden = missing / (config.layers * (2 * config.dim + 1))  # weights of one hidden unit in every layer
    return config.model_copy(update={"ffn_dim": 4 * config.dim + round(hidden)})


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
    """Mean over the characters of `windows` windows that share none."""
    tokens = text[: windows * length].reshape(windows, length)
    found = [model.eval()(rows, None, rows) for rows in tokens.split(32)]
    return float(sum(part.loss * part.count for part in found) / sum(part.count for part in found) / math.log(2))


def ngram_bits(text: str, held_out: str, longest: int) -> list[float]:
    """Bits per character of `held_out` under n-gram models of `text`, n = 1 .. `longest`.

    p_n(c | h) = (N(hc) + D(h) p_{n-1}(c | h')) / (N(h) + D(h)) with N counts, D(h) the number of different
    characters that follow h, h' without its first character, p_0 uniform.

    Source: Witten and Bell 1991, interpolated.
    """
    likelihood = [1 / len(set(text + held_out))] * len(held_out)
    bits = []
    for before in range(longest):
        counts = Counter(text[i : i + before + 1] for i in range(len(text) - before))
        seen, follow = Counter[str](), Counter[str]()
        for gram, count in counts.items():
            seen[gram[:-1]] += count
            follow[gram[:-1]] += 1
        context = text[len(text) - before :] + held_out
        for i in range(len(held_out)):
            gram = context[i : i + before + 1]
            if followers := follow[gram[:-1]]:
                likelihood[i] = (counts[gram] + followers * likelihood[i]) / (seen[gram[:-1]] + followers)
        bits.append(-statistics.fmean(map(math.log2, likelihood)))
    return bits


def main() -> None:
    """Train every model on the same windows and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--models", nargs="+", default=["rmaat", "rmt", "linear", "at", "transformer", "ssm"])
    parser.add_argument("--stems", type=int, nargs="+", default=[2, 0], help="layers of the stem")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--segment-length", type=int, default=64)
    parser.add_argument("--memory-tokens", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[8e-3, 1.6e-2])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/char_lm.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    characters = options.text.read_text(encoding="utf-8")
    alphabet = {character: i for i, character in enumerate(sorted(set(characters)), 1)}
    ids = torch.tensor([alphabet[character] for character in characters])
    held_out = len(ids) // 10
    training, (validation, test) = ids[:-held_out], ids[-held_out:].chunk(2)
    tested = characters[-len(test) :][: options.windows * options.length]
    floors = ngram_bits(characters[:-held_out], tested, 6)
    print(*(f"{n}-gram {bits:.3f}" for n, bits in enumerate(floors, 1)), flush=True)
    sizes: dict[str, Any] = {
        name: getattr(options, name) for name in ("dim", "layers", "segment_length", "memory_tokens")
    }
    settings = {name: getattr(options, name) for name in ("length", "batch", "steps", "windows")} | sizes
    settings |= {"text": options.text.name}
    rows = finished(options.out, settings)
    for stem, seed, name in product(options.stems, range(options.seeds), options.models):
        config = matched(name, options.length, vocab_size=len(alphabet) + 1, stem_layers=stem, **sizes)
        for rate in options.learning_rates if seed == 0 else [chosen(rows, name, stem)]:
            run = {"model": name, "stem": stem, "learning_rate": rate, "seed": seed}
            if any(run.items() <= row.items() for row in rows):
                continue
            start = time.process_time()
            model = train(config, training, options, rate, seed)
            bits = [bits_per_character(model, part, options.length, options.windows) for part in (validation, test)]
            run |= {"parameters": trainable(model), "validation": bits[0], "test": bits[1]}
            rows.append(run | {"cpu_s": time.process_time() - start})
            print(rows[-1], flush=True)
            cells = [summary(rows, *cell) for cell in dict.fromkeys((row["model"], row["stem"]) for row in rows)]
            write_json(options.out, settings=settings, ngrams=floors, rows=rows, cells=cells)
            print(cells[-1], flush=True)


def finished(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs that an earlier call with the same settings left in `path`."""
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["settings"] != settings:
        raise SystemExit(f"{path} holds runs with other settings: {found['settings']}")
    return list(found["rows"])


def chosen(rows: list[dict[str, Any]], name: str, stem: int) -> float:
    """The learning rate with the least validation bits on seed 0."""
    tried = [row for row in rows if (row["model"], row["stem"], row["seed"]) == (name, stem, 0)]
    return float(min(tried, key=lambda row: row["validation"])["learning_rate"])


def summary(rows: list[dict[str, Any]], name: str, stem: int) -> dict[str, Any]:
    """Bits at the chosen learning rate over the seeds run so far."""
    rate = chosen(rows, name, stem)
    runs = [row for row in rows if (row["model"], row["stem"], row["learning_rate"]) == (name, stem, rate)]
    found: dict[str, Any] = {"model": name, "stem": stem, "learning_rate": rate, "seeds": len(runs)}
    for part in ("validation", "test", "cpu_s"):
        values = [row[part] for row in runs]
        found[part] = {"mean": statistics.mean(values), "std": statistics.stdev(values) if runs[1:] else None}
    return found | {"parameters": runs[0]["parameters"]}


if __name__ == "__main__":
    main()
