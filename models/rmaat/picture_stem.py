"""What comes before the blocks where a sequence is a picture: a gated convolution, the same one many times over."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PictureNorm(nn.Module):
    """Centres and scales each channel by its mean and variance over the places of a segment that exist.

    So no weights of the convolution can push a channel below the relu at all places, as under one norm of all channels.
    A norm of each place for itself would raise the noise of an empty place to the size of a signal; 1e-3 is added to
    the variance, so that a channel of no contrast is raised at most 32 times.

    Parameters
    ----------
    dim : int
        Channels; each has a gain and a shift.

    Source: instance normalisation, Ulyanov et al. 2016, arXiv 1607.08022, here with places that do not exist.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, exists: Tensor) -> Tensor:
        """(batch, rows, columns, dim); `exists` is (batch, rows, columns, 1)."""
        count = exists.sum((1, 2), keepdim=True).clamp_min(1)
        x = x - (x * exists).sum((1, 2), keepdim=True) / count
        variance = (x * x * exists).sum((1, 2), keepdim=True) / count
        return x * torch.rsqrt(variance + 1e-3) * self.weight + self.bias


class PictureStem(nn.Module):
    """Merges squares of pixels into places, then lets neighbouring places tell each other what they hold.

    With y_0 = W_in s, where s is a square and half a square around it, k = 0 .. iterations - 1 and * a convolution
    over rows and columns,

        c_k     = relu(N_k(W * y_k) + y_0)
        g_k     = sigmoid(W_g [y_k ; c_k] + b_g)
        y_{k+1} = y_k + g_k (c_k - y_k),

    with N_k a `PictureNorm`, and the last y through a layer norm. W and W_g are the same in every iteration, so that
    what holds for one step along a contour is learnt for all of them. Places see (kernel - 1) / 2 more on each side
    with every iteration, and nothing beyond their segment. Pixels and places that do not exist count as zeros.
    Nothing is dropped out.

    Parameters
    ----------
    dim : int
        Width of the model.
    iterations, kernel : int
        How often W is applied, and its rows and columns, an odd number.
    width, side : int
        Pixels of a row of the picture and of a side of a square; `side` divides `width`.

    Source: a recurrent gated convolution for contours is that of Linsley et al. 2018, arXiv 1805.08315 (hGRU); the
    form here is simpler, with one gate and without its inhibition.
    """

    def __init__(self, dim: int, iterations: int, kernel: int, width: int, side: int) -> None:
        super().__init__()
        self.width, self.side = width, side
        self.merge = nn.Conv2d(dim, dim, side + 2 * (side // 2), stride=side, padding=side // 2)
        self.convolution = nn.Conv2d(dim, dim, kernel, padding="same")
        self.gate = nn.Linear(2 * dim, dim)
        self.norms = nn.ModuleList(PictureNorm(dim) for _ in range(iterations))
        self.last = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, n, dim) in raster order to (batch, places, dim); `mask` is True at the pixels that exist."""
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        exists = self._squares(mask).unsqueeze(-1)
        start = self.merge(self._picture(x * mask.unsqueeze(-1)).movedim(-1, 1)).movedim(1, -1)
        y = start
        for norm in self.norms:
            seen = self.convolution((y * exists).movedim(-1, 1)).movedim(1, -1)
            candidate = F.relu(norm(seen, exists) + start)
            gate = torch.sigmoid(self.gate(torch.cat([y, candidate], dim=-1)))
            y = y + gate * (candidate - y)
        return self.last(y).flatten(1, 2)[:, : self._count(mask.shape[1])]

    def places(self, mask: Tensor) -> Tensor:
        """True at the places that hold a pixel, (batch, n) to (batch, places)."""
        return self._squares(mask).flatten(1)[:, : self._count(mask.shape[1])]

    def _count(self, n: int) -> int:
        """Places of n pixels: those of the last, broken row of squares are the first ones in it."""
        rows, rest = divmod(n, self.width * self.side)
        return rows * (self.width // self.side) + math.ceil(min(rest, self.width) / self.side)

    def _squares(self, mask: Tensor) -> Tensor:
        """True at the squares that hold a pixel, (batch, n) to (batch, rows, columns)."""
        picture = self._picture(mask.unsqueeze(-1)).squeeze(-1)
        return picture.unflatten(2, (-1, self.side)).unflatten(1, (-1, self.side)).any(-1).any(2)

    def _picture(self, x: Tensor) -> Tensor:
        """(batch, n, ...) to (batch, rows, width, ...), with whole squares of rows."""
        rows = math.ceil(x.shape[1] / (self.width * self.side)) * self.side
        return F.pad(x, (0, 0, 0, rows * self.width - x.shape[1])).unflatten(1, (rows, self.width))
