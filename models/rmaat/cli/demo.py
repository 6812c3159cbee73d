"""`rmaat demo`: the whole road on one seed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from astro_sim.provenance import versions, write_json
from rmaat.cli.options import SeedOption, out_folder, refuse_foreign

ARTEFACTS = ("demo.json", "macro.nc", "bio.toml", "train", "deploy", "backprop_memory.json", "report.html")
MEMORY_SEGMENTS = [1, 2, 4, 8, 16, 32]
MEMORY_BATCH = 4


def demo(
    out: Annotated[Path, out_folder("Folder of the run.")] = Path("runs/demo"),
    config: Annotated[str, typer.Option(help="Recipe of the training: a TOML file or a packaged name.")] = "demo",
    target: Annotated[str, typer.Option(help="Where the integers run: loihi2, lava, numpy or auto.")] = "auto",
    seed: SeedOption = 0,
) -> None:
    """Simulate, fit, train, deploy and report on one seed; the report opens offline in a browser."""
    from astro_sim import save_recording, simulate_macro
    from rmaat.data.splits import load_splits
    from rmaat.data.tasks import find_task
    from rmaat.report.run_report import write_report
    from rmaat.training.folder import held
    from rmaat.training.models import build
    from rmaat.training.recipe import load_recipe
    from rmaat.training.run import train
    from rmaat_bridge import BioParameters
    from rmaat_lava.deployment import needed_of_a_chip
    from rmaat_lava.targets import choose_target
    from rmaat_lava.trial import deploy_run

    recipe, target = load_recipe(config, {"seed": seed}), choose_target(target)
    find_task(recipe.task, f"{config}: task")
    refuse_foreign(out, ARTEFACTS, "demo.json", ("seed", "config", "versions"))
    few = recipe.data.model_copy(update={"train": 1, "validation": 1, "test": 1, "curriculum": ()})
    model: Any = build(recipe, load_splits(recipe.task, few, seed).train, BioParameters.reference())
    needed_of_a_chip(model)
    about = {"seed": seed, "config": config, "versions": versions()}
    seconds: dict[str, float] = {}
    with held(out):
        write_json(out / "demo.json", about)
        with _stage("simulate", "3 x 3 neurons, six STP cycles of 45 s (Brian2)", seconds):
            save_recording(simulate_macro(seed=seed), out / "macro.nc")
        with _stage("fit", "retention, astrocytic kernel, exponent (SciPy)", seconds):
            BioParameters.from_recordings(out / "macro.nc", seed=seed).save(out / "bio.toml")
        with _stage("train", f"{recipe.kind} on {recipe.task} (PyTorch)", seconds):
            train(recipe, out / "bio.toml", out / "train", overwrite=True)
        with _stage("deploy", f"integers on target {target}", seconds):
            found = deploy_run(out / "train", out / "deploy", target=target, seed=seed)
            equal = "equal to" if found["equal_to_numpy"] else "DIFFERENT from"
            typer.echo(f"   integers {equal} those of NumPy on {found['sequences_on_target']} unseen sequences;")
            typer.echo(f"   float and integer predictions agree on {found['predictions_agree']:.1%}")
        with _stage("measure", "memory of AMRB against BPTT", seconds):
            measured = _backprop_memory(out / "train" / "checkpoint", seed)
        write_json(out / "backprop_memory.json", measured)
        write_json(out / "demo.json", about | {"seconds": seconds})
        path = write_report(out)
    typer.echo(f"\n{sum(seconds.values()):.0f} s; open {path}")
    if not found["equal_to_numpy"]:
        raise typer.Exit(1)


@contextmanager
def _stage(name: str, title: str, seconds: dict[str, float]) -> Iterator[None]:
    typer.echo(f"\n== {name}: {title}")
    started = time.monotonic()
    yield
    seconds[name] = time.monotonic() - started
    typer.echo(f"   {seconds[name]:.1f} s")


def _backprop_memory(checkpoint: Path, seed: int) -> dict[str, Any]:
    """Peak memory of a training step of the trained model's own architecture, over the number of segments."""
    from rmaat.peak_memory import backprop_memory
    from rmaat.pretrained import read_config

    config = read_config(checkpoint)
    return {
        "segments": MEMORY_SEGMENTS,
        "batch": MEMORY_BATCH,
        "model": config.model_dump(mode="json", exclude={"bio"}),
        "peak_bytes": backprop_memory(config, MEMORY_SEGMENTS, MEMORY_BATCH, seed),
    }
