"""What comes before the blocks: ordered levels, hashed n-grams, convolutions over neighbouring tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LevelEmbedding(nn.Module):
    """Ids that are the ordered levels of one quantity: x = w u + b with u from -1 (id 1) to 1 (the last id).

    Id 0, padding and what masked modelling hides, is no level: x = 0.

    Parameters
    ----------
    vocab_size : int
        Number of ids, padding (0) included.
    dim : int
        Width of the model.
    """

    def __init__(self, vocab_size: int, dim: int) -> None:
        super().__init__()
        self.middle = vocab_size / 2
        self.linear = nn.Linear(1, dim)

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, n) to (batch, n, dim)."""
        ids = inputs.unsqueeze(-1).to(self.linear.weight.dtype)
        return self.linear((ids - self.middle) / max(self.middle - 1, 0.5)) * (ids > 0)


class HashedNGrams(nn.Module):
    """Embeddings of the n-grams that end at a token, n = 2 .. `longest`: sum_n W_n e_n.

    The n-gram b_{t-n+1} .. b_t has the row ((..(b_t p + b_{t-1}) p + ..) mod q) mod `buckets` of table n, with
    p = 1,000,003 and q = 2^31 - 1; other n-grams share it. Tokens before the segment count as 0. The rows e_n are
    narrower than the model, so that there may be many, and start at a tenth of an embedding's size: most n-grams
    are rare, and what a rare one learns must not drown in where it began.

    Parameters
    ----------
    dim, longest, buckets, rank : int
        Width of the model, the largest n, rows of each table and their width.
    dropout : float
        Probability of dropping an n-gram, in training only.

    Source: hash n-gram embeddings of the Byte Latent Transformer, arXiv 2412.09871; narrow rows and dropped n-grams
    are ours (docs/decisions/stems.md).
    """

    def __init__(self, dim: int, longest: int, buckets: int, rank: int, dropout: float) -> None:
        super().__init__()
        self.buckets, self.dropout = buckets, dropout
        small = [0.1 * torch.randn(buckets, rank) for _ in range(longest - 1)]
        self.tables = nn.ModuleList(nn.Embedding(buckets, rank, _weight=weight) for weight in small)
        self.widen = nn.Linear(rank * (longest - 1), dim, bias=False)  # W_2 .. W_longest side by side

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, n) to (batch, n, dim)."""
        code, found = ids.long(), []
        for before, table in enumerate(self.tables, 1):
            code = (code * 1_000_003 + F.pad(ids, (before, 0))[:, : ids.shape[1]]) % (2**31 - 1)
            found.append(table(code % self.buckets))
        rows = torch.stack(found, dim=2).flatten(0, 1)  # (batch * n, longest - 1, rank)
        kept = F.dropout1d(rows, self.dropout, self.training)  # drops whole rows
        return self.widen(kept.flatten(1)).unflatten(0, ids.shape)

    def widened_tables(self) -> list[Tensor]:
        """W_n e_n of every row of every table, (buckets, dim) each: what hardware looks up."""
        maps = self.widen.weight.split(self.tables[0].embedding_dim, dim=1)
        return [table.weight @ w.T for table, w in zip(self.tables, maps, strict=True)]


class ConvolutionalStem(nn.Module):
    """Merges `stride` neighbouring tokens into one place, then mixes places by dilated convolutions.

    y_j = W [x_{js} ; ... ; x_{js + s - 1}] for s = stride > 1, then layer by layer
    y <- LN(y + relu(W_i * y)), W_i a convolution of `kernel` places that lie 2^i apart, so that L layers see
    (kernel - 1)(2^L - 1) + 1 places. Tokens that do not exist count as zeros.

    W_i is centred, and a segment sees nothing beyond its ends: the memory stays all that passes from one to the
    next. In the causal form it ends at its place, (W_i * y)_j = b_i + sum_k W_ik y_{j - k 2^i} with k >= 0, and
    the `reach` tokens before a segment are seen too: cutting a sequence does not change what a token looks like.

    Parameters
    ----------
    dim : int
        Width of the model.
    layers, kernel, stride : int
        L, the odd number of places of a convolution, and s.
    dropout : float
        Probability of dropping an entry of a convolution's output, in training only.
    causal : bool
        Let a place see itself and the places before it only.

    Attributes
    ----------
    reach : int
        Places before a place that it sees in the causal form, (kernel - 1)(2^L - 1).

    Source: the doubling dilations are those of CDIL-CNN, arXiv 2201.02143.
    """

    def __init__(self, dim: int, layers: int, kernel: int, stride: int, dropout: float, causal: bool = False) -> None:
        super().__init__()
        self.kernel, self.stride, self.dropout, self.causal = kernel, stride, dropout, causal
        self.reach = (kernel - 1) * (2**layers - 1)
        self.merge = nn.Linear(stride * dim, dim) if stride > 1 else None
        self.convolutions = nn.ModuleList(nn.Conv1d(dim, dim, kernel, dilation=2**i) for i in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, n, dim) to (batch, ceil(n / stride), dim); `mask` is True at the tokens that exist."""
        exists = None if mask is None else mask.unsqueeze(-1)
        if self.merge is not None:
            x = x if exists is None else x * exists
            x = self.merge(F.pad(x, (0, 0, 0, -x.shape[1] % self.stride)).unflatten(1, (-1, self.stride)).flatten(2))
            exists = None if mask is None else self.places(mask).unsqueeze(-1)
        if self.causal:  # a token that does not exist comes after all that do
            return self.resume(x, None)[0]
        for i, norm in enumerate(self.norms):
            seen = x if exists is None else x * exists
            x = norm(x + self._response(i, seen))
        return x

    def resume(self, x: Tensor, state: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """The causal form on the next n places of a sequence.

        Parameters
        ----------
        x : Tensor
            (batch, n, dim).
        state : list of Tensor, optional
            What each convolution saw last, (batch, (kernel - 1) 2^i, dim); None at the start of the sequence.
        """
        n, after = x.shape[1], []
        for i, norm in enumerate(self.norms):
            reach = (self.kernel - 1) * 2**i
            seen = F.pad(x, (0, 0, reach, 0)) if state is None else torch.cat([state[i], x], dim=1)
            after.append(seen[:, n:])
            x = norm(x + self._response(i, seen))
        return x, after

    def _response(self, i: int, seen: Tensor) -> Tensor:
        """relu(W_i * y), with dropout.

        Taken as a convolution of pictures one row high: what is (batch, n, dim) in memory is such a picture with its
        channels last, which is convolved without being copied into another order and back.
        """
        weight, bias = self.convolutions[i].parameters()
        padding = 0 if self.causal else 2**i * (self.kernel // 2)
        row = seen.mT.unsqueeze(2)  # (batch, dim, 1, n)
        y = F.conv2d(row, weight.unsqueeze(2), bias, padding=(0, padding), dilation=(1, 2**i))
        return F.dropout(F.relu_(y), self.dropout, self.training).squeeze(2).mT

    def places(self, mask: Tensor) -> Tensor:
        """True at the places that hold a token, (batch, n) to (batch, ceil(n / stride))."""
        return F.pad(mask, (0, -mask.shape[1] % self.stride)).unflatten(1, (-1, self.stride)).any(-1)
