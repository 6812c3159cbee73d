"""The RMAAT model: a stack of astromorphic blocks that reads a sequence segment by segment."""

from collections.abc import Callable
from functools import partial
from math import isqrt
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sim.errors import InputError
from rmaat.amrb import Segment, recur
from rmaat.attention import AstromorphicAttention
from rmaat.baselines.diagonal_ssm import DiagonalSSM
from rmaat.baselines.softmax import SoftmaxAttention
from rmaat.block import Block
from rmaat.config import RMAATConfig
from rmaat.control_schedule import ControlSchedule
from rmaat.memory import Memory
from rmaat.picture_stem import PictureStem
from rmaat.pretrained import Pretrained
from rmaat.stem import ConvolutionalStem, HashedNGrams, LevelEmbedding
from rmaat_bridge.bio_parameters import BioParameters
from rmaat_bridge.fit_result import PresynapticFit
from rmaat_bridge.kernel import AstrocyticKernel
from rmaat_bridge.response import PresynapticResponse
from rmaat_bridge.schedule import RetentionSchedule

Reduce = Callable[..., Tensor]


class Readout(NamedTuple):
    """What a model leaves of a batch."""

    outputs: list[Tensor]  # one a segment: its tokens' features, or what `reduce` made of them
    memory: Tensor  # after each sample's last segment, (batch, memory_tokens, dim)
    shares: Tensor  # of each segment in a sample's trace, (segments, batch), sum to 1


class RMAATModel(Pretrained):
    """Embedding, memory and blocks; the heads are built on it.

    Parameters
    ----------
    config : RMAATConfig
        The bio-parameters in it decide the retention factors, the astrocytic kernel and alpha.
    """

    def __init__(self, config: RMAATConfig) -> None:
        super().__init__()
        self.config = config = config.with_bio()
        bio = BioParameters.of(config.bio)
        if config.input_kind == "tokens":
            self.embedding: nn.Module = nn.Embedding(config.vocab_size, config.dim)
            self.embedding.weight.data *= config.embedding_std
        elif config.input_kind == "levels":
            self.embedding = LevelEmbedding(config.vocab_size, config.dim)
        else:
            self.embedding = nn.Linear(config.input_dim, config.dim)
        ngrams = config.dim, config.stem_ngrams, config.stem_buckets, config.stem_rank, config.stem_dropout
        self.ngrams = HashedNGrams(*ngrams) if config.stem_ngrams > 1 else None
        self.stem: Any = _stem(config)
        self.reach = self.stem.reach if config.causal and self.stem is not None else 0  # tokens seen before a segment
        self.position = nn.Parameter(torch.randn(config.token_places, config.dim) * 0.5)
        self.memory = Memory(
            config.memory_tokens,
            config.dim,
            _schedule(config, bio),
            retained_trace=config.trace == "retention",
            streaming=config.streaming or config.causal,
            write_back=config.causal,
            norm_after=config.memory_norm == "after",
        )
        self.blocks: Any = nn.ModuleList(_block(config, bio) for _ in range(config.layers))

    def step(
        self,
        memory: Tensor,
        factor: Tensor,
        inputs: Tensor,
        mask: Tensor | None,
        *tables: Tensor | None,
        before: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Read one segment.

        Parameters
        ----------
        memory : Tensor
            mem' of the segment before, (batch, memory_tokens, dim).
        factor : Tensor
            Retention factor of each sample, (batch,).
        inputs : Tensor
            Token ids (batch, n) or features (batch, n, input_dim).
        mask : Tensor or None
            True at tokens that exist, (batch, n). A sample without any keeps its memory.
        *tables : Tensor or None
            `AstromorphicAttention.astrocytic_table()` of each block.
        before : Tensor, optional
            The last inputs before the segment, `reach` of them at most, for a causal stem.

        Returns
        -------
        memory, features : Tensor
            (batch, memory_tokens, dim) and (batch, n, dim), n / stem_stride with a stem.
        """
        tokens = self.embed(inputs, mask, before)
        count, n = memory.shape[1], tokens.shape[1]
        scaled = self.memory.enter(memory, factor[:, None, None])
        parts = [scaled + self.memory.identity, tokens]
        if self.memory.write_identity is not None:
            parts.append(scaled + self.memory.write_identity)
        x = torch.cat(parts, dim=1)
        places = self.places(mask)
        if places is not None:
            places = F.pad(places, (count, x.shape[1] - count - n), value=True)
        for block, table in zip(self.blocks, tables, strict=True):
            x = block(x, self._rows(table, count + n), places)
        new = x[:, x.shape[1] - count :] if self.memory.write_identity is not None else x[:, :count]
        # of its own storage: a view, kept for the replay of the next segment, would keep all of this one
        new = new.clone() if mask is None else torch.where(mask.any(1)[:, None, None], new, memory)
        return new, x[:, count : count + n]

    def _rows(self, table: Tensor | None, read: int) -> Tensor | None:
        """phi(R) of a segment with `read` places before the memory's write places, whose rows are the last ones.

        So a short segment is what it is with padding.
        """
        if table is None or self.memory.write_identity is None:
            return table
        return torch.cat([table[:, :read], table[:, self.config.token_places + self.config.memory_tokens :]], dim=1)

    def compile_step(self, **options: Any) -> None:
        """Compile the reading of one segment with `torch.compile`; AMRB replays the compiled form.

        A deep copy of the model is compiled too, and reads with its own weights.
        """
        self.step = partial(torch.compile(type(self).step, **options), self)  # type: ignore[method-assign]

    def embed(self, inputs: Tensor, mask: Tensor | None = None, before: Tensor | None = None) -> Tensor:
        """A segment's tokens or features embedded, through the stem, with their positions, (batch, n, dim)."""
        read = inputs if before is None else torch.cat([before, inputs], dim=1)
        x = self.embedding(read.to(self.position.dtype) if read.is_floating_point() else read)
        if self.ngrams is not None:
            x = x + self.ngrams(inputs)
        if self.stem is not None:
            x = self.stem(x, mask)
        if before is not None:
            x = x[:, before.shape[1] :]
        return x + self.position[: x.shape[1]]

    def places(self, mask: Tensor | None) -> Tensor | None:
        """Which places of the blocks hold tokens, where `mask` (batch, n) says which tokens exist."""
        return mask if mask is None or self.stem is None else self.stem.places(mask)

    def tables(self) -> list[Tensor | None]:
        """`astrocytic_table()` of each block."""
        return [block.attention.astrocytic_table() for block in self.blocks]

    def forward(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        reduce: Reduce | None = None,
        targets: Tensor | None = None,
    ) -> Readout:
        """Read whole sequences.

        Parameters
        ----------
        inputs : Tensor
            Token ids (batch, length) or features (batch, length, input_dim).
        lengths : Tensor of int64, optional
            Tokens of each sample that are not padding, (batch,), from 1 to length.
        reduce : callable, optional
            Maps a segment's new memory (batch, memory_tokens, dim), features (batch, n, dim) and mask
            (batch, n) or None to what is kept of them; runs inside the replayed part, so that a small result
            costs little memory. The parameters of a module get their gradients.
        targets : Tensor, optional
            What is to be compared with the features, (batch, length, ...): cut like the inputs, the fourth
            argument of `reduce`.
        """
        self.check(inputs)
        batch, length = inputs.shape[:2]
        size = self.config.segment_length
        pieces = inputs.split(size, dim=1)
        if lengths is None:
            segments = torch.full((batch,), len(pieces), device=inputs.device)
            masks: tuple[Tensor | None, ...] = (None,) * len(pieces)
        else:
            lengths = self.checked_lengths(lengths, batch, length).to(inputs.device)
            segments = lengths.add(size - 1).div(size, rounding_mode="floor")
            exists = torch.arange(length, device=inputs.device) < lengths[:, None]
            masks = exists.split(size, dim=1)
        starts = range(0, length, size)
        befores = [inputs[:, max(0, s - self.reach) : s] if self.reach and s else None for s in starts]
        wanted = (None,) * len(pieces) if targets is None else targets.split(size, dim=1)
        factors = self.memory.factors(segments, len(pieces))

        def step(
            memory: Tensor,
            factor: Tensor,
            some: Tensor,
            mask: Tensor | None,
            target: Tensor | None,
            before: Tensor | None,
            *shared: Tensor | None,
        ) -> tuple[Tensor, Tensor]:
            memory, features = self.step(memory, factor, some, mask, *shared, before=before)
            if reduce is None:
                return memory, features
            compared = () if target is None else (target,)
            return memory, reduce(memory, features, self.places(mask), *compared)

        steps: list[Segment] = list(zip(factors, pieces, masks, wanted, befores, strict=True))
        memory, outputs = recur(
            step,
            self.memory.initial.expand(batch, -1, -1),
            steps,
            self.tables(),
            [*self.parameters(), *(reduce.parameters() if isinstance(reduce, nn.Module) else ())],
            self.config.every_k if self.config.backprop == "amrb" else None,
        )
        return Readout(outputs, memory, self.memory.shares(segments, len(pieces)))

    def check(self, inputs: Tensor) -> None:
        """Refuse inputs of another shape or type than the model reads and, on a CPU, ids outside its vocabulary."""
        tokens, config = self.config.input_kind != "features", self.config
        rest = () if tokens else (config.input_dim,)
        if inputs.dim() < 2 or not inputs.shape[0] * inputs.shape[1] or inputs.shape[2:] != rest:
            sizes = ", ".join(["batch", "length", *map(str, rest)])
            raise InputError("inputs", tuple(inputs.shape), f"a tensor of shape ({sizes}), nothing of it 0")
        if tokens and inputs.dtype not in (torch.int32, torch.int64):
            raise InputError("inputs", str(inputs.dtype), "ids of type torch.int32 or torch.int64")
        if not tokens and not inputs.is_floating_point():
            raise InputError("inputs", str(inputs.dtype), "features of a floating-point type")
        if tokens and inputs.device.type == "cpu":  # a GPU would have to be waited for
            lowest, highest = (int(extreme) for extreme in inputs.aminmax())
            if lowest < 0 or highest >= config.vocab_size:
                outside = lowest if lowest < 0 else highest
                raise InputError("inputs", outside, f"ids from 0 to {config.vocab_size - 1}")

    @staticmethod
    def checked_lengths(lengths: Tensor, batch: int, length: int) -> Tensor:
        """`lengths` as int64; refused unless they are one whole number a sample, on a CPU from 1 to `length`."""
        if lengths.shape != (batch,) or lengths.is_floating_point() or lengths.dtype == torch.bool:
            shown = f"{tuple(lengths.shape)} of {lengths.dtype}"
            raise InputError("lengths", shown, f"{batch} whole numbers, one a sample")
        lengths = lengths.long()
        if lengths.device.type == "cpu" and len(outside := lengths[(lengths < 1) | (lengths > length)]):
            raise InputError("lengths", int(outside[0]), f"values from 1 to {length}")
        return lengths


def _stem(config: RMAATConfig) -> Any:
    sizes = config.dim, config.stem_layers, config.stem_kernel
    if config.picture_width is not None:
        return PictureStem(*sizes, config.picture_width, isqrt(config.stem_stride))
    if not config.stem_layers and config.stem_stride == 1:
        return None
    return ConvolutionalStem(*sizes, config.stem_stride, config.dropout, config.causal)


def _schedule(config: RMAATConfig, bio: BioParameters) -> RetentionSchedule | ControlSchedule | None:
    if config.retention == "fitted":
        return RetentionSchedule(bio.retention)
    return None if config.retention == "off" else ControlSchedule(config.retention, config.retention_seed)


def _block(config: RMAATConfig, bio: BioParameters) -> Block:
    if config.mixer == "softmax":
        mixer: nn.Module = SoftmaxAttention(config.dim, config.heads, config.causal)
    elif config.mixer == "ssm":
        mixer = DiagonalSSM(config.dim, causal=config.causal)
    else:
        mixer = AstromorphicAttention(
            config.dim,
            config.heads,
            _response(config, bio.presynaptic),
            places=config.segment_tokens,
            kernel=AstrocyticKernel(bio.attention) if config.astrocytic else None,
            learn_alpha=config.learn_alpha,
            causal=config.causal,
            silent=config.astrocyte_start == "silent",
            write_places=config.write_places,
        )
    return Block(mixer, config.dim, config.ffn_dim or 4 * config.dim, config.dropout)


def _response(config: RMAATConfig, fit: PresynapticFit) -> float | nn.Module | None:
    """g of the write step: an exponent, a module, or None without P."""
    if config.presynaptic == "fitted":
        return PresynapticResponse(fit)
    if config.presynaptic != "power":
        return 1.0 if config.presynaptic == "linear" else None
    if config.alpha is None and (fit.family != "power-law" or fit.alpha.mode != "fixed"):
        asked = f"family {fit.family!r}, alpha {fit.alpha.mode}"
        raise InputError("presynaptic", "power", f"'fitted', which takes what the bio-parameters ask for ({asked})")
    return config.alpha or fit.alpha.value
