"""One run from recipe to result: data, model, training, test score and floors, all in one folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from rich.console import Console

from astro_sim.errors import InputError
from astro_sim.provenance import replacing, timestamp, versions
from rmaat.config import RMAATConfig
from rmaat.data.tasks import load_splits
from rmaat.heads import RMAATForSequenceClassification
from rmaat.training.evaluation import evaluate, standard_error
from rmaat.training.floors import floors
from rmaat.training.log import draw_curves
from rmaat.training.recipe import Recipe
from rmaat.training.trainer import Trainer
from rmaat_bridge import BioParameters


def train(
    recipe: Recipe,
    bio: str | Path | None,
    out: str | Path,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train by `recipe` and test the result.

    Parameters
    ----------
    recipe : Recipe
    bio : path, optional
        BioParameters file that sets retention factors, kernel and exponent; None: the packaged reference.
    out : path
        Folder that gets ``checkpoint/``, ``states/``, ``metrics.csv``, ``curves.png`` and ``result.json``.
    resume : bool
        Continue from the newest whole state in `out`; from the start if there is none.

    Returns
    -------
    dict
        What ``result.json`` holds: test scores, floors, parameters, seconds, recipe, provenance.

    Raises
    ------
    InputError
        If the bio file, the data or the recipe cannot be used, or `out` holds an unfinished run and
        `resume` was not asked for.
    """
    out, console = Path(out), console or Console()
    parameters = BioParameters.load(bio) if bio is not None else BioParameters.reference()
    _make_room(out, recipe, parameters, resume)
    options = recipe.optimisation
    fabric = Fabric(accelerator="auto", precision=options.precision)
    fabric.launch()
    torch.manual_seed(recipe.seed)
    splits = load_splits(recipe.task, recipe.data, recipe.seed)
    config = RMAATConfig(
        **{"vocab_size": splits.train.vocab_size, "num_labels": splits.train.num_labels, **recipe.model},
        bio=parameters.model_dump(mode="json"),
    )
    model = RMAATForSequenceClassification(config)
    trainer = Trainer(recipe, splits, model, out, fabric)
    trainer.fit(resume)
    best = RMAATForSequenceClassification.from_pretrained(out / "checkpoint").to(fabric.device)
    scores = evaluate(best, splits.test, options.batch_size, recipe.data.max_length, fabric)
    trivial = floors(recipe.task, splits.train, splits.test)
    result = {
        "task": recipe.task,
        "test": {
            **scores,
            "n": len(splits.test),
            "standard_error": standard_error(scores["accuracy"], len(splits.test)),
        },
        "floors": trivial,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "seconds": trainer.elapsed,
        "recipe": recipe.model_dump(mode="json"),
        "bio": parameters.model_dump(mode="json")["provenance"],
        "versions": versions(),
        "created": timestamp(),
    }
    if fabric.is_global_zero:
        _write_json(out / "result.json", result)
        draw_curves(out / "metrics.csv", out / "curves.png", trivial)
        _say(console, result, out)
    return result


def _make_room(out: Path, recipe: Recipe, parameters: BioParameters, resume: bool) -> None:
    """Leave in `out` only what this run continues from, and note what it is."""
    about = {"recipe": recipe.model_dump(mode="json"), "bio": parameters.model_dump(mode="json")}
    noted = out / "run.json"
    if out.exists() and not out.is_dir():
        raise InputError("--out", str(out), "a folder")
    if noted.is_file():
        if resume and json.loads(noted.read_text(encoding="utf-8")) != about:
            raise InputError("--resume", str(out), "a folder of a run with the same recipe and bio-parameters")
        if not resume and not (out / "result.json").is_file():
            raise InputError("--out", str(out), "a folder without an unfinished run (--resume continues this one)")
    if not resume or not noted.is_file():
        for name in ("states", "checkpoint"):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("metrics.csv", "curves.png", "result.json"):
            (out / name).unlink(missing_ok=True)
        _write_json(noted, about)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _say(console: Console, result: dict[str, Any], out: Path) -> None:
    test = result["test"]
    console.print(
        f"test accuracy {test['accuracy']:.1%} ± {test['standard_error']:.1%} "
        f"({test['n']} unseen examples, {result['seconds']:.0f} s of training)"
    )
    for name, value in result["floors"].items():
        console.print(f"  floor {name}: {value:.1%}")
    console.print(f"checkpoint, metrics.csv, curves.png and result.json are in {out}")
