"""The tasks by name: what each has to tell apart, and where its examples come from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_sim.errors import InputError
from astro_sim.provenance import refuse_other_entries, replacing
from rmaat.data import audio, image, listops, pathfinder, pathfinder_files, text
from rmaat.data.sequences import FILES, Sequences
from rmaat.data.sources import Download, fetch, unpacked

if TYPE_CHECKING:
    from rmaat.training.recipe import DataRecipe, Stage

SPLITS = ("train", "validation", "test")
VALIDATION_SHARE = 0.1
PROBE = 64  # examples that tell whether a generator can draw more of them
GENERATED = {"train": 20_000, "validation": 1_000, "test": 2_000}  # examples that `prepare` draws


@dataclass(frozen=True)
class StageExamples:
    """`n` training examples of one stage of a curriculum, drawn when the stage begins: some take minutes."""

    n: int
    draw: Callable[[], Sequences]

    def __len__(self) -> int:
        return self.n


@dataclass(frozen=True)
class Splits:
    """Training, validation and test examples of one task, training examples of each curriculum stage, their origin.

    `folder` is what the examples were read from; None of drawn ones.
    """

    train: Sequences
    validation: Sequences
    test: Sequences
    stages: tuple[StageExamples, ...] = ()
    origin: str = ""
    folder: Path | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(int(getattr(self, split).lengths.max()) for split in SPLITS)

    def about(self) -> dict[str, dict[str, int]]:
        """Examples and tokens of each split: what tells other data from the same."""
        parts = {split: getattr(self, split) for split in SPLITS}
        return {split: {"examples": len(d), "tokens": int(d.offsets[-1])} for split, d in parts.items()}


@dataclass(frozen=True)
class Task:
    """One task.

    Parameters
    ----------
    layout : str
        The official layout, for people.
    read : callable
        From the folder (or file) in that layout to examples by split; a split of 10 % of the training
        examples becomes the validation set where the layout has none.
    generate : callable, optional
        From number and seed to examples; from `settings` too, where given.
    settings : tuple of str
        Whole numbers that `generate` can be given by name.
    easier : tuple of str
        Those that a stage of a curriculum must have.
    download : Download, optional
        The official place.
    picture : bool
        A sequence is a square picture, row after row.
    decode : callable, optional
        From ids to text.
    sources : dict
        Other origins by name, each with its `read`.
    """

    layout: str
    read: Callable[[Path], dict[str, Sequences]]
    generate: Callable[..., Sequences] | None = None
    settings: tuple[str, ...] = ()
    easier: tuple[str, ...] = ()
    download: Download | None = None
    picture: bool = False
    decode: Callable[..., str] | None = None
    sources: dict[str, Callable[[Path], dict[str, Sequences]]] = field(default_factory=dict)


def _listops(folder: Path) -> dict[str, Sequences]:
    names = {"train": "train", "validation": "val", "test": "test"}
    return {split: listops.read_tsv(folder / f"basic_{name}.tsv") for split, name in names.items()}


def _listops_drawn(n: int, seed: int, **bounds: int) -> Sequences:
    return listops.generate(n, seed, listops.Grammar(**bounds))


def _pathfinder_drawn(n: int, seed: int, size: int = 32, contour_length: int = 14) -> Sequences:
    return pathfinder.generate(n, seed, pathfinder.Layout.of_size(size, contour_length))


_IMDB = Download("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz", "7c2ac02c03563afcf9b574c7e56c153a")
_CIFAR = Download("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")

TASKS: dict[str, Task] = {
    "listops": Task(
        "basic_{train,val,test}.tsv",
        _listops,
        _listops_drawn,
        ("min_length", "max_length", "max_depth", "max_args"),
        ("min_length", "max_length"),
        decode=listops.decode,
    ),
    "text": Task("aclImdb/{train,test}/{neg,pos}/*.txt", text.read_imdb, download=_IMDB, decode=text.decode_bytes),
    "retrieval": Task(
        "new_aan_pairs.{train,eval,test}.tsv",
        text.read_aan,
        decode=text.decode_bytes,
        sources={"20news": text.read_newsgroup_pairs},
    ),
    "image": Task("cifar-10 batches or .npz", image.read_images, download=_CIFAR, picture=True),
    "pathfinder": Task(
        "{imgs,metadata}/<batch>",
        pathfinder_files.read_pathfinder,
        _pathfinder_drawn,
        ("size", "contour_length"),
        ("contour_length",),
        picture=True,
    ),
    "mnist": Task(".npz of x_train, y_train, x_test, y_test", image.read_images, picture=True),
    "digits": Task("recordings/{digit}_{speaker}_{index}.wav", audio.read_spoken_digits),
    "language": Task("a text file or wiki.{train,valid,test}.tokens", text.read_plain_text, decode=text.decode_bytes),
}


def find_task(name: str, option: str = "--task") -> Task:
    """The task called `name`; InputError names the others, and the option that they are values of."""
    if name not in TASKS:
        raise InputError(option, name, f"one of {', '.join(TASKS)}")
    return TASKS[name]


def read_layout(name: str, path: Path, source: str | None = None) -> dict[str, Sequences]:
    """Examples by split from a folder or archive in the official layout, the validation split included.

    Parameters
    ----------
    source : str, optional
        Another layout that the task knows: ``"20news"`` for retrieval.

    Raises
    ------
    InputError
        If anything is missing or damaged; the message names file and row.
    """
    task = find_task(name)
    if source is not None and source not in task.sources:
        raise InputError("--source", source, f"one of {', '.join(task.sources) or '(none for this task)'}")
    _refuse_absent(task, path)
    reader = task.sources[source] if source else task.read
    with unpacked(path) as folder:
        splits = reader(folder)
    if "validation" not in splits:
        splits["train"], splits["validation"] = splits["train"].split(VALIDATION_SHARE, seed=0)
    for data in splits.values():
        data.about.update(task=name, source=source or path.name)
    return {split: splits[split] for split in SPLITS}


def prepare(
    name: str,
    path: Path | None,
    source: str | None,
    out: Path,
    sizes: dict[str, int] | None = None,
    seed: int | None = None,
    settings: dict[str, Any] | None = None,
) -> dict[str, Sequences]:
    """Read, download or generate a task's data and write its memory-mapped cache to ``out/<split>``.

    Parameters
    ----------
    path : path, optional
        Folder or archive in the official layout; None: the official download, or generated examples.
    sizes : dict, optional
        Examples of the splits that are generated with `seed` (0 if None), where not `GENERATED`.
    settings : dict, optional
        Of the generator, by the names in `Task.settings`.

    Raises
    ------
    InputError
        If the data are missing or damaged, or cannot be generated so, or `out` holds other things; the cache is then
        not written.
    """
    task, settings = find_task(name), settings or {}
    refuse_other_entries(out, SPLITS)
    for split in SPLITS:
        refuse_other_entries(out / split, FILES)
        if (out / split).is_dir() and any((out / split).iterdir()):
            Sequences.open(out / split)  # of the same names, but no cache: somebody else's
    if path is None and task.generate:
        if source is not None:
            raise InputError("--source", source, "none for generated examples")
        for setting, value in settings.items():
            if setting not in task.settings:
                raise InputError("--set", setting, f"one of {', '.join(task.settings)}")
            if type(value) is not int:
                raise InputError(f"--set {setting}", value, "a whole number")
        splits = _drawn(task, GENERATED | (sizes or {}), seed or 0, **settings)
        for data in splits.values():
            data.about.update(task=name)
    else:
        drawn = {f"--{split}": n for split, n in (sizes or {}).items()} | {"--seed": seed, "--set": settings or None}
        for option, value in drawn.items():
            if value is not None:
                raise InputError(option, value, "none for examples that are read; it is of generated ones")
        if path is None:
            if task.download is None:
                raise InputError("--folder", None, f"a folder or archive in the layout {task.layout}")
            path = fetch(task.download, out.parent / "downloads")
        splits = read_layout(name, path, source)
    with replacing(out) as room:
        room.mkdir()
        for split, data in splits.items():
            data.save(room / split)
    return {split: Sequences.open(out / split) for split in SPLITS}


def default_folder(name: str) -> Path:
    """Where `prepare` puts a task's cache: ``$RMAAT_DATA/<task>``, or ``data/<task>`` here."""
    return Path(os.environ.get("RMAAT_DATA", "data")) / name


def source_folder(name: str, recipe: DataRecipe) -> Path:
    """Where a recipe's examples are read from, if there are any; InputError if a task that is read has none there."""
    task = find_task(name)
    if recipe.folder:
        _refuse_absent(task, Path(recipe.folder))
        return Path(recipe.folder)
    if task.generate is None and not _is_cache(default_folder(name)):
        allowed = f"a cache made by `rmaat data prepare {name}`, or a folder of its official layout"
        raise InputError("data", str(default_folder(name)), allowed)
    return default_folder(name)


def _refuse_absent(task: Task, path: Path) -> None:
    if not path.exists():
        raise InputError("data", str(path), f"an existing path, of data in the layout {task.layout}")


def _is_cache(folder: Path) -> bool:
    return (folder / SPLITS[0] / "about.json").is_file()


def load_splits(name: str, recipe: DataRecipe, seed: int) -> Splits:
    """The examples that a recipe trains and tests on: a cache, an official layout, or generated ones.

    A cache in `default_folder` comes before generated examples, whatever numbers of them the recipe names.

    Raises
    ------
    InputError
        If the task is unknown or its data are missing, damaged, of another task or of another source than the
        recipe's.
    """
    task = find_task(name)
    stages = tuple(_stage(name, stage, recipe, seed, i) for i, stage in enumerate(recipe.curriculum))
    folder = source_folder(name, recipe)
    if _is_cache(folder):
        cached = {split: Sequences.open(folder / split) for split in SPLITS}
        for data in cached.values():
            if (of := data.about.get("task", name)) != name:
                raise InputError("data", str(folder), f"a cache of {name}; it is one of {of}")
            if recipe.source not in (None, found := data.about.get("source")):
                raise InputError("--source", recipe.source, f"none, or that of the cache {folder}, {found!r}")
        for split, number in product(SPLITS, ("vocab_size", "num_labels", "parts")):
            if (value := getattr(cached[split], number)) != (wanted := getattr(cached["train"], number)):
                place = folder / split / "about.json"
                raise InputError(f"{place}: {number}", value, f"{wanted}, that of the training examples")
        return Splits(**cached, stages=stages, origin=f"the cache {folder}", folder=folder)
    if recipe.folder:
        return Splits(**read_layout(name, folder, recipe.source), stages=stages, origin=str(folder), folder=folder)
    if recipe.source is not None:
        raise InputError("--source", recipe.source, "none for generated examples")
    sizes = {"train": recipe.train, "validation": recipe.validation, "test": recipe.test}
    drawn = _drawn(task, sizes, seed)
    return Splits(**drawn, stages=stages, origin=f"the generator, seed {seed}", folder=None)


def _drawn(task: Task, sizes: dict[str, int], seed: int, **settings: int) -> dict[str, Sequences]:
    assert task.generate is not None
    return {split: task.generate(n, derived_seed(seed, split), **settings) for split, n in sizes.items()}


def _stage(name: str, stage: Stage, recipe: DataRecipe, seed: int, index: int) -> StageExamples:
    task, given = TASKS[name], stage.model_dump(exclude_none=True, exclude={"steps", "batch_size", "rate"})
    if task.generate is None or given.keys() != set(task.easier):
        allowed = " and ".join(task.easier) or "no stages"
        raise InputError(f"data.curriculum.{index}", given, f"{allowed}, for {name}")
    n = min(recipe.train, stage.steps * stage.batch_size)
    draw = partial(task.generate, seed=derived_seed(seed, f"stage {index}"), **given)
    draw(PROBE)  # what cannot be drawn is refused before training
    return StageExamples(n, partial(draw, n))


def derived_seed(seed: int, name: str) -> int:
    """A seed of its own for each named use of one run's seed."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0])
