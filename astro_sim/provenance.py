"""Provenance and safe writing: every artefact says what made it, and is whole or absent."""

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from astro_sim.errors import InputError

PACKAGES = ("rmaat", "numpy", "scipy", "brian2", "torch", "lava-nc")
_LEFT_BY_SYSTEMS = re.compile(r"\.DS_Store|\.nfs\w+|Thumbs\.db")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result; ``"absent"`` where there is none."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def timestamp() -> str:
    """The present moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def code_sha256() -> str:
    """SHA-256 of this package's source: what else than its parameters decides a simulation."""
    source = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in source)).hexdigest()


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place on success and vanishes on failure.

    The block may create a file or a folder at the temporary path. What is at `path` stays untouched until the
    block has ended without an exception, and is only ever replaced by its like: a file by a file, a folder by
    one that has all of its names, in the folders inside it too. Where `path` is a link, it is what the link leads to.

    Raises
    ------
    InputError
        If nothing can be written beside `path`, or it is a device, a folder where a file is to be written or the
        reverse, or a folder that holds other things.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError("output", str(path), "the path of a file or a folder; there is a device")
    try:
        place = path.resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except (OSError, RuntimeError) as error:  # the latter of links that lead in a circle
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError("output", str(path), f"a path that can be written ({reason})") from None
    try:
        yield room / place.name
        _refuse_to_lose(path, room / place.name)
        if place.is_dir():
            os.replace(place, room / f"old-{place.name}")
        os.replace(room / place.name, place)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def remove_broken_off(folder: str | Path, names: Iterable[str]) -> None:
    """Remove what `replacing` left in `folder` where it was killed while it wrote one of `names`, which may have ``*``.

    What was there before takes its place again where the kill met the moment between the two. Nothing must be writing
    them now.
    """
    for name in names:
        for room in Path(folder).glob(f".{name}.????????"):  # as mkdtemp names them
            place = room.with_name(room.name[1:-9])
            if (before := room / f"old-{place.name}").exists() and not place.exists():
                os.replace(before, place)
            shutil.rmtree(room, ignore_errors=True)


def _refuse_to_lose(old: Path, new: Path) -> None:
    for entry in (new, *new.rglob("*")):
        there = old / entry.relative_to(new)
        if there.exists() and there.is_dir() != entry.is_dir():
            kinds = ("a file", "a folder")
            found, wanted = kinds[there.is_dir()], kinds[entry.is_dir()]
            raise InputError("output", str(there), f"the path of {wanted}; there is {found}")
        if entry.is_dir():
            refuse_other_entries(there, (inner.name for inner in entry.iterdir()))


def refuse_other_entries(folder: str | Path, names: Iterable[str]) -> None:
    """InputError if `folder` is there and holds more than `names`: what a folder of these would take the place of.

    What file systems leave by themselves (``.DS_Store``, ``.nfs*``, ``Thumbs.db``) does not count.
    """
    folder = Path(folder)
    there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    others = sorted(name for name in there - set(names) if not _LEFT_BY_SYSTEMS.fullmatch(name))
    if others:
        raise InputError("output", str(folder), f"a folder without anything else in it; it holds {others[0]!r}")


def refuse_to_replace(inputs: Iterable[Path | None], out: Path) -> None:
    """InputError if writing `out` would replace one of the `inputs`, or a file inside one of them."""
    for path in inputs:
        if path is not None and out.resolve().is_relative_to(path.resolve()):
            raise InputError("--out", str(out), f"another path than what is read, {path}")


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    with replacing(path) as aside:
        aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
