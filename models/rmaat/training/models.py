"""The model that fits a task: one sequence, a pair of documents, or the next token."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from astro_sim.errors import InputError
from rmaat.baselines import baseline_config
from rmaat.causal_lm import RMAATForCausalLM
from rmaat.data.sequences import Sequences
from rmaat.heads import RMAATForSequenceClassification, RMAATForSequencePairClassification
from rmaat.pretrained import Pretrained
from rmaat.training.recipe import Recipe
from rmaat_bridge.bio_parameters import BioParameters


def head(task: str) -> type[Pretrained]:
    """The class of the models of `task`."""
    kinds = {"retrieval": RMAATForSequencePairClassification, "language": RMAATForCausalLM}
    return kinds.get(task, RMAATForSequenceClassification)


def build(recipe: Recipe, train: Sequences, bio: BioParameters) -> nn.Module:
    """A new model for the examples `train` by the recipe's settings, `bio` written into it."""
    longest = int(min(train.lengths.max(), recipe.data.max_length or train.lengths.max()))
    fields = {"vocab_size": train.vocab_size, "num_labels": train.num_labels} | recipe.model
    if recipe.task == "language":
        fields |= {"num_labels": 2, "causal": True}
    config = baseline_config(recipe.kind, longest, **fields, bio=bio.model_dump(mode="json"))
    return head(recipe.task)(config)


def load_checkpoint(folder: Path) -> tuple[Pretrained, Recipe]:
    """A trained model and the recipe that made it.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    path = folder / "recipe.json"
    try:
        recipe = Recipe.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError("checkpoint", str(path), f"the recipe that `rmaat train` writes ({error})") from None
    return head(recipe.task).from_pretrained(folder), recipe
