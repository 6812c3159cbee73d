"""The tasks by name: what each has to tell apart, and where its examples come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from astro_sim.errors import InputError
from rmaat.data import audio, image, listops, pathfinder, pathfinder_files, text
from rmaat.data.sequences import Sequences
from rmaat.data.sources import Download, unpacked

SPLITS = ("train", "validation", "test")
VALIDATION_SHARE = 0.1


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
    return pathfinder.generate(n, seed, pathfinder.Layout(size, contour_length))


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
    refuse_absent(task, path)
    reader = task.sources[source] if source else task.read
    with unpacked(path) as folder:
        splits = reader(folder)
    if "validation" not in splits:
        splits["train"], splits["validation"] = splits["train"].split(VALIDATION_SHARE, seed=0)
    for split, data in splits.items():
        if not len(data):
            allowed = f"at least 1; a tenth of the training examples, rounded, where {task.layout} has no validation"
            raise InputError(f"{split} examples", 0, allowed)
        data.about.update(task=name, source=source or path.name)
    return {split: splits[split] for split in SPLITS}


def refuse_absent(task: Task, path: Path) -> None:
    """InputError if there is nothing at `path`; it names the layout of `task`."""
    if not path.exists():
        raise InputError("data", str(path), f"an existing path, of data in the layout {task.layout}")
