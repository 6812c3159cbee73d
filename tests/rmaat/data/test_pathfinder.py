"""Pathfinder's generator: balance, geometry, and no dependence on the number of processes."""

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.stats import kstest

from astro_sim.errors import InputError
from rmaat.data.pathfinder import BLOCK, Layout, _cosine_squared, generate


@pytest.fixture(scope="module")
def drawn():
    return generate(IMAGES, 3, Layout(contour_length=6), workers=1)


IMAGES = 512


def test_labels_are_balanced_and_images_differ(drawn):
    """Half of the labels are 1, within four standard errors (0.088) of 512 draws."""
    images = drawn.tokens.reshape(IMAGES, 32, 32)
    assert abs(drawn.labels.mean() - 0.5) < 0.09
    assert len(np.unique(images.reshape(IMAGES, -1), axis=0)) == IMAGES


def test_two_dots_brighter_than_the_dashes(drawn):
    """Full white occurs in one or (touching) two places, each no larger than a dot of radius 1.5 + 0.5."""
    white = drawn.tokens.reshape(IMAGES, 32, 32) - 1 == 255
    counts = np.array([label(image, np.ones((3, 3)))[1] for image in white])
    assert set(counts) <= {1, 2} and (counts == 2).mean() > 0.9
    assert white.sum(axis=(1, 2)).max() <= 2 * np.pi * 2.0**2


@pytest.mark.parametrize("length", [3, 6, 9, 11, 14])
def test_ink_grows_with_the_contours(length):
    """A dash of length 2 covers about 2 * (2 + 1) half-toned pixels; contours, distractors and dots together
    leave between half and one and a half times that of ink."""
    layout = Layout(contour_length=length)
    data = generate(64, 1, layout, workers=1)
    dashes = 2 * length + 5 * (length // 3)
    inked = (data.tokens.reshape(64, -1) > 1).sum(axis=1) - 2 * np.pi * 2**2
    assert 0.5 * 6 * dashes < inked.mean() < 1.5 * 6 * dashes


def test_one_seed_one_set_of_images_for_any_number_of_processes():
    layout = Layout(contour_length=6)
    n = BLOCK + 5
    alone, together = generate(n, 5, layout, workers=1), generate(n, 5, layout, workers=2)
    assert np.array_equal(alone.tokens, together.tokens) and np.array_equal(alone.labels, together.labels)
    assert not np.array_equal(alone.tokens[:1024], generate(1, 6, layout, workers=1).tokens)


def test_turns_have_the_published_density():
    """cos^2 on (-pi/2, pi/2): cumulative 1/2 + (x + sin 2x / 2) / pi; Kolmogorov-Smirnov on 20,000 turns."""
    turns = _cosine_squared(np.random.default_rng(2).random(20_000))
    assert kstest(turns, lambda x: 0.5 + (x + np.sin(2 * x) / 2) / np.pi).pvalue > 1e-3


def test_large_images_and_impossible_layouts():
    data = generate(2, 0, Layout(128, 6), workers=1)
    assert data.lengths.tolist() == [128 * 128] * 2
    for wrong in ({"size": 64}, {"contour_length": 15}):
        with pytest.raises(InputError):
            Layout(**wrong)
