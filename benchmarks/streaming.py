"""Known length, streaming, a plain mean, or no retention: which segment's evidence survives?

Sequences of 2 to 8 segments of noise hold one marker followed by the symbol that is to be named. Four models that
differ in the schedule alone, and in what weighs the trace, learn the task; accuracy is reported by the segment that
held the evidence and by how many segments followed it. Run
``python benchmarks/streaming.py --out runs/bench/streaming.json``.
"""

import argparse
from pathlib import Path

import torch
from measure import write_json

from rmaat import RMAATConfig, RMAATForSequenceClassification

SYMBOLS, NOISE, SEGMENT, LONGEST = 8, 16, 8, 8
MARKER = SYMBOLS + NOISE + 1
KINDS = {
    "known length": {"trace": "retention"},
    "streaming": {"trace": "retention", "streaming": True},
    "known length, mean trace": {"trace": "mean"},
    "no retention": {"retention": False},
}


def examples(n: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Inputs (n, 64), lengths, labels, and the segment that holds the evidence (n,)."""
    segments = torch.randint(2, LONGEST + 1, (n,), generator=generator)
    place = (torch.rand(n, generator=generator) * segments).long()
    label = torch.randint(SYMBOLS, (n,), generator=generator)
    inputs = torch.randint(SYMBOLS + 1, MARKER, (n, LONGEST * SEGMENT), generator=generator)
    start = place * SEGMENT + torch.randint(SEGMENT - 1, (n,), generator=generator)
    rows = torch.arange(n)
    inputs[rows, start], inputs[rows, start + 1] = MARKER, 1 + label
    return inputs, segments * SEGMENT, label, place


def train(kind: str, seed: int, steps: int) -> RMAATForSequenceClassification:
    """A model of the given kind after `steps` steps on fresh examples."""
    torch.manual_seed(seed)
    config = RMAATConfig(
        vocab_size=MARKER + 1,
        num_labels=SYMBOLS,
        dim=32,
        layers=2,
        heads=2,
        segment_length=SEGMENT,
        memory_tokens=4,
        backprop="bptt",
        **KINDS[kind],
    )
    model = RMAATForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        inputs, lengths, labels, _ = examples(64, generator)
        optimizer.zero_grad()
        model(inputs, lengths=lengths, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: RMAATForSequenceClassification, n: int) -> dict[str, float | list[float]]:
    """Share of right answers on `n` unseen examples: of all, by evidence segment, by segments since."""
    inputs, lengths, labels, place = examples(n, torch.Generator().manual_seed(10**6))
    right = (model(inputs, lengths=lengths).logits.argmax(-1) == labels).double()
    since = lengths // SEGMENT - 1 - place
    return {
        "all": float(right.mean()),
        "by_segment": [float(right[place == k].mean()) for k in range(LONGEST)],
        "by_segments_since": [float(right[since == k].mean()) for k in range(LONGEST)],
    }


def main() -> None:
    """Train, measure, write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/streaming.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in range(options.seeds):
        for kind in KINDS:
            found = accuracy(train(kind, seed, options.steps), options.test)
            rows.append({"kind": kind, "seed": seed, **found})
            places = " ".join(f"{100 * value:3.0f}" for value in found["by_segment"])
            since = " ".join(f"{100 * value:3.0f}" for value in found["by_segments_since"])
            print(f"seed {seed} {kind:13s} {100 * found['all']:5.1f} %  by segment {places}  since {since}", flush=True)
    write_json(options.out, settings={"steps": options.steps, "test": options.test}, rows=rows)


if __name__ == "__main__":
    main()
