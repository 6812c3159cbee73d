"""What defines a model: every choice of architecture, ablation and training mode in one place."""

from __future__ import annotations

from math import isqrt
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from astro_sim.errors import InputError, refusal

# Whole numbers of an entry: strict, since pydantic would otherwise read true, "1" and 1.0 as 1; such as torch can hold.
# A narrower bound is an Annotated around them: one of the same kind in a default's Field would be overridden.
Natural = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Count = Annotated[int, Field(strict=True, ge=1, lt=2**63)]


class RMAATConfig(BaseModel):
    """Architecture of an RMAAT model or of one of its baselines.

    The defaults are the full model; the ablation switches take its parts away one at a time, and
    `rmaat.baselines` sets them to the models that RMAAT is compared with.

    Raises
    ------
    InputError
        If a field is unknown, of another type or out of its bounds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    vocab_size: Annotated[Count, Field(ge=2)] = 256  # token ids, 0 is padding
    num_labels: Annotated[Count, Field(ge=2)] = 2
    # levels: ids are the ordered levels of one quantity (grey, sound); features: real vectors of `input_dim`
    input_kind: Literal["tokens", "levels", "features"] = "tokens"
    input_dim: Count = 1

    dim: Count = 64
    layers: Count = 2
    heads: Count = 4
    ffn_dim: Count | None = None  # 4 * dim if not given
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    segment_length: Count = 128  # tokens; one segment is one STP cycle
    memory_tokens: Natural = 16
    stem_layers: Natural = Field(default=0, le=32)  # dilated convolutions before the blocks, at most 12
    stem_kernel: Count = 3  # tokens of a convolution, odd
    stem_stride: Count = 1  # tokens that the blocks see as one place; of a picture, a square
    # pixels of a row; the stem is then one gated convolution over rows and columns, applied `stem_layers` times
    picture_width: Count | None = None
    stem_ngrams: Count = Field(default=1, le=8)  # longest n-gram of tokens with an embedding of its own
    stem_buckets: Count = 4096  # rows of the table of each n
    stem_rank: Count = 16  # their width, before they are mapped to `dim`
    stem_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)  # probability of dropping an n-gram
    embedding_std: float = Field(default=1.0, gt=0.0, le=10.0)  # of the token embeddings at the start; n-grams: 0.1
    backprop: Literal["amrb", "bptt"] = "amrb"
    every_k: Count = 1  # AMRB keeps every k-th memory

    mixer: Literal["astromorphic", "softmax", "ssm"] = "astromorphic"
    causal: bool = False
    alpha: float | None = Field(default=None, gt=0.0, le=2.0)  # None: the fitted exponent
    learn_alpha: bool = False
    presynaptic: Literal["power", "fitted", "linear", "off"] = "power"  # g; linear: alpha = 1, off: P = 1
    # m, by which H and g are divided: n places read (n / m)^(1 - alpha) V if g is a power; 0: places of a full segment
    write_places: Natural = 0
    astrocytic: bool = True  # H_astro
    astrocyte_start: Literal["active", "silent"] = "active"  # phi(R) begins at about 1, or 0.05 and does not count in w
    # RF(t, T): of the biology; 1 / T; seeded random; none (memory unscaled, the trace a mean), also as true and false
    retention: Literal["fitted", "uniform", "random", "off"] = "fitted"
    retention_seed: Natural = 0  # of the random factors
    memory_norm: Literal["before", "after"] = "before"  # of the scaling; after it undoes RF in the memory
    trace: Literal["mean", "retention"] = "mean"  # how a classifier's trace weighs the segments: 1 / T or RF(t, T)
    trace_norm: bool = False  # batch normalisation of the trace that a classifier reads
    streaming: bool = False  # the factors of unknown T; causal models always use them
    # masked modelling hides this share of the places (BERT's; 0.5 for pictures in Amos et al., arXiv 2310.02980) ...
    mask_share: float = Field(default=0.15, gt=0.0, lt=1.0)
    mask_span: Count = 1  # ... in runs of so many
    bio: dict[str, Any] | None = None  # contents of a BioParameters file; None: the packaged reference

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise refusal(error, type(self)) from None

    @field_validator("retention", mode="before")
    @classmethod
    def _retention_as_switch(cls, value: Any) -> Any:
        return {True: "fitted", False: "off"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> RMAATConfig:
        if self.dim % self.heads:
            raise InputError("heads", self.heads, f"a divisor of dim = {self.dim}")
        return self

    @model_validator(mode="after")
    def _alpha_is_of_a_power(self) -> RMAATConfig:
        for field, without in (("alpha", None), ("learn_alpha", False)):
            if self.presynaptic != "power" and (value := getattr(self, field)) != without:
                raise InputError(field, value, f"{without}, unless presynaptic is 'power'; it is {self.presynaptic!r}")
        return self

    @model_validator(mode="after")
    def _stem_is_possible(self) -> RMAATConfig:
        if self.stem_kernel % 2 == 0:
            raise InputError("stem_kernel", self.stem_kernel, "an odd number of tokens")
        if self.stem_layers > 12 and self.picture_width is None:
            raise InputError("stem_layers", self.stem_layers, "at most 12, or a picture_width")
        for field in ("stem_ngrams", "embedding_std"):
            if getattr(self, field) != 1 and self.input_kind != "tokens":
                raise InputError(field, getattr(self, field), f"1 where input_kind is {self.input_kind!r}")
        for field in ("stem_stride", "stem_ngrams", "picture_width"):
            if self.causal and getattr(self, field) != type(self).model_fields[field].default:
                raise InputError(field, getattr(self, field), "its default, in a causal model")
        return self

    @model_validator(mode="after")
    def _picture_is_possible(self) -> RMAATConfig:
        if self.picture_width is None:
            return self
        if self.stem_layers == 0:
            raise InputError("stem_layers", 0, "at least 1, with a picture_width")
        side = isqrt(self.stem_stride)
        if side**2 != self.stem_stride or self.picture_width % side:
            allowed = f"the square of a divisor of picture_width = {self.picture_width}"
            raise InputError("stem_stride", self.stem_stride, allowed)
        if self.segment_length % (self.picture_width * side):
            allowed = f"a multiple of {self.picture_width * side}, the pixels of {side} rows of the picture"
            raise InputError("segment_length", self.segment_length, allowed)
        return self

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.dim // self.heads

    @property
    def token_places(self) -> int:
        """Places that the tokens of a full segment take in the blocks."""
        return -(-self.segment_length // self.stem_stride)

    @property
    def segment_tokens(self) -> int:
        """N, the places of a full segment: memory, tokens and, if causal, the memory's write places."""
        return self.memory_tokens * (1 + self.causal) + self.token_places

    def with_bio(self) -> RMAATConfig:
        """This configuration with the bio-parameters written out, the packaged reference if none."""
        from rmaat_bridge.bio_parameters import BioParameters

        if self.bio is not None:
            return self
        return self.model_copy(update={"bio": BioParameters.reference().model_dump(mode="json")})
