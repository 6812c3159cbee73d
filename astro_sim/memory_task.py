"""What a working memory is shown: patterns to learn, cues that are noisy copies of them or of others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sim.constants import Constants, constant
from astro_sim.errors import InputError

if TYPE_CHECKING:
    from astro_sim.working_memory_model import WorkingMemoryModel

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class StimulusParameters(Constants):
    """When patterns and cues are shown, how strongly, and how noisily; as in the published run."""

    learn_from: float = constant(0.5, "s", "start of the first pattern", strict=False)
    learn_for: float = constant(0.2, "s", "length of a pattern")
    learn_every: float = constant(0.3, "s", "time between the starts of patterns")
    learn_noise: float = constant(0.05, "1", "share of the pixels of a pattern that are flipped", strict=False)
    I_learn: float = constant(80.0, "V/s", "current into the pixels of a pattern")
    cue_from: float = constant(2.3, "s", "start of the first cue", strict=False)
    cue_for: float = constant(0.15, "s", "length of a cue")
    cue_every: float = constant(0.4, "s", "time between the starts of cues")
    cue_noise: float = constant(0.2, "1", "share of the pixels of a cue that are flipped", strict=False)
    I_cue: float = constant(8.0, "V/s", "current into the pixels of a cue")

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind in ("learn", "cue"):
            length, every, noise = (getattr(self, f"{kind}_{name}") for name in ("for", "every", "noise"))
            if length > every:
                raise InputError(f"{kind}_for", length, f"at most {kind}_every, {every:g} s")
            if noise > 1:
                raise InputError(f"{kind}_noise", noise, "a share from 0 to 1")


@dataclass(frozen=True)
class Shows:
    """Every pattern and cue of a run, in order of time.

    Attributes
    ----------
    character : tuple of str
        What is shown.
    cue : ndarray of bool, shape (n_shows,)
        Whether it is a cue.
    start, stop : ndarray of float, shape (n_shows,)
        Seconds.
    pattern, pixels : ndarray of bool, shape (n_shows, n_neurons)
        The clean pattern, and what the neurons are given.
    """

    character: tuple[str, ...]
    cue: Mask
    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    pattern: Mask
    pixels: Mask

    @classmethod
    def draw(
        cls, model: "WorkingMemoryModel", patterns: Mapping[str, ArrayLike] | None, rng: np.random.Generator
    ) -> "Shows":
        """Draw the noise of every show: a fixed number of pixels is flipped, each as likely."""
        p, characters = model.stimulus, tuple(model.learned + model.cued)
        cue = np.arange(len(characters)) >= len(model.learned)
        number = np.arange(len(characters)) - len(model.learned) * cue
        start = np.where(cue, p.cue_from + number * p.cue_every, p.learn_from + number * p.learn_every)
        masks = {character: _mask(character, model.neurons_a_side, patterns) for character in set(characters)}
        pattern = np.array([masks[character] for character in characters])
        pixels = pattern.copy()
        for row, noise in zip(pixels, np.where(cue, p.cue_noise, p.learn_noise), strict=True):
            flipped = rng.choice(row.size, size=int(noise * row.size), replace=False)
            row[flipped] = ~row[flipped]
        return cls(characters, cue, start, start + np.where(cue, p.cue_for, p.learn_for), pattern, pixels)


def glyph(character: str, side: int) -> Mask:
    """A character drawn in bold in the middle of ``side × side`` pixels, 0.85 of them long, shape (side, side)."""
    from matplotlib.font_manager import FontProperties, findfont
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans", weight="bold")), 200)
    drawn = Image.new("L", (800, 800))
    ImageDraw.Draw(drawn).text((400, 400), character, 255, font, anchor="mm")
    box = drawn.getbbox()
    if box is None:
        raise InputError("pattern", character, "a character that leaves a mark")
    width, height = box[2] - box[0], box[3] - box[1]
    scale = round(0.85 * side) / max(width, height)
    mark = drawn.crop(box).resize((max(1, round(scale * width)), max(1, round(scale * height))))
    sheet = Image.new("L", (side, side))
    sheet.paste(mark, ((side - mark.width) // 2, (side - mark.height) // 2))
    return np.asarray(sheet) > 127


def _mask(character: str, side: int, patterns: Mapping[str, ArrayLike] | None) -> Mask:
    """The pattern of a character, flat."""
    if patterns is None:
        return glyph(character, side).ravel()
    if character not in patterns:
        raise InputError("patterns", character, f"one of {', '.join(sorted(patterns))}")
    mask = np.asarray(patterns[character], dtype=bool)
    if mask.shape != (side, side) or mask.all() or not mask.any():
        raise InputError("patterns", mask.shape, f"a shape of {side} x {side} pixels, neither empty nor full")
    return mask.ravel()


class Pulses(NamedTuple):
    """Rectangular pulses of current, which add up: shows into their pixels, noise into single neurons.

    Attributes
    ----------
    start, length : ndarray of float, shape (n_pulses,)
        Seconds.
    pulse, neuron : ndarray of int, shape (n_inputs,)
        Which pulse goes into which neuron.
    size : ndarray of float, shape (n_inputs,)
        V/s.
    """

    start: NDArray[np.float64]
    length: NDArray[np.float64]
    pulse: NDArray[np.int64]
    neuron: NDArray[np.int64]
    size: NDArray[np.float64]

    @classmethod
    def draw(
        cls, model: "WorkingMemoryModel", shows: Shows, duration: float, dt: float, rng: np.random.Generator
    ) -> "Pulses":
        """The pulses of the shows, and noise drawn as a Poisson process of each neuron, sizes uniform in ±A_noise."""
        p, show, pixel = model.memory, *np.nonzero(shows.pixels)
        n_shows, count = len(shows.start), rng.poisson(model.memory.f_noise * duration * model.n_neurons)
        into_pixels = np.where(shows.cue, model.stimulus.I_cue, model.stimulus.I_learn)[show]
        return cls(
            np.concatenate([shows.start, rng.integers(0, round(duration / dt), count) * dt]),
            np.concatenate([shows.stop - shows.start, np.full(count, p.t_noise)]),
            np.concatenate([show, n_shows + np.arange(count)]),
            np.concatenate([pixel, rng.integers(0, model.n_neurons, count)]),
            np.concatenate([into_pixels, rng.uniform(-p.A_noise, p.A_noise, count)]),
        )
