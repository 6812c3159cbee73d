"""Provenance and safe writing: every artefact says what made it, and is whole or absent."""

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("rmaat", "numpy", "scipy", "brian2", "torch", "lava-nc")


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


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place on success and vanishes on failure.

    The block may create a file or a folder at the temporary path. An existing file or folder at `path`
    stays untouched until the block has ended without an exception.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield room / path.name
        if path.is_dir():
            os.replace(path, room / f"old-{path.name}")
        os.replace(room / path.name, path)
    finally:
        shutil.rmtree(room, ignore_errors=True)
