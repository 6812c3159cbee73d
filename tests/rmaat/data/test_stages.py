"""Examples of the stages of a curriculum."""

import numpy as np
import pytest

from astro_sim.errors import InputError
from rmaat.data.image import pixels
from rmaat.data.pathfinder import Layout, generate
from rmaat.data.preparation import prepare
from rmaat.data.sequences import Sequences
from rmaat.data.splits import derived_seed, load_splits
from rmaat.training.recipe import DataRecipe, Stage

NEVER = {"min_length": 200_000, "max_length": 200_002}
RARE = {"min_length": 2749, "max_length": 2752}  # one tree in 23,000
FEW = {"train": 12, "validation": 2, "test": 2}


def stages(task: str, *wanted: dict[str, float]) -> list[Sequences]:
    curriculum = [{"steps": 2, "batch_size": 4} | stage for stage in wanted]
    examples = load_splits(task, DataRecipe(**FEW, curriculum=curriculum), seed=3).stages
    drawn = [stage.draw() for stage in examples]
    assert [len(stage) for stage in examples] == [len(data) for data in drawn]
    return drawn


def test_each_stage_has_its_own_lengths_and_as_many_examples_as_it_reads() -> None:
    short, long = stages("listops", {"min_length": 20, "max_length": 40}, {"min_length": 60, "max_length": 90})
    assert len(short) == len(long) == 8
    assert short.lengths.min() > 20 and short.lengths.max() < 40
    assert long.lengths.min() > 60 and long.lengths.max() < 90


def test_contours_of_a_stage_have_its_dashes() -> None:
    first, second = stages("pathfinder", {"contour_length": 3}, {"contour_length": 6, "steps": 9})
    assert len(first) == 8 and len(second) == 12  # no more than the training examples
    expected = generate(12, derived_seed(3, "stage 1"), Layout(contour_length=6), workers=1)
    assert np.array_equal(second.tokens, expected.tokens) and np.array_equal(second.labels, expected.labels)
    assert (first.tokens > 1).sum() / 8 < (second.tokens > 1).sum() / 12  # less ink


@pytest.mark.parametrize(
    ("task", "stage", "said"),
    [
        ("listops", {"contour_length": 6}, "min_length and max_length, for listops"),
        ("listops", {"min_length": 6, "max_length": 9, "contour_length": 6}, "min_length and max_length, for listops"),
        ("listops", {"min_length": 6}, "min_length and max_length, for listops"),
        ("pathfinder", {"min_length": 6, "max_length": 9}, "contour_length, for pathfinder"),
        ("mnist", {"contour_length": 6}, "no stages, for mnist"),
    ],
)
def test_a_stage_of_another_task_is_refused(task: str, stage: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        stages(task, stage)


@pytest.mark.parametrize("bounds", [NEVER, RARE])
def test_bounds_that_hardly_an_expression_meets_are_refused_before_training(bounds: dict[str, float]) -> None:
    with pytest.raises(InputError, match="at least one tree in 10,000"):
        load_splits("listops", DataRecipe(**FEW, curriculum=[{"steps": 2, "batch_size": 4, **bounds}]), seed=3)


def test_pictures_of_a_stage_are_as_large_as_those_of_the_data(tmp_path) -> None:
    """Those of 32 x 32 in front of a cache of 128 x 128 would be read as 8 rows of 128."""
    sizes = {"train": 8, "validation": 2, "test": 2}
    prepare("pathfinder", None, None, tmp_path, sizes, 0, {"size": 128, "contour_length": 3})
    recipe = DataRecipe(folder=str(tmp_path), curriculum=(Stage(steps=1, batch_size=2, contour_length=2),))
    splits = load_splits("pathfinder", recipe, 0)
    assert splits.stages[0].draw().lengths.tolist() == [128**2] * 2 == splits.train.lengths[:2].tolist()


def test_a_stage_has_an_example_for_each_place_in_its_batches() -> None:
    stage = Stage(steps=3, batch_size=4, min_length=20, max_length=60)
    recipe = DataRecipe(train=40, validation=2, test=2, curriculum=(stage,))
    found = [len(load_splits("listops", recipe, 0, accumulate).stages[0]) for accumulate in (1, 2, 9)]
    assert found == [12, 24, 40]  # at most as many as the task itself has


def test_stages_of_pictures_that_none_are_drawn_as_large_as_are_refused(tmp_path) -> None:
    for split in ("train", "validation", "test"):
        pixels(np.zeros((2, 64, 64), np.uint8), np.arange(2), 2).save(tmp_path / split)
    recipe = DataRecipe(folder=str(tmp_path), curriculum=(Stage(steps=1, batch_size=2, contour_length=2),))
    with pytest.raises(InputError, match=r"^data.curriculum.0: size: got 64, expected 32 or 128"):
        load_splits("pathfinder", recipe, 0)
