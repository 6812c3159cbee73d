"""Programs that Brian2's C++ standalone mode has built: a model that was built before is not compiled again."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from astro_sim.errors import InputError

BUILDS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rmaat" / "brian2-standalone"


def compiler() -> str | None:
    """Where the C++ compiler is that Brian2's makefile calls: ``CXX``, or make's own default; None if it is missing."""
    return shutil.which((os.environ.get("CXX") or ("c++" if sys.platform == "darwin" else "g++")).split()[0])


@contextmanager
def program(*structure: Any) -> Iterator[None]:
    """Run the Brian2 objects made inside the block as a C++ program, whose results are gone after the block.

    Programs of one `structure` share a folder, where only what has changed is compiled. A folder that another
    process uses is passed over for the next one.

    Raises
    ------
    InputError
        If there is nothing to compile with.
    """
    import brian2 as b2

    for tool, place in (("C++ compiler", compiler()), ("make", shutil.which("make"))):
        if place is None:
            raise InputError("backend", "brian2-standalone", f"brian2: there is no {tool} here")
    lock, folder = _free_folder(sha256(repr(structure).encode()).hexdigest()[:16])
    with lock:
        b2.set_device("cpp_standalone", directory=str(folder), build_on_run=True)
        # Sets of clocks are written in the order of their hashes: by number, the same model is the same source.
        by_address, numbers = b2.Clock.__hash__, count()
        b2.Clock.__hash__ = lambda clock: clock.__dict__.setdefault("_number", next(numbers))
        try:
            yield
        finally:
            b2.Clock.__hash__ = by_address
            b2.device.reinit()
            b2.set_device("runtime")
            shutil.rmtree(folder / "results", ignore_errors=True)


def _free_folder(name: str) -> tuple[FileLock, Path]:
    """A folder for the program and the lock that is held on it."""
    for number in count():
        folder = BUILDS / f"{name}-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock", blocking=False)
        try:
            lock.acquire()
        except Timeout:
            continue
        return lock, folder
    raise AssertionError("count() does not end")
