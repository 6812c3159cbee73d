"""`rmaat data`: caches that are whole or absent, generated examples, archives, what is shown."""

import io
import tarfile

import numpy as np
import pytest
from typer.testing import CliRunner

from astro_sim.errors import InputError
from rmaat.cli.data import app
from rmaat.data import pathfinder
from rmaat.data.inspection import describe, show
from rmaat.data.preparation import prepare
from rmaat.data.sequences import Sequences
from rmaat.data.splits import derived_seed, load_splits
from rmaat.data.tasks import TASKS, read_layout
from rmaat.training.recipe import DataRecipe


def test_a_cache_is_whole_or_absent(imdb, tmp_path):
    out, run = tmp_path / "cache", CliRunner().invoke
    done = run(app, ["prepare", "text", "--folder", str(imdb), "--out", str(out)])
    assert done.exit_code == 0 and "train: 9 examples" in done.output
    assert isinstance(Sequences.open(out / "validation").tokens, np.memmap)
    shown = run(app, ["inspect", "text", "--folder", str(out), "--split", "test"])
    assert shown.exit_code == 0 and "test pos" in shown.output
    with pytest.raises(InputError, match="expected a cache of image; it is one of text"):
        load_splits("image", DataRecipe(folder=str(out)), 0)
    (imdb / "train" / "neg" / "1_7.txt").write_bytes(b"")
    failed = run(app, ["prepare", "text", "--folder", str(imdb), "--out", str(tmp_path / "none")])
    assert isinstance(failed.exception, InputError) and not (tmp_path / "none").exists()
    assert not list(tmp_path.glob(".none*"))


def test_a_generated_task_is_drawn_once_as_a_recipe_would(tmp_path):
    out = tmp_path / "listops"
    sizes = {"train": 5, "validation": 3, "test": 2}
    options = [f"--{split}={n}" for split, n in sizes.items()]
    done = CliRunner().invoke(app, ["prepare", "listops", "--seed", "7", "--out", str(out), *options])
    assert done.exit_code == 0, done.exception
    drawn = load_splits("listops", DataRecipe(**sizes), 7)
    cached = load_splits("listops", DataRecipe(folder=str(out)), 0)
    for split, n in sizes.items():
        ours, theirs = getattr(cached, split), getattr(drawn, split)
        assert len(ours) == n and np.array_equal(ours.tokens, theirs.tokens)
        assert np.array_equal(ours.labels, theirs.labels)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            '"vocab_size": 16',
            '"vocab_size": 40',
            "test/about.json: vocab_size: got 40, expected 16, that of the training",
        ),
        ('"task": "listops"', '"task": "pathfinder"', "expected a cache of listops; it is one of pathfinder"),
    ],
)
def test_splits_of_one_cache_are_of_one_task_with_the_same_ids_and_classes(before, after, said, tmp_path):
    options = [f"--{split}=2" for split in ("train", "validation", "test")]
    assert CliRunner().invoke(app, ["prepare", "listops", "--out", str(tmp_path), *options]).exit_code == 0
    about = tmp_path / "test" / "about.json"
    assert before in about.read_text()
    about.write_text(about.read_text().replace(before, after))
    with pytest.raises(InputError, match=said):
        load_splits("listops", DataRecipe(folder=str(tmp_path)), 0)


def test_files_of_a_caches_names_that_are_none_are_kept(tmp_path):
    mine = tmp_path / "train" / "about.json"
    mine.parent.mkdir()
    mine.write_text("my notes")
    options = [f"--{split}=2" for split in ("train", "validation", "test")]
    refused = CliRunner().invoke(app, ["prepare", "listops", "--out", str(tmp_path), *options]).exception
    assert isinstance(refused, InputError) and "train" in str(refused)
    assert mine.read_text() == "my notes"


def test_the_generator_takes_its_settings(tmp_path):
    settings, few = ["--set=size=128", "--set=contour_length=6"], ["--train=2", "--validation=1", "--test=1"]
    done = CliRunner().invoke(app, ["prepare", "pathfinder", *settings, *few, "--out", str(tmp_path / "wide")])
    assert done.exit_code == 0, done.exception
    drawn, seed = Sequences.open(tmp_path / "wide" / "train"), derived_seed(0, "train")
    expected = pathfinder.generate(2, seed, pathfinder.Layout(128, 6), workers=1)
    assert drawn.lengths.tolist() == [128 * 128] * 2 and np.array_equal(drawn.tokens, expected.tokens)
    assert (drawn.about["size"], drawn.about["contour_length"]) == (128, 6)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["listops", "--source", "20news"], "--source"),
        (["text", "--folder", ".", "--train", "5"], "--train"),
        (["text", "--folder", ".", "--seed", "5"], "--seed"),
        (["text", "--folder", ".", "--set", "size=128"], "--set"),
        (["pathfinder", "--set", "max_args=3"], "--set"),
        (["pathfinder", "--set", "size=128.0"], "--set size"),
        (["pathfinder", "--set", "size=64"], "size"),
        (["listops", "--set", "max_args=1"], "max_args"),
    ],
)
def test_options_that_do_not_apply_are_refused_and_the_cache_stays(options, field, tmp_path):
    (tmp_path / "cache").mkdir()
    failed = CliRunner().invoke(app, ["prepare", *options, "--out", str(tmp_path / "cache")])
    assert isinstance(failed.exception, InputError) and failed.exception.field == field
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]


def test_other_settings_do_not_take_the_place_of_the_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed = CliRunner().invoke(app, ["prepare", "pathfinder", "--set", "contour_length=6"])
    assert isinstance(failed.exception, InputError) and failed.exception.field == "--out"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt"])
def test_archives_are_read_by_a_python_without_filters(imdb, tmp_path, monkeypatch, name):
    """Debian 12's is 3.11.2; what leads outside is refused there too."""
    monkeypatch.delattr(tarfile, "data_filter")
    unfiltered = tarfile.TarFile.extractall
    monkeypatch.setattr(
        tarfile.TarFile, "extractall", lambda self, path: unfiltered(self, path, filter="fully_trusted")
    )
    whole, bad = tmp_path / "whole.tar.gz", tmp_path / "bad.tar.gz"
    with tarfile.open(whole, "w:gz") as archive:
        archive.add(imdb, "aclImdb")
    assert len(read_layout("text", whole)["test"]) == len(read_layout("text", imdb)["test"])
    with tarfile.open(bad, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(InputError, match=r"archive.*undamaged archive .*is no file inside of it"):
        read_layout("text", bad)


def test_no_cache_is_made_of_too_few_examples_to_validate(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"x_{split}": rng.integers(0, 255, (4, 16), dtype=np.uint8) for split in ("train", "test")}
    np.savez(tmp_path / "tiny.npz", **arrays, y_train=np.arange(4) % 2, y_test=np.arange(4) % 2)
    with pytest.raises(InputError, match="validation examples: got 0, expected at least 1"):
        prepare("mnist", tmp_path / "tiny.npz", None, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_archives_are_read_and_damaged_ones_refused(imdb, tmp_path):
    path = tmp_path / "reviews.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(imdb, "aclImdb")
    assert len(read_layout("text", path)["test"]) == 10
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"reviews\.tar\.gz"):
        read_layout("text", path)
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as archive:
        member = tarfile.TarInfo("../outside.txt")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"bad"))
    with pytest.raises(InputError, match=r"evil\.tar"):
        read_layout("text", evil)
    assert not (tmp_path.parent / "outside.txt").exists()


@pytest.mark.parametrize("task", [name for name in TASKS if TASKS[name].generate])
def test_generated_examples_can_be_shown(task, tmp_path):
    data = TASKS[task].generate(4, 0)
    assert "4 examples" in next(describe(data))
    said = list(show(task, data, 2, 0, tmp_path))
    assert said and (TASKS[task].decode or (tmp_path / f"{task}.png").read_bytes().startswith(b"\x89PNG"))


def test_a_picture_that_is_not_square_is_named(tmp_path):
    data = Sequences.from_list([np.arange(9), np.arange(10)], [0, 1], vocab_size=256, num_labels=2)
    with pytest.raises(InputError, match="length of example 1: got 10, expected the pixels of a square picture"):
        list(show("image", data, 2, 0, tmp_path))
    assert not list(tmp_path.iterdir())
