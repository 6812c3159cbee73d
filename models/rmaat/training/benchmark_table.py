"""The table of tasks x models x seeds: what the cells' results say, as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from astro_sim.errors import InputError, refusal
from astro_sim.provenance import replacing
from rmaat.config import RMAATConfig
from rmaat.training.folder import first_difference
from rmaat.training.recipe import Recipe

TABLES = ("table.md", "table.tex", "table.csv")
COLUMNS = (
    "task",
    "model",
    "accuracy",
    "std",
    "seeds",
    "steps",
    "parameters",
    "tokens_per_s",
    "peak_memory_mib",
    "minutes",
)

FITTED_ON = {"source", "folder", "train", "validation", "test", "max_length"}  # entries of `data` that floors depend on

ESCAPED = str.maketrans(
    {sign: f"\\{sign}" for sign in "%_&#${}"}
    | {"±": r"$\pm$", "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
)


class TestScore(BaseModel):
    """The score of a run."""

    accuracy: float = Field(ge=0, le=1)


class Result(BaseModel):
    """What the table takes from a cell's ``result.json``; a cell of floors has no model."""

    model_config = ConfigDict(allow_inf_nan=False)

    recipe: Recipe
    floors: dict[str, float]
    test: TestScore | None = None
    parameters: int = 0
    tokens_per_s: float = 0.0
    peak_memory_mib: float = 0.0
    seconds: float = 0.0


def read_result(path: Path) -> Result:
    """A cell's ``result.json``, its recipe with every setting of the model written out.

    Raises
    ------
    InputError
        If a person has damaged it.
    """
    try:
        result = Result.model_validate_json(path.read_bytes())
        return result.model_copy(update={"recipe": with_defaults(result.recipe)})
    except (ValidationError, InputError) as error:
        fault = refusal(error, Result, path.name) if isinstance(error, ValidationError) else error
        allowed = f"a whole result of a run ({fault}); remove it to run the cell again"
        raise InputError("--out", str(path), allowed) from None


def with_defaults(recipe: Recipe) -> Recipe:
    """The recipe with every setting of the model: one that is left out is one at its default."""
    return recipe.model_copy(update={"model": RMAATConfig(**recipe.model).model_dump(mode="json")})


def folder_name(model: str) -> str:
    """A safe name for a model's folder, from which `model_name` reads it back."""
    return quote(model.replace(":", ",", 1).replace(";", ","), safe="=,")


def model_name(folder: str) -> str:
    """The model of a folder that `folder_name` named."""
    name, *settings = map(unquote, folder.split(","))
    return f"{name}:{';'.join(settings)}" if settings else name


def collect(out: Path) -> list[dict[str, Any]]:
    """One row a task and model over its finished seeds, and one a trivial model; in each task the best first.

    Parameters
    ----------
    out : path
        Folder of ``<task>/<model>/seed-<seed>/result.json``.

    Raises
    ------
    InputError
        If a result is damaged, or the seeds of a model were not run by one recipe.
    """
    found: dict[tuple[str, str], list[Result]] = {}
    read: dict[str, list[tuple[str, Result]]] = {}  # seed and result of the cells of a task
    for path in sorted(out.glob("*/*/seed-*/result.json")):
        result = read_result(path)
        task, model = path.parts[-4], model_name(path.parts[-3])
        read.setdefault(task, []).append((path.parts[-2], result))
        if result.test is not None:
            same = found.setdefault((task, model), [])
            same.append(result)
            refuse_other_recipe(path.parents[1], same[0].recipe, result.recipe)
    rows = [_row(task, model, results) for (task, model), results in found.items()]
    rows += [row for task, cells in read.items() for row in _floor_rows(task, cells)]
    return sorted(rows, key=lambda row: (row["task"], -row["accuracy"]))


def refuse_other_recipe(folder: Path, there: Recipe, here: Recipe) -> None:
    """InputError unless two recipes of the seeds in `folder` differ in nothing but the seed."""
    entries, others = (recipe.model_dump(mode="json", exclude={"seed"}) for recipe in (there, here))
    if entries != others:
        why = first_difference(entries, others)
        raise InputError("--out", str(folder), f"a folder whose seeds were run by one recipe ({why})")


def _floor_rows(task: str, cells: list[tuple[str, Result]]) -> list[dict[str, Any]]:
    """One row a trivial model over the seeds, and one of its own on data that few of the cells have read."""
    data = [result.recipe.data.model_dump(include=FITTED_ON) for _, result in cells]
    usual = {field: Counter(entries[field] for entries in data).most_common(1)[0][0] for field in data[0]}
    floors: dict[str, dict[str, float]] = {}
    for (seed, result), entries in zip(cells, data, strict=True):
        own = "; ".join(f"data.{field}={value}" for field, value in entries.items() if value != usual[field])
        for name, value in result.floors.items():
            floors.setdefault(f"floor: {name} ({own})" if own else f"floor: {name}", {})[seed] = value
    return [{"task": task, "model": name, **_spread(list(values.values()))} for name, values in floors.items()]


def _row(task: str, model: str, results: list[Result]) -> dict[str, Any]:
    return {
        "task": task,
        "model": model,
        **_spread([result.test.accuracy for result in results if result.test]),
        "steps": results[0].recipe.optimisation.steps,
        "parameters": results[0].parameters,
        "tokens_per_s": np.mean([result.tokens_per_s for result in results]),
        "peak_memory_mib": max(result.peak_memory_mib for result in results),
        "minutes": np.mean([result.seconds for result in results]) / 60,
    }


def _spread(accuracies: list[float]) -> dict[str, Any]:
    std = np.std(accuracies, ddof=1) if len(accuracies) > 1 else float("nan")
    return {"accuracy": np.mean(accuracies), "std": std, "seeds": len(accuracies)}


def write_tables(rows: list[dict[str, Any]], out: Path) -> list[Path]:
    """Write ``table.md``, ``table.csv`` and ``table.tex``."""
    titles = ("task", "model", "accuracy (%)", "seeds", "steps", "parameters", "tokens/s", "peak MiB", "minutes")
    body = [_cells(row) for row in rows]
    markdown = [_line(titles), _line(["---"] * len(titles)), *map(_line, body)]
    latex = [r"\begin{tabular}{ll" + "r" * 7 + "}", r"\toprule", _latex(titles), r"\midrule"]
    latex += [*map(_latex, body), r"\bottomrule", r"\end{tabular}"]
    paths = [out / name for name in TABLES]
    for path, lines in zip(paths, (markdown, latex), strict=False):
        with replacing(path) as room:
            room.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with replacing(paths[2]) as room, room.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return paths


def _cells(row: dict[str, Any]) -> list[str]:
    spread = "" if np.isnan(row["std"]) else f" ± {100 * row['std']:.1f}"
    cells = [row["task"], row["model"], f"{100 * row['accuracy']:.1f}{spread}", str(row["seeds"])]
    if "parameters" not in row:
        return [*cells, "", "", "", "", ""]
    numbers = (row["steps"], row["parameters"], row["tokens_per_s"], row["peak_memory_mib"])
    return [*cells, *(f"{number:,.0f}" for number in numbers), f"{row['minutes']:.1f}"]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _latex(cells: Iterable[str]) -> str:
    return " & ".join(cell.translate(ESCAPED) for cell in cells) + r" \\"
