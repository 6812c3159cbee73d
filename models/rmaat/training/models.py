"""The model that fits a recipe: one sequence, a pair of documents, the next token, hidden tokens; where it starts."""

from __future__ import annotations

import json
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn

from astro_sim.errors import InputError
from rmaat.baselines import baseline_config
from rmaat.causal_lm import RMAATForCausalLM
from rmaat.config import RMAATConfig
from rmaat.data.sequences import Sequences
from rmaat.data.tasks import TASKS, find_task
from rmaat.heads import RMAATForSequenceClassification, RMAATForSequencePairClassification
from rmaat.masked_lm import RMAATForMaskedLM
from rmaat.pretrained import Pretrained
from rmaat.training.recipe import Recipe, validated
from rmaat_bridge.bio_parameters import BioParameters

# what a model may be other in than the one whose weights it starts from: its head and how it is trained
FREE = {
    "num_labels",
    "trace",
    "trace_norm",
    "dropout",
    "stem_dropout",
    "backprop",
    "every_k",
    "mask_share",
    "mask_span",
    "embedding_std",  # which only says how weights begin
}


def head(recipe: Recipe) -> type[Pretrained]:
    """The class of the models that `recipe` trains."""
    if recipe.objective == "masked":
        return RMAATForMaskedLM
    kinds = {"retrieval": RMAATForSequencePairClassification, "language": RMAATForCausalLM}
    return kinds.get(recipe.task, RMAATForSequenceClassification)


def build(recipe: Recipe, train: Sequences, bio: BioParameters, longest: int | None = None) -> nn.Module:
    """The model for the examples `train` by the recipe's settings, `bio` written into it.

    Parameters
    ----------
    longest : int, optional
        Tokens of the longest sequence that it will read, those of `train` if None: a model of the whole sequence
        has to hold it.

    Raises
    ------
    InputError
        If a setting cannot be, or the recipe starts from a checkpoint that is missing or of another architecture.
    """
    longest = longest or int(train.lengths.max())
    longest = min(longest, recipe.data.max_length or longest)
    if "bio" in recipe.model:
        raise InputError("model.bio", recipe.model["bio"], "none: --bio names the file")
    fields = {"vocab_size": train.vocab_size, "num_labels": train.num_labels} | recipe.model
    if recipe.task == "language":
        if not recipe.model.get("causal", True):
            raise InputError("model.causal", recipe.model["causal"], "true, for language")
        fields |= {"num_labels": 2, "causal": True}
    config = baseline_config(recipe.kind, longest, **fields, bio=bio.model_dump(mode="json"))
    refuse_other_data(config, recipe.task, train)
    if recipe.parameters is not None:
        config = _of_size(recipe.parameters, head(recipe), config)
    model: Any = head(recipe)(config)
    if recipe.start is not None:
        before: Any = load_checkpoint(checkpoint_folder(Path(recipe.start)))[0]
        _same_architecture(before.config, model.config)
        model.model.load_state_dict(before.model.state_dict())
    return model


def refuse_other_data(config: RMAATConfig, task: str, data: Sequences) -> None:
    """InputError if `data` are none of `task`, or have other token ids, another width or more classes than `config`."""
    if config.vocab_size != data.vocab_size:
        raise InputError("model.vocab_size", config.vocab_size, f"{data.vocab_size}, the token ids of the data")
    if config.num_labels < (classes := int(data.labels.max()) + 1):
        raise InputError("model.num_labels", config.num_labels, f"at least {classes}, the classes of the data")
    if data.parts != (parts := 2 if task == "retrieval" else 1):
        raise InputError("data", f"{data.parts} sequences an example", f"{parts}, for {task}")
    if TASKS[task].picture and config.picture_width not in (None, width := isqrt(int(data.lengths.max()))):
        raise InputError("model.picture_width", config.picture_width, f"{width}, the width of the pictures")


def trainable(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _of_size(wanted: int, kind: type[Pretrained], config: RMAATConfig) -> RMAATConfig:
    """`config` with the `ffn_dim` whose model is nearest to `wanted` parameters, which are linear in it."""
    with torch.random.fork_rng(devices=[]):
        least, next_ = (trainable(kind(config.model_copy(update={"ffn_dim": n}))) for n in (1, 2))
    if wanted < least:
        raise InputError("parameters", wanted, f"at least {least} for a model of these settings")
    return config.model_copy(update={"ffn_dim": 1 + round((wanted - least) / (next_ - least))})


def _same_architecture(before: RMAATConfig, config: RMAATConfig) -> None:
    for field in (name for name in RMAATConfig.model_fields if name not in FREE | {"bio"}):
        if (found := getattr(before, field)) != (wanted := getattr(config, field)):
            raise InputError(f"--start: {field}", found, f"{wanted!r}, as in the model to be trained")
    before_bio, bio = ((c.with_bio().bio or {}) | {"provenance": None} for c in (before, config))
    if before_bio != bio:
        raise InputError("--start: bio", "other bio-parameters", "those of the model to be trained")


def checkpoint_folder(run: Path) -> Path:
    """The checkpoint of a folder that ``rmaat train`` wrote, or `run` itself if it is one."""
    return inner if (inner := run / "checkpoint").is_dir() else run


def load_checkpoint(folder: Path) -> tuple[Pretrained, Recipe]:
    """A trained model and the recipe that made it.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    path = folder / "recipe.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError("checkpoint", str(path), f"the recipe that `rmaat train` writes ({reason})") from None
    recipe = validated(entries, str(path))
    find_task(recipe.task, f"{path}: task")
    return head(recipe).from_pretrained(folder), recipe
