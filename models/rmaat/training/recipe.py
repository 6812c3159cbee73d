"""A training run as one TOML file: task, data, model, optimisation."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from astro_sim.errors import InputError, refusal
from rmaat.baselines import BASELINES, own_fields
from rmaat.config import Count, Natural, RMAATConfig

CONFIGS = files("rmaat") / "configs"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Stage(_Section):
    """`steps` steps on batches of `batch_size` easier examples, at `rate` times the scheduled learning rate.

    Expressions of ListOps have ``min_length < length < max_length`` tokens, contours of Pathfinder
    `contour_length` dashes.
    """

    steps: Count = Field(le=10**7)  # each has an entry in the plan of batches
    batch_size: Count
    rate: float = Field(1.0, gt=0)
    min_length: Natural | None = None
    max_length: Count | None = Field(None, ge=2)
    contour_length: Count | None = Field(None, ge=2, le=14)


class DataRecipe(_Section):
    """What to train on.

    `folder` holds the task's official layout or a cache made by ``rmaat data prepare``. Where none is given, the
    cache ``data/<task>`` is read if it is there, all of it; else ListOps and Pathfinder are generated, `train`,
    `validation` and `test` examples of them. `source` names another layout; a cache must be of it.
    Sequences are cut after `max_length` tokens. The stages of `curriculum` come first, the rest of the
    steps takes all of the task's own examples; generated tasks draw further examples for a stage, as many as its
    batches hold but at most `train`, when it begins. `rehearsal` is the share of the batches of every stage but the
    first that come from one of the two stages before it, of that one's size, at the rate of the stage that is on.
    """

    source: str | None = Field(None, min_length=1)
    folder: str | None = Field(None, min_length=1)  # an empty one would be the current folder, or none at all
    train: Count = Field(96_000, le=10**7)  # of ten million expressions the tokens take 10 GB
    validation: Count = Field(2_000, le=10**7)
    test: Count = Field(2_000, le=10**7)
    max_length: Count | None = None
    curriculum: tuple[Stage, ...] = ()
    rehearsal: float = Field(0.0, ge=0, lt=1)


class OptimisationRecipe(_Section):
    """AdamW with linear warm-up, cosine decay, clipping and a moving average of the weights.

    A step takes `accumulate` batches of `batch_size` examples. `minutes` of training, without the drawing of
    stages, end a run of one process early if given: the learning rate then follows the larger of the two shares
    used up.
    `average` is the decay of the weights' exponential moving average (0: none); validation, test and the
    checkpoint use the average.
    `astrocyte_rate` is the learning rate of M of H_astro, as a multiple of the others'.
    `label_smoothing` is of labels, not of tokens, hidden or next.
    `cuda_graph` launches forward and backward pass as one: several times as fast on a GPU where the model is small.
    """

    steps: Count = 5_000
    minutes: float | None = Field(None, gt=0)
    batch_size: Count = 32
    accumulate: Count = 1
    learning_rate: float = Field(1e-3, gt=0, le=1e30)  # of float32
    warmup: float = Field(0.1, ge=0, lt=1)
    astrocyte_rate: float = Field(1.0, gt=0, le=1e3)
    weight_decay: float = Field(0.01, ge=0, le=1e3)
    clip: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    average: float = Field(0.0, ge=0, lt=1)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    cuda_graph: bool = False
    evaluate_every: Count = 500
    save_every: Count = 500


class Recipe(_Section):
    """One training run: `kind` is a name of `rmaat.baselines`, `model` holds fields of `RMAATConfig`.

    The objective is to tell the task's labels, or (masked) the tokens that are hidden in its sequences. `start`
    is the checkpoint whose model, without its head, the run starts from. `parameters`, if given, sets the model's
    `ffn_dim` such that it has that many trainable parameters, as near as whole units allow.
    """

    task: str
    kind: str = "rmaat"
    objective: Literal["labels", "masked"] = "labels"
    start: str | None = Field(None, min_length=1)
    parameters: Count | None = Field(None, le=10**9)
    seed: Natural = 0
    data: DataRecipe = DataRecipe()
    model: dict[str, Any] = Field(default_factory=dict)
    optimisation: OptimisationRecipe = OptimisationRecipe()


def load_recipe(source: str | Path, changes: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe from a TOML file, or from the packaged ones by name (``"demo"``, ``"listops-small"``).

    Parameters
    ----------
    source : str or path
        File, or name of a packaged recipe.
    changes : dict, optional
        Values that replace the file's, by dotted name: ``{"optimisation.steps": 100}``.

    Raises
    ------
    InputError
        If the file is missing, is not TOML, or a value is unknown, out of its bounds or set in what is no table, or
        the task is to be another than the file's.
    """
    packaged = CONFIGS / f"{source}.toml"
    path = packaged if packaged.is_file() else Path(source)
    if not path.is_file():
        names = sorted(entry.name.removesuffix(".toml") for entry in CONFIGS.iterdir() if entry.name.endswith(".toml"))
        raise InputError("--config", str(source), f"a TOML file or one of {', '.join(names)}")
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("--config", str(source), f"a TOML file ({error})") from None
    changes, own = changes or {}, entries.get("task")
    if own and changes.get("task", own) != own:
        raise InputError("--task", changes["task"], f"{own!r}, the task of {source}")
    for name, value in changes.items():
        *sections, key = name.split(".")
        target = entries
        for depth, section in enumerate(sections, 1):
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise InputError(f"{source}: {'.'.join(sections[:depth])}", target, f"a table, for {name} to be set")
        target[key] = value
    recipe = validated(entries, str(source))
    if recipe.kind not in (kinds := (*BASELINES, "floor")):
        raise InputError("--model", recipe.kind, f"one of {', '.join(kinds)}")
    try:
        config = RMAATConfig(**recipe.model)  # before any data are drawn
    except InputError as error:
        raise InputError(f"model.{error.field}", error.value, error.allowed) from None
    if config.input_kind == "features":
        raise InputError("model.input_kind", config.input_kind, "tokens or levels: a task's data are ids")
    return recipe


def refuse_overridden(recipe: Recipe, changes: dict[str, Any]) -> None:
    """InputError if one of `changes`, by dotted name, is a field that the recipe's model sets itself, otherwise."""
    asked = RMAATConfig(**recipe.model)  # which takes false for "off"
    for field, value in own_fields(recipe.kind).items():
        if (name := f"model.{field}") in changes and getattr(asked, field) != value:
            allowed = "none: it holds the whole sequence" if value is None else repr(value)
            raise InputError(name, changes[name], f"{allowed}, for --model {recipe.kind}")


def parse_changes(texts: Iterable[str] | None, given: Collection[str] = (), option: str = "--set") -> dict[str, Any]:
    """Values by name of an option's ``name=value``; none of the names is among those `given` by other options.

    Raises
    ------
    InputError
        If one is of another form, or a name is there twice.
    """
    changes: dict[str, Any] = {}
    for text in texts or ():
        name, value = _parse_change(text, option)
        for other in (*changes, *given):
            if f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}."):  # also as part of a table
                raise InputError(option, text, f"{other} once; it is given twice")
        changes[name] = value
    return changes


def _parse_change(text: str, option: str) -> tuple[str, Any]:
    """One ``name=value``, with the value in TOML, or taken as a string where it is not TOML."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InputError(option, text, "name=value")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def validated(entries: dict[str, Any], source: str) -> Recipe:
    """Turn plain entries into a recipe; the first fault becomes one clear line."""
    try:
        return Recipe.model_validate(entries)
    except ValidationError as error:
        raise refusal(error, Recipe, source) from None
