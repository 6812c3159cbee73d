"""Pathfinder: are the two dots the ends of one dashed contour?

Two contours of dashes grow side by side from seeds a fixed distance apart, then short distractor contours
fill the image. One dot marks the start of a contour; the other marks the end of the same contour (label 1)
or of the other one (label 0).

Parameters and rules are those published for the generator of Linsley et al. 2018 (arXiv 1805.08315) and for
Long Range Arena's 32 x 32 images. The code is new: many images grow at once, and a new dash is tested against
an occupancy mask of a quarter of a pixel's area. An image depends on the seed and its block alone, so that
any number of processes gives the same images.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from astro_sim.errors import InputError
from rmaat.data.image import pixels
from rmaat.data.sequences import Sequences

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
BLOCK = 64
CANDIDATES = 24
GRID = 2  # cells of the occupancy mask per pixel
DASH_LEVEL = 0.75  # grey of the dashes, where the dots are white


@dataclass(frozen=True)
class Layout:
    """Geometry of an image; lengths in pixels.

    Parameters
    ----------
    size : int
        32 is Long Range Arena's; 128 is the same drawing twice as large on a wider field, with more distractors.
    contour_length : int
        Dashes of each of the two contours, from 2 to 14; published are 6 (easy), 9 (intermediate) and 14 (hard).

    Raises
    ------
    InputError
        If one of them is none of these.
    """

    size: int = 32
    contour_length: int = 14

    def __post_init__(self) -> None:
        if self.size not in (32, 128):
            raise InputError("size", self.size, "32 or 128")
        if not 2 <= self.contour_length <= 14:
            raise InputError("contour_length", self.contour_length, "from 2 to 14")

    @property
    def scale(self) -> float:
        """How many times as large as on 32 x 32 everything is drawn."""
        return 2.0 if self.size == 128 else 1.0

    @property
    def distractors(self) -> int:
        """Contours of a third of the length that belong to no dot."""
        return 20 if self.size == 128 else 5

    @property
    def seed_distance(self) -> float:
        """From the start of one contour to that of the other."""
        return 7.0 * self.scale

    @property
    def padding(self) -> float:
        """Rim of the image that stays empty."""
        return 1.0 * self.scale

    @property
    def marker_radius(self) -> float:
        """Of the two dots."""
        return 1.5 * self.scale

    @property
    def dash(self) -> float:
        """Length of a dash."""
        return 2.0 * self.scale

    @property
    def margin(self) -> float:
        """What is kept free around a dash, and half of the gap to the next of its contour."""
        return 1.0 * self.scale

    @property
    def thickness(self) -> float:
        """Of a dash."""
        return 0.5 * self.scale


def generate(n: int, seed: int, layout: Layout | None = None, workers: int | None = None) -> Sequences:
    """Draw `n` labelled images as sequences of grey levels in raster order; the first m do not depend on n.

    Parameters
    ----------
    seed : int
        Decides all images, with `layout`.
    layout : Layout, optional
        Long Range Arena's hard one, 32 x 32, unless said.
    workers : int, optional
        Processes; default one a core. The images are the same for any number.
    """
    layout = layout or Layout()
    blocks = range(-(-n // BLOCK))
    draw = partial(_block, seed, layout)
    workers = min(workers or os.cpu_count() or 1, len(blocks))
    if workers > 1:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            parts = list(pool.map(draw, blocks))
    else:
        parts = [draw(block) for block in blocks]
    images = np.concatenate([images for images, _ in parts])[:n]
    labels = np.concatenate([labels for _, labels in parts])[:n]
    data = pixels(images, labels, num_labels=2)
    data.about.update(source="generated", seed=seed, **asdict(layout))
    return data


def _block(seed: int, layout: Layout, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`BLOCK` finished images, (BLOCK, size, size), and their labels."""
    rng = np.random.default_rng([seed, index])
    tried = BLOCK * min(16, 2 ** max(1, layout.contour_length - 4))  # half of 5 dashes get there, 1 % of 14
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    while sum(len(some) for some in labels) < BLOCK:
        drawing = _Drawing(tried, layout, rng)
        starts, ends = drawing.two_contours()
        drawing.distractors()
        rows = np.arange(drawing.n)
        label, first = rng.integers(0, 2, (2, drawing.n))
        second = np.where(label == 1, first, 1 - first)
        images.append(drawing.render(np.stack([starts[rows, first], ends[rows, second]], axis=1)))
        labels.append(label)
    return np.concatenate(images)[:BLOCK], np.concatenate(labels)[:BLOCK]


class _Drawing:
    """`n` images in the making; those whose contours run into a dead end are dropped on the way."""

    def __init__(self, n: int, layout: Layout, rng: np.random.Generator) -> None:
        self.n, self.layout, self.rng = n, layout, rng
        cells = layout.size * GRID
        self.mask = np.zeros((n, cells, cells), bool)
        reach = (layout.margin + layout.thickness) * GRID
        offsets = np.arange(-np.ceil(reach), np.ceil(reach) + 1)
        disc = np.stack(np.meshgrid(offsets, offsets), axis=-1).reshape(-1, 2)
        self.disc = disc[np.hypot(*disc.T) <= reach].astype(np.int64)
        self.tails: list[Array] = []  # of each dash, (n, 2); NaN where an image has none
        self.heads: list[Array] = []

    def two_contours(self) -> tuple[Array, Array]:
        """Grow both target contours in turns; starts and ends of the two, each (n, 2 contours, 2)."""
        layout, rng, n = self.layout, self.rng, self.n
        low, high = 2 * layout.seed_distance, layout.size - 2 * layout.seed_distance
        first = rng.uniform(low, high, (n, 2))
        second = first + layout.seed_distance * _unit(rng.uniform(0, 2 * np.pi, n))
        starts = np.stack([first, second], axis=1)
        heading = rng.uniform(-np.pi, np.pi, (n, 2))
        tips = starts + layout.dash * _unit(heading)
        for i in range(2):
            self._add(starts[:, i], tips[:, i])
        found: Mask = np.asarray((self._inside(starts) & self._inside(tips)).all(axis=1))
        last = starts
        for _ in range(layout.contour_length - 1):
            for i in range(2):
                starts, last, tips, heading = (a[found] for a in (starts, last, tips, heading))
                self._keep(found)
                beside = last[:, 1 - i], tips[:, 1 - i]
                tail, head, direction, found = self._extend(tips[:, i], heading[:, i], beside)
                self._occupy(last[:, i], tips[:, i], found)
                self._add(tail, head)
                heading[:, i], tips[:, i] = direction, head
                last = np.where(np.arange(2)[:, None] == i, tail[:, None], last)
        starts, last, tips = starts[found], last[found], tips[found]
        self._keep(found)
        for i in range(2):
            self._occupy(last[:, i], tips[:, i], np.ones(self.n, bool))
        return starts, tips

    def _keep(self, which: Mask) -> None:
        self.n, self.mask = int(which.sum()), self.mask[which]
        self.tails = [tail[which] for tail in self.tails]
        self.heads = [head[which] for head in self.heads]

    def distractors(self) -> None:
        """Add the short contours where there is room; an image without room keeps fewer of them."""
        layout, n = self.layout, self.n
        length = layout.contour_length // 3
        for _ in range(layout.distractors):
            heading = self.rng.uniform(-np.pi, np.pi, n)
            tail = self.rng.uniform(layout.padding, layout.size - layout.padding, (CANDIDATES, n, 2))
            head = tail + layout.dash * _unit(heading)
            free = self._free(tail, head)
            pick = free.argmax(axis=0), np.arange(n)
            growing = np.asarray(free.any(axis=0))
            dashes = [(tail[pick], head[pick])]
            for _ in range(length - 1):
                start, end, heading, found = self._extend(dashes[-1][1], heading)
                growing &= found
                dashes.append((start, end))
            for start, end in dashes:
                self._occupy(start, end, growing)
                self._add(*(np.where(growing[:, None], place, np.nan) for place in (start, end)))

    def _extend(
        self, tip: Array, heading: Array, beside: tuple[Array, Array] | None = None
    ) -> tuple[Array, Array, Array, Mask]:
        """Next dash of a contour: its turn d has the density cos^2(d) for |d| < pi/2.

        Candidates are drawn by their density and the first free one is taken. `beside` is a dash that is
        not in the mask yet and must not be touched either.
        """
        layout, rng = self.layout, self.rng
        turn = _cosine_squared(rng.random((CANDIDATES, self.n)))
        direction = heading + turn
        tail = tip + layout.margin * _unit(heading) + layout.margin * _unit(direction)
        head = tail + layout.dash * _unit(direction)
        free = self._free(tail, head)
        if beside is not None:
            gap = layout.margin + layout.thickness
            middle = (beside[0] + beside[1]) / 2
            for end in (tail, (tail + head) / 2, head):
                for other in (beside[0], middle, beside[1]):
                    free &= np.hypot(*np.moveaxis(end - other, -1, 0)) > gap
        pick = free.argmax(axis=0), np.arange(self.n)
        return tail[pick], head[pick], direction[pick], np.asarray(free.any(axis=0))

    def _inside(self, place: Array) -> Mask:
        margin = self.layout.padding
        inside = (place >= margin) & (place <= self.layout.size - margin)
        return np.asarray(inside.all(axis=-1))

    def _free(self, tail: Array, head: Array) -> Mask:
        """Whether dashes (candidates, n, 2) lie inside the image and touch nothing occupied."""
        free = self._inside(tail) & self._inside(head)
        rows = np.arange(self.n)
        for share in (0.0, 0.5, 1.0):
            y, x = np.moveaxis(self._cells(tail + share * (head - tail)), -1, 0)
            free &= ~self.mask[rows, y, x]
        return free

    def _cells(self, place: Array) -> NDArray[np.int64]:
        return np.clip(np.nan_to_num(place) * GRID, 0, self.mask.shape[1] - 1).astype(np.int64)

    def _occupy(self, tail: Array, head: Array, where: Mask) -> None:
        rows = np.flatnonzero(where)[:, None]
        for share in (0.0, 0.5, 1.0):
            cells = self._cells(tail + share * (head - tail))[where][:, None] + self.disc
            y, x = np.moveaxis(np.clip(cells, 0, self.mask.shape[1] - 1), -1, 0)
            self.mask[rows, y, x] = True

    def _add(self, tail: Array, head: Array) -> None:
        self.tails.append(tail)
        self.heads.append(head)

    def render(self, marks: Array) -> NDArray[np.uint8]:
        """Grey images, (n, size, size): anti-aliased dashes, and the dots `marks` (n, 2, 2) on top."""
        layout = self.layout
        image = np.zeros((self.n, layout.size, layout.size))
        tails, heads = np.stack(self.tails, axis=1), np.stack(self.heads, axis=1)
        self._stamp(image, tails, heads, layout.thickness / 2, DASH_LEVEL)
        self._stamp(image, marks, marks, layout.marker_radius, 1.0)
        return np.rint(255 * image).astype(np.uint8)

    def _stamp(self, image: Array, tails: Array, heads: Array, radius: float, level: float) -> None:
        """Raise pixels to `level` times the share of them within `radius` of the lines tail-head."""
        size = self.layout.size
        reach = int(np.ceil(self.layout.dash / 2 + radius + 1))
        there = np.isfinite(tails).all(axis=-1)
        rows = np.nonzero(there)[0][:, None]
        tails, along = tails[there][:, None], (heads - tails)[there][:, None]
        steps = np.arange(-reach, reach + 1)
        patch = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
        pixel = np.floor(tails + along / 2).astype(np.int64) + patch
        offset = pixel + 0.5 - tails
        squared = np.maximum((along**2).sum(-1), 1e-12)
        share = np.clip((offset * along).sum(-1) / squared, 0, 1)
        distance = np.hypot(*np.moveaxis(offset - share[..., None] * along, -1, 0))
        shade = level * np.clip(radius + 0.5 - distance, 0, 1)
        inside = ((pixel >= 0) & (pixel < size)).all(axis=-1)
        y, x = np.moveaxis(np.clip(pixel, 0, size - 1), -1, 0)
        np.maximum.at(image, (np.broadcast_to(rows, y.shape), y, x), np.where(inside, shade, 0))


def _unit(angle: Array) -> Array:
    """Unit vectors (y, x) of angles."""
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


_ANGLES = np.linspace(-np.pi / 2, np.pi / 2, 1025)
_CUMULATIVE = (_ANGLES + np.sin(2 * _ANGLES) / 2) / np.pi + 0.5


def _cosine_squared(uniform: Array) -> Array:
    """Angles of density (2 / pi) cos^2 on (-pi/2, pi/2), by inversion of the cumulative distribution."""
    return np.interp(uniform, _CUMULATIVE, _ANGLES)
