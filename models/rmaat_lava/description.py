"""What `deployment.json` has to say before a target can run its program."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from astro_sim.errors import InputError, refusal
from rmaat_lava.program import Program
from rmaat_lava.resources import count

MOST_SEGMENTS = 1024


class Description(BaseModel):
    """The entries that `rmaat_lava.run` and the report read; others, such as provenance, may stand beside them."""

    model_config = ConfigDict(strict=True, extra="allow")

    input_kind: Literal["tokens", "levels", "features"]
    vocab_size: int = Field(ge=1)
    input_dim: int = Field(ge=1)
    ngrams: int = Field(ge=1, le=8)
    buckets: int = Field(ge=1)
    max_segments: int = Field(ge=1, le=MOST_SEGMENTS)
    exponents: dict[str, Annotated[int, Field(ge=-200, le=200)]]
    resources: dict[str, Any]
    weights: dict[str, int | bool]
    calibration_sequences: int = Field(ge=1)
    versions: dict[str, str | None]
    created: str


def check_description(description: dict[str, Any], program: Program) -> None:
    """Refuse a description that is damaged or belongs to another program.

    Raises
    ------
    InputError
        With the entry's name, what it holds and what is allowed.
    """
    try:
        about = Description(**description)
    except ValidationError as error:
        raise refusal(error, Description, "deployment.json") from None
    rows = len(program.embedding.linear.weight)
    own = about.input_dim if about.input_kind == "features" else about.vocab_size + (about.ngrams - 1) * about.buckets
    laid_out = len(program.readout.share) - 1
    needed = {"classifier", "trace"} | ({"inputs"} if about.input_kind == "features" else set())
    if own != rows:
        raise InputError("deployment.json: inputs", f"{own} rows of the embedding", f"the program's {rows}")
    if about.max_segments != laid_out:
        raise InputError("deployment.json: max_segments", about.max_segments, f"the program's {laid_out}")
    if not _alike(about.resources, count(program).as_dict()):
        raise InputError(
            "deployment.json: resources", sorted(about.resources)[:3], "what `quantize` counts, number by number"
        )
    if missing := needed - about.exponents.keys():
        raise InputError("deployment.json: exponents", sorted(about.exponents)[:3], f"an entry {min(missing)!r} too")


def _alike(found: Any, wanted: Any) -> bool:
    """Whether `found` has every entry of `wanted`, numbers where it has numbers and text where it has text."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(name in found and _alike(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_alike, found, wanted))
    return isinstance(found, str) is isinstance(wanted, str) and isinstance(found, str | int | float)
