"""A run's folder: what may be replaced in it, what the run is, and that only one process writes there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from astro_sim.errors import InputError, shortened
from astro_sim.provenance import remove_broken_off, write_json
from rmaat.training.recipe import Recipe

# by a new run
REPLACED = ("states", "checkpoint", "tensorboard", "metrics.csv", "curves.png", "result.json", "bio.toml")
LOCK = ".lock"


def check_folder(out: Path, resume: bool, overwrite: bool) -> None:
    """Refuse a file, and what the run would replace unasked: a run, or files of other origin with such names."""
    if out.exists() and not out.is_dir():
        raise InputError("--out", str(out), "a folder")
    finished, begun = (out / "result.json").is_file(), (out / "run.json").is_file()
    if overwrite or (resume and (finished or begun)):
        return
    if finished or begun:
        found, ways = ("a finished", "") if finished else ("an unfinished", "--resume continues, ")
        raise InputError("--out", str(out), f"a folder without {found} run ({ways}--overwrite replaces this one)")
    for name in REPLACED:
        if (out / name).exists():
            raise InputError(
                "--out", str(out), f"a folder without {name}, which the run would replace (--overwrite does)"
            )


def refuse_other_run(out: Path, recipe: Recipe) -> None:
    """InputError if a run in `out` cannot be continued by `recipe`, or files of other origin are in its way."""
    check_folder(out, resume=True, overwrite=False)
    here, there = recipe.model_dump(mode="json"), _read(out / "run.json")
    if there is not None and there.get("recipe") != here:
        raise InputError("--out", str(out), f"a run by the same recipe ({first_difference(there.get('recipe'), here)})")


def make_room(out: Path, about: dict[str, Any], resume: bool) -> None:
    """Leave in `out` only what this run continues from, and note what it is; to be called by who holds it.

    Parameters
    ----------
    about : dict
        What the run is, as JSON keeps it.
    resume : bool
        Keep states and curves of a run that is about the same.

    Raises
    ------
    InputError
        If `resume` is asked for in the folder of a run that is about something else.
    """
    noted = out / "run.json"
    remove_broken_off(out, (*REPLACED, noted.name))
    remove_broken_off(out / "states", ["step-*"])
    holds_a_run = noted.is_file() or (out / "result.json").is_file()
    if resume and holds_a_run and (before := _read(noted)) != about:
        allowed = "a folder of a run with the same recipe, data, bio-parameters and start"
        why = f"{noted.name} cannot be read" if before is None else first_difference(before, about)
        raise InputError("--resume", str(out), f"{allowed} ({why})")
    if not resume or not noted.is_file():
        for name in REPLACED:
            if (out / name).is_dir():
                shutil.rmtree(out / name)
            else:
                (out / name).unlink(missing_ok=True)
        write_json(noted, about)


def _read(noted: Path) -> Any:
    """What `make_room` noted; None of a missing or damaged file."""
    try:
        content = json.loads(noted.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def first_difference(there: Any, here: Any, *path: str) -> str:
    """The first entry in which two tables of tables differ, in words."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in here | there:
            if there.get(key) != here.get(key):
                return first_difference(there.get(key), here.get(key), *path, key)
    return f"{'.'.join(path)} is {shortened(repr(there))} there and {shortened(repr(here))} here"


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep other runs out of `out`, which is made if it is not there.

    The lock is the operating system's: it ends with the process, however that ends.

    Raises
    ------
    InputError
        If another process trains into `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError("--out", str(out), "a folder that no other process trains into") from None
    try:
        yield
    finally:
        (out / LOCK).unlink(missing_ok=True)
        lock.release()
