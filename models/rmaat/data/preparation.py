"""A task's data made ready once: read, downloaded or generated, and kept as memory-mapped arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from astro_sim.errors import InputError
from astro_sim.provenance import refuse_other_entries, replacing
from rmaat.data.sequences import FILES, Sequences
from rmaat.data.sources import fetch
from rmaat.data.splits import drawn
from rmaat.data.tasks import SPLITS, find_task, read_layout

GENERATED = {"train": 20_000, "validation": 1_000, "test": 2_000}  # examples that are drawn where no number is given


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
    source : str, optional
        Which of the task's layouts `path` has, where there are several.
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
        splits = drawn(task, GENERATED | (sizes or {}), seed or 0, **settings)
        for data in splits.values():
            data.about.update(task=name)
    else:
        given = {f"--{split}": n for split, n in (sizes or {}).items()} | {"--seed": seed, "--set": settings or None}
        for option, value in given.items():
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
