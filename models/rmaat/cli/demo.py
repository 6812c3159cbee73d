"""`rmaat demo`: the whole road on one seed."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from rmaat.cli.options import SeedOption

MEMORY_SEGMENTS = [1, 2, 4, 8, 16, 32]
MEMORY_BATCH = 4


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    config: Annotated[str, typer.Option(help="Recipe of the training: a TOML file or a packaged name.")] = "demo",
    target: Annotated[str, typer.Option(help="Where the integers run: loihi2, lava, numpy or auto.")] = "auto",
    seed: SeedOption = 0,
) -> None:
    """Simulate, fit, train, deploy and report on one seed; the report opens offline in a browser."""
    from astro_sim import save_recording, simulate_macro
    from rmaat.report.run_report import write_report
    from rmaat.training.recipe import load_recipe
    from rmaat.training.run import train
    from rmaat_bridge import BioParameters
    from rmaat_lava.targets import choose_target
    from rmaat_lava.trial import deploy_run

    started = time.monotonic()
    recipe, target = load_recipe(config, {"seed": seed}), choose_target(target)
    out.mkdir(parents=True, exist_ok=True)
    with _stage("1 simulate: 3 x 3 neurons, six STP cycles of 45 s (Brian2)"):
        save_recording(simulate_macro(seed=seed), out / "macro.nc")
    with _stage("2 fit: retention, astrocytic kernel, exponent (SciPy)"):
        BioParameters.from_recordings(out / "macro.nc", seed=seed).save(out / "bio.toml")
    with _stage("3 train: RMAAT on ListOps with AMRB (PyTorch)"):
        train(recipe, out / "bio.toml", out / "train")
    with _stage("4 deploy: integers (Lava)"):
        deploy_run(out / "train", out / "deploy", target=target, seed=seed)
    with _stage("5 memory of AMRB against BPTT"):
        _measure_memory(out, seed)
    with _stage("6 report"):
        path = write_report(out)
    typer.echo(f"\n{time.monotonic() - started:.0f} s; open {path}")


@contextmanager
def _stage(title: str) -> Iterator[None]:
    typer.echo(f"\n== {title}")
    started = time.monotonic()
    yield
    typer.echo(f"   {time.monotonic() - started:.1f} s")


def _measure_memory(out: Path, seed: int) -> None:
    """Peak memory of a training step of the trained model's own architecture, over the number of segments."""
    from astro_sim.provenance import replacing
    from rmaat.heads import RMAATForSequenceClassification
    from rmaat.peak_memory import backprop_memory

    config = RMAATForSequenceClassification.from_pretrained(out / "train" / "checkpoint").config
    measured = {
        "segments": MEMORY_SEGMENTS,
        "batch": MEMORY_BATCH,
        "seed": seed,
        "model": config.model_dump(mode="json", exclude={"bio"}),
        "peak_bytes": backprop_memory(config, MEMORY_SEGMENTS, MEMORY_BATCH, seed),
    }
    with replacing(out / "backprop_memory.json") as aside:
        aside.write_text(json.dumps(measured, indent=1), encoding="utf-8")
