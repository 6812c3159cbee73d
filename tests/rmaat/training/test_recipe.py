"""Recipes: packaged ones, overrides, and the one line that a mistake in a file gets."""

from importlib.resources import files

import pytest

from astro_sim.errors import InputError
from rmaat.config import RMAATConfig
from rmaat.data.tasks import TASKS
from rmaat.training.recipe import load_recipe

PACKAGED = sorted(
    path.name.removesuffix(".toml") for path in (files("rmaat") / "configs").iterdir() if path.name.endswith(".toml")
)


@pytest.mark.parametrize("name", PACKAGED)
def test_every_packaged_recipe_is_valid(name):
    recipe = load_recipe(name)
    assert recipe.task in TASKS and RMAATConfig(**recipe.model).dim > 0
    assert sum(stage.steps for stage in recipe.data.curriculum) < recipe.optimisation.steps


def test_changes_override_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('task = "listops"\nseed = 4\n[optimisation]\nsteps = 10\nclip = 2.0\n')
    recipe = load_recipe(path, {"optimisation.steps": 20, "model.dim": 32, "data.train": 5})
    assert (recipe.seed, recipe.optimisation.steps, recipe.optimisation.clip) == (4, 20, 2.0)
    assert recipe.model == {"dim": 32} and recipe.data.train == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task = ", "TOML"),
        ("seed = 1\n", "task"),
        ('task = "listops"\n[optimisation]\nsteps = 0\n', "optimisation.steps"),
        ('task = "listops"\n[optimisation]\nstep = 1\n', "optimisation.step"),
        ('task = "listops"\n[optimisation]\nwarmup = 1.0\n', "optimisation.warmup"),
        ('task = "listops"\n[[data.curriculum]]\nsteps = 2\n', "data.curriculum.0"),
        ('task = "listops"\n[optimisation]\nlearning_rate = inf\n', "optimisation.learning_rate"),
        ('task = "listops"\nparameters = 9000000000\n', "parameters"),
        ('task = "listops"\n[data]\nfolder = ""\n', "data.folder: got ''"),
        ('task = "listops"\nstart = ""\n', "start: got ''"),
        ('task = "listops"\n[optimisation]\nastrocyte_rate = 2_000\n', "optimisation.astrocyte_rate"),
        ('task = "pathfinder"\n[model]\npicture_width = 5\nstem_layers = 1\nstem_stride = 4\n', "stem_stride"),
    ],
)
def test_a_mistake_gets_one_line(tmp_path, text, said):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        load_recipe(path)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"optimisation.steps.x": 1},
            "optimisation.steps: got 10, expected a table, for optimisation.steps.x to be set",
        ),
        ({"seed.a.b": 1}, "seed: got 4, expected a table, for seed.a.b to be set"),
        ({"optimisation": 3}, "optimisation: got 3, expected a table"),
        ({"optimisation.step": 3}, "optimisation.step: got 3, expected one of steps, minutes, batch_size, "),
        ({"dat.train": 3}, "dat: got {'train': 3}, expected one of task, kind, objective, "),
        ({"data.curriculum": [{"step": 1}]}, "data.curriculum.0.steps: got 'nothing', expected a value"),
        (
            {"data.curriculum": [{"steps": 1, "batch_size": 1, "step": 1}]},
            "data.curriculum.0.step: got 1, expected one of steps, batch_size, rate, ",
        ),
        ({"optimisation.steps": 0}, "optimisation.steps: got 0, expected greater than or equal to 1"),
        ({"optimisation.steps": True}, "optimisation.steps: got True, expected a valid integer"),
        ({"data.train": 10**8}, "data.train: got 100000000, expected less than or equal to 10000000"),
        ({"optimisation.minutes": "long"}, "optimisation.minutes: got 'long', expected a valid number"),
    ],
)
def test_a_mistaken_change_is_told_what_is_allowed(tmp_path, changes, said):
    path = tmp_path / "mine.toml"
    path.write_text('task = "listops"\nseed = 4\n[optimisation]\nsteps = 10\n')
    with pytest.raises(InputError) as refused:
        load_recipe(path, changes)
    assert str(refused.value).startswith(f"{path}: {said}") and "\n" not in str(refused.value)


def test_an_unknown_recipe_names_the_packaged_ones():
    with pytest.raises(InputError, match="demo"):
        load_recipe("no-such-recipe")
