"""One run from recipe to result: data, model, training, test score and floors, all in one folder."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from rich.console import Console

from astro_sim.errors import InputError
from astro_sim.provenance import file_sha256, refuse_to_replace, timestamp, versions, write_json
from rmaat.data.sequences import Sequences
from rmaat.data.splits import Splits, derived_seed, load_splits
from rmaat.data.tasks import SPLITS, TASKS
from rmaat.pretrained import WEIGHTS
from rmaat.training.cuda_graph import refuse_what_no_graph_holds
from rmaat.training.evaluation import TotalScore, evaluate
from rmaat.training.floors import costly_floors, floors, hidden_token_floors
from rmaat.training.folder import check_folder, held, make_room
from rmaat.training.log import read_curves
from rmaat.training.models import build, checkpoint_folder, load_checkpoint, refuse_other_data, trainable
from rmaat.training.recipe import Recipe
from rmaat.training.trainer import Trainer, accelerator
from rmaat_bridge.bio_parameters import BioParameters
from rmaat_bridge.trainable import with_posterior


def train(
    recipe: Recipe,
    bio: str | Path | None,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
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
        If the bio file, the data or the recipe cannot be used, or another process trains into `out`, or `out`
        holds a run, or files that a run would replace, and neither `resume` (of a run) nor `overwrite` was asked for.
    """
    if resume and overwrite:
        raise InputError("--overwrite", overwrite, "not set, with --resume")
    out, console = Path(out), Console()
    if bio is not None and Path(bio).resolve().is_relative_to(out.resolve()):
        raise InputError("--out", str(out), "another folder than that of --bio")
    parameters = BioParameters.load(bio) if bio is not None else BioParameters.reference()
    options = recipe.optimisation
    started_by_torchrun = os.environ.get("LOCAL_WORLD_SIZE")
    fabric = Fabric(
        accelerator=accelerator(),
        devices=int(started_by_torchrun) if started_by_torchrun else 1,
        strategy="ddp" if started_by_torchrun else "auto",
        precision=options.precision,
    )
    fabric.launch()
    refuse_what_no_graph_holds(recipe, fabric)
    if fabric.is_global_zero:
        check_folder(out, resume, overwrite)
    start = _start(recipe, out)
    torch.manual_seed(recipe.seed)
    splits = load_splits(recipe.task, recipe.data, recipe.seed, options.accumulate)
    trainer = None
    if recipe.kind != "floor":
        model = build(recipe, splits.train, parameters, splits.longest)
        trainer = Trainer(recipe, splits, model, out, fabric)
    with held(out) if fabric.is_global_zero else nullcontext():  # what can be refused before has been
        if fabric.is_global_zero:
            check_folder(out, resume, overwrite)  # another run may have ended here by now
            about = {"recipe": recipe.model_dump(mode="json"), "bio": parameters.model_dump(mode="json")}
            make_room(out, about | {"data": splits.about()} | start, resume)
            n = len(splits.train), len(splits.test)
            console.print(f"data: {n[0]:,} training and {n[1]:,} test examples of {splits.origin}")
        fabric.barrier()
        if trainer is None:
            return _train_floors(recipe, splits, fabric, out, console)
        if fabric.global_rank:  # the processes start from the same weights and drop out different ones
            torch.manual_seed(derived_seed(recipe.seed, f"process {fabric.global_rank}"))
        trainer.fit(resume)
        fabric.barrier()
        return _test(trainer, parameters, start, console)


def _test(trainer: Trainer, parameters: BioParameters, start: dict[str, Any], console: Console) -> dict[str, Any]:
    """Score the best checkpoint on the test examples, and write what the run has come to."""
    recipe, splits, out, fabric = trainer.recipe, trainer.splits, trainer.out, trainer.fabric
    best = load_checkpoint(out / "checkpoint")[0].to(fabric.device)
    scores = evaluate(best, splits.test, recipe.optimisation.batch_size, recipe.data.max_length, fabric)
    trivial = _floors(recipe, splits.train, splits.test)
    result = {
        "task": recipe.task,
        "test": {**_entries(scores), "n": len(splits.test)},
        "validation": {"accuracy": trainer.best, "n": len(splits.validation)},  # which chose the checkpoint
        "floors": trivial,
        "parameters": trainable(trainer.model),
        "seconds": trainer.elapsed,
        "tokens_per_s": trainer.tokens_per_s,
        "peak_memory_mib": trainer.peak_memory_mib,
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
        from astro_sim.plotting import save_figure  # matplotlib takes its time
        from rmaat.report.figures import training_curves

        save_figure(training_curves(read_curves(out / "metrics.csv"), trivial), out / "curves.png", dpi=150)
        console.print(f"test {_said(scores, len(splits.test))}, after {trainer.elapsed:.0f} s of training")
        _tell_floors(trivial, recipe, console)
        console.print(f"checkpoint, metrics.csv, curves.png and result.json are in {out}")
    return result


def _train_floors(recipe: Recipe, splits: Splits, fabric: Fabric, out: Path, console: Console) -> dict[str, Any]:
    """Fit the trivial models of the task, the costly ones too, and write their scores."""
    n = len(splits.test)
    scores = _floors(recipe, splits.train, splits.test, costly=True)
    result = {"task": recipe.task, "floors": scores, "n": n, "recipe": recipe.model_dump(mode="json")}
    if fabric.is_global_zero:
        write_json(out / "result.json", result | {"versions": versions(), "created": timestamp()})
        for name, value in scores.items():
            console.print(f"floor {name}: {value:.1%} ({n} unseen examples)")
        console.print(f"result.json is in {out}")
    return result


def _floors(recipe: Recipe, train: Sequences, test: Sequences, costly: bool = False) -> dict[str, float]:
    """What trivial models make of the tokens that the model sees; of labelled pictures, needed whole, of all."""
    whole = TASKS[recipe.task].picture and recipe.objective == "labels"
    if (longest := recipe.data.max_length) is not None and not whole:
        train, test = train.cut(longest), test.cut(longest)
    if recipe.objective == "masked":
        return hidden_token_floors(train, test)
    return floors(recipe.task, train, test, costly)


def _tell_floors(scores: dict[str, float], recipe: Recipe, console: Console) -> None:
    """Print `scores` of trivial models, and which others there are."""
    for name, value in scores.items():
        console.print(f"  floor {name}: {value:.1%}")
    if scores and recipe.objective == "labels" and (others := costly_floors(recipe.task)):
        console.print(f"  floors that take minutes ({', '.join(others)}): train with --model floor")


def _start(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Which weights the run starts from, if any."""
    if recipe.start is None:
        return {}
    folder = checkpoint_folder(Path(recipe.start))
    if folder.resolve().is_relative_to(out.resolve()):
        raise InputError("--out", str(out), "another folder than that of --start")
    if not (folder / WEIGHTS).is_file():
        raise InputError("--start", recipe.start, f"the checkpoint of a run, a folder with {WEIGHTS}")
    return {"start": {"checkpoint": recipe.start, "sha256": file_sha256(folder / WEIGHTS)}}


def _entries(score: TotalScore) -> dict[str, float]:
    return {**score._asdict(), "standard_error": score.standard_error}


def _said(score: TotalScore, n: int) -> str:
    """The accuracy in words; of tokens, how many there are in the `n` examples."""
    tokens = "" if score.predictions == n else f"{score.predictions:,} tokens of "
    return f"accuracy {score.accuracy:.1%} ± {score.standard_error:.1%} ({tokens}{n:,} examples)"


def score_checkpoint(
    checkpoint: Path,
    data: Path | None,
    source: str | None,
    split: str,
    batch_size: int,
    seed: int | None,
    out: Path | None,
) -> dict[str, Any]:
    """Evaluate a checkpoint, or that of a run's folder, on one split of `data`, or of the data that its recipe names.

    Parameters
    ----------
    data : path, optional
        A cache or an official layout.
    source : str, optional
        Which of the task's layouts `data` has, where there are several.
    split : str
        train, validation or test.
    batch_size : int
        Examples that are read at once.
    seed : int, optional
        Of generated examples; the recipe's unless said.
    out : path, optional
        File for what is returned.

    Returns
    -------
    dict
        Scores, floors on the same examples, provenance.

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
    place: dict[str, Any] = {"curriculum": ()} | ({} if data is None else {"folder": str(data), "source": source})
    console = Console()
    with console.status(f"reading or drawing the data of {recipe.task}"):
        splits = load_splits(recipe.task, recipe.data.model_copy(update=place), recipe.seed if seed is None else seed)
    if splits.folder is not None:
        if seed is not None:
            raise InputError("--seed", seed, f"none for examples that are read, from {splits.folder}")
        if out is not None:
            refuse_to_replace([splits.folder], out)
    examples = getattr(splits, split)
    refuse_other_data(model.config, recipe.task, examples)
    n = len(examples)
    console.print(f"data: {n:,} examples of {splits.origin}")
    fabric = Fabric(
        accelerator=accelerator(), devices=1
    )  # in float32, however it was trained: bfloat16 crawls on most CPUs
    with console.status("evaluating, and fitting the floors"):
        scores = evaluate(model.to(fabric.device), examples, batch_size, recipe.data.max_length, fabric)
        trivial = {} if split == "train" else _floors(recipe, splits.train, examples)  # fitted on unseen ones, or none
    result = {
        "task": recipe.task,
        "split": split,
        "n": n,
        **_entries(scores),
        "floors": trivial,
        "data": examples.about,
        "versions": versions(),
        "created": timestamp(),
    }
    console.print(f"{split} {_said(scores, n)}")
    _tell_floors(trivial, recipe, console)
    if out is not None:
        write_json(out, result)
        console.print(f"result: {out}")
    return result
