"""One run from recipe to result: data, model, training, test score and floors, all in one folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from rich.console import Console

from astro_sim.errors import InputError
from astro_sim.provenance import file_sha256, timestamp, versions, write_json
from rmaat.data.sequences import Sequences
from rmaat.data.tasks import SPLITS, Splits, derived_seed, load_splits
from rmaat.pretrained import WEIGHTS
from rmaat.training.cuda_graph import refuse_what_no_graph_holds
from rmaat.training.evaluation import evaluate, standard_error
from rmaat.training.floors import floors, hidden_token_floors
from rmaat.training.log import peak_memory_mib, read_curves
from rmaat.training.models import build, checkpoint_folder, load_checkpoint, refuse_other_data, trainable
from rmaat.training.recipe import Recipe
from rmaat.training.trainer import Trainer
from rmaat_bridge.bio_parameters import BioParameters
from rmaat_bridge.trainable import with_posterior

REPLACED = ("states", "checkpoint", "metrics.csv", "curves.png", "result.json", "bio.toml")  # by a new run


def train(
    recipe: Recipe,
    bio: str | Path | None,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train by `recipe` and test the result.

    Parameters
    ----------
    recipe : Recipe
    bio : path, optional
        BioParameters file that sets retention factors, kernel and exponent; None: the packaged reference.
    out : path
        Folder that gets ``checkpoint/``, ``states/``, ``metrics.csv``, ``curves.png``, ``result.json`` and
        ``bio.toml``: the bio-parameters after training, with the prior beside each number that training moved.
    resume : bool
        Continue from the newest whole state in `out`; from the start if there is none.
    overwrite : bool
        Replace the run in `out`.

    Returns
    -------
    dict
        What ``result.json`` holds: test scores, floors, parameters, seconds, recipe, provenance.

    Raises
    ------
    InputError
        If the bio file, the data or the recipe cannot be used, or `out` holds a run, or files that a run would
        replace, and neither `resume` (of a run) nor `overwrite` was asked for.
    """
    if resume and overwrite:
        raise InputError("--overwrite", overwrite, "not set, with --resume")
    out, console = Path(out), console or Console()
    if bio is not None and Path(bio).resolve().is_relative_to(out.resolve()):
        raise InputError("--out", str(out), "another folder than that of --bio")
    parameters = BioParameters.load(bio) if bio is not None else BioParameters.reference()
    options = recipe.optimisation
    started_by_torchrun = os.environ.get("LOCAL_WORLD_SIZE")
    fabric = Fabric(
        accelerator="auto",
        devices=int(started_by_torchrun) if started_by_torchrun else "auto",
        strategy="ddp" if started_by_torchrun else "auto",
        precision=options.precision,
    )
    fabric.launch()
    refuse_what_no_graph_holds(recipe, fabric)
    if fabric.is_global_zero:
        _check_folder(out, resume, overwrite)
    start = _start(recipe, out)
    torch.manual_seed(recipe.seed)
    splits = load_splits(recipe.task, recipe.data, recipe.seed)
    trainer = None
    if recipe.kind != "floor":
        trainer = Trainer(recipe, splits, build(recipe, splits.train, parameters), out, fabric)
    if fabric.is_global_zero:  # what can be refused has been
        console.print(f"data: {len(splits.train):,} training and {len(splits.test):,} test examples of {splits.origin}")
        about = {"recipe": recipe.model_dump(mode="json"), "bio": parameters.model_dump(mode="json")}
        about["data"] = splits.about()
        _make_room(out, about | start, resume)
    fabric.barrier()
    if trainer is None:
        return _train_floors(recipe, splits, out, console)
    if fabric.global_rank:  # the processes start from the same weights and drop out different ones
        torch.manual_seed(derived_seed(recipe.seed, f"process {fabric.global_rank}"))
    trainer.fit(resume)
    fabric.barrier()
    best = load_checkpoint(out / "checkpoint")[0].to(fabric.device)
    scores = evaluate(best, splits.test, options.batch_size, recipe.data.max_length, fabric)
    trivial = _floors(recipe, splits.train, splits.test)
    result = {
        "task": recipe.task,
        "test": {
            **scores,
            "n": len(splits.test),
            "standard_error": standard_error(scores["accuracy"], len(splits.test)),
        },
        "floors": trivial,
        "parameters": trainable(trainer.model),
        "seconds": trainer.elapsed,
        "tokens_per_s": trainer.tokens_seen / max(trainer.elapsed, 1e-9),
        "peak_memory_mib": peak_memory_mib(),
        **start,
        "recipe": recipe.model_dump(mode="json"),
        "data": splits.about(),
        "bio": parameters.model_dump(mode="json")["provenance"],
        "versions": versions(),
        "created": timestamp(),
    }
    if fabric.is_global_zero:
        with_posterior(parameters, best).save(out / "bio.toml")
        write_json(out / "result.json", result)
        from rmaat.report.figures import training_curves  # matplotlib takes its time

        training_curves(read_curves(out / "metrics.csv"), trivial).savefig(out / "curves.png", dpi=150)
        _say(console, result, out)
    return result


def _train_floors(recipe: Recipe, splits: Splits, out: Path, console: Console) -> dict[str, Any]:
    """Fit the trivial models of the task, the costly ones too, and write their scores."""
    n = len(splits.test)
    scores = _floors(recipe, splits.train, splits.test, costly=True)
    result = {"task": recipe.task, "floors": scores, "n": n, "recipe": recipe.model_dump(mode="json")}
    write_json(out / "result.json", result | {"versions": versions(), "created": timestamp()})
    for name, value in scores.items():
        console.print(f"floor {name}: {value:.1%} ± {standard_error(value, n):.1%} ({n} unseen examples)")
    console.print(f"result.json is in {out}")
    return result


def _floors(recipe: Recipe, train: Sequences, test: Sequences, costly: bool = False) -> dict[str, float]:
    if recipe.objective == "masked":
        return hidden_token_floors(train, test)
    return floors(recipe.task, train, test, costly)


def _start(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Which weights the run starts from, if any."""
    if recipe.start is None:
        return {}
    folder = Path(recipe.start)
    if folder.resolve().is_relative_to(out.resolve()):
        raise InputError("--out", str(out), "another folder than that of --start")
    return {"start": {"checkpoint": recipe.start, "sha256": file_sha256(folder / WEIGHTS)}}


def _check_folder(out: Path, resume: bool, overwrite: bool) -> None:
    """Refuse a file, and what the run would replace unasked: a run, or files of other origin with such names."""
    if out.exists() and not out.is_dir():
        raise InputError("--out", str(out), "a folder")
    finished, begun = (out / "result.json").is_file(), (out / "run.json").is_file()
    if overwrite or (resume and (finished or begun)):
        return
    if finished or begun:
        found, ways = ("a finished", "") if finished else ("an unfinished", "--resume continues, ")
        raise InputError("--out", str(out), f"a folder without {found} run ({ways}--overwrite replaces this one)")
    for name in REPLACED:
        if (out / name).exists():
            raise InputError(
                "--out", str(out), f"a folder without {name}, which the run would replace (--overwrite does)"
            )


def _make_room(out: Path, about: dict[str, Any], resume: bool) -> None:
    """Leave in `out` only what this run continues from, and note what it is."""
    noted = out / "run.json"
    holds_a_run = noted.is_file() or (out / "result.json").is_file()
    if resume and holds_a_run and _read(noted) != about:
        allowed = "a folder of a run with the same recipe, data, bio-parameters and start"
        raise InputError("--resume", str(out), allowed)
    if not resume or not noted.is_file():
        for name in REPLACED:
            if (out / name).is_dir():
                shutil.rmtree(out / name)
            else:
                (out / name).unlink(missing_ok=True)
        write_json(noted, about)


def _read(noted: Path) -> Any:
    """What `_make_room` noted; None of a missing or damaged file."""
    try:
        return json.loads(noted.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _say(console: Console, result: dict[str, Any], out: Path) -> None:
    test = result["test"]
    console.print(
        f"test accuracy {test['accuracy']:.1%} ± {test['standard_error']:.1%} "
        f"({test['n']} unseen examples, {result['seconds']:.0f} s of training)"
    )
    for name, value in result["floors"].items():
        console.print(f"  floor {name}: {value:.1%}")
    console.print(f"checkpoint, metrics.csv, curves.png and result.json are in {out}")


def score_checkpoint(
    checkpoint: Path,
    data: Path | None,
    source: str | None,
    split: str,
    batch_size: int,
    seed: int | None,
    out: Path | None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint, or that of a run's folder, on one split of `data`, or of the data that its recipe names.

    Raises
    ------
    InputError
        If the checkpoint or the data cannot be used, or the data are none that it can read.
    """
    model, recipe = load_checkpoint(checkpoint_folder(checkpoint))
    if split not in SPLITS:
        raise InputError("--split", split, f"one of {', '.join(SPLITS)}")
    if data is None and source is not None:
        raise InputError("--source", source, "none without --data")
    place = {} if data is None else {"folder": str(data), "source": source}
    console = console or Console()
    with console.status(f"reading or drawing the data of {recipe.task}"):
        splits = load_splits(recipe.task, recipe.data.model_copy(update=place), recipe.seed if seed is None else seed)
    examples = getattr(splits, split)
    refuse_other_data(model.config, recipe.task, examples)
    n = len(examples)
    console.print(f"data: {n:,} examples of {splits.origin}")
    fabric = Fabric(accelerator="auto", devices=1)  # in float32, however it was trained: bfloat16 crawls on most CPUs
    with console.status("evaluating, and fitting the floors"):
        scores = evaluate(model.to(fabric.device), examples, batch_size, recipe.data.max_length, fabric)
        trivial = _floors(recipe, splits.train, examples)
    result = {
        "task": recipe.task,
        "split": split,
        "n": n,
        **scores,
        "standard_error": standard_error(scores["accuracy"], n),
        "floors": trivial,
        "data": examples.about,
        "versions": versions(),
        "created": timestamp(),
    }
    console.print(f"{split} accuracy {scores['accuracy']:.1%} ± {result['standard_error']:.1%} ({n} examples)")
    for name, value in result["floors"].items():
        console.print(f"  floor {name}: {value:.1%}")
    if out is not None:
        write_json(out, result)
        console.print(f"result: {out}")
    return result
