"""Where data come from: a folder, an archive, or the official place on the network."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from rich.progress import Progress

from astro_sim.errors import InputError

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".zip")


@dataclass(frozen=True)
class Download:
    """An archive on the network; `md5` is the checksum that its makers publish."""

    url: str
    md5: str


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A folder's own path, or the inside of an archive in a temporary folder.

    An archive with a single folder at its top yields that folder.

    Raises
    ------
    InputError
        If the archive is damaged or holds paths that lead outside of it.
    """
    if not path.name.endswith(ARCHIVES):
        yield path
        return
    if not path.is_file():
        raise InputError("archive", str(path), "an existing file")
    with tempfile.TemporaryDirectory() as room:
        try:
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    archive.extractall(room)
            else:
                with tarfile.open(path) as archive:
                    _extract(archive, Path(room))
        except Exception as error:  # tarfile, zipfile, lzma and zlib raise errors of their own
            raise InputError("archive", str(path), f"an undamaged archive ({error})") from None
        inside = list(Path(room).iterdir())
        yield inside[0] if len(inside) == 1 and inside[0].is_dir() else Path(room)


def _extract(archive: tarfile.TarFile, room: Path) -> None:
    """Unpack what lies inside of `room`, also where Python (before 3.11.4, Debian 12's) has no filter for that."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(room, filter="data")
        return
    for member in archive.getmembers():
        inside = (room / member.name).resolve().is_relative_to(room.resolve())
        if not inside or not (member.isfile() or member.isdir()):
            raise ValueError(f"{member.name!r} is no file inside of it")
    archive.extractall(room)


def fetch(download: Download, folder: Path) -> Path:
    """Download into `folder`; a broken-off download is continued, a whole one is used as it is.

    Raises
    ------
    InputError
        If there is no network, or the checksum differs (the file is then removed).
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / download.url.rsplit("/", 1)[1]
    part = whole.with_name(whole.name + ".part")
    if not whole.is_file():
        try:
            total = _continue(download.url, part)
        except OSError as error:  # of which urllib's are
            with suppress(OSError):
                folder.rmdir()  # if nothing is in it
            allowed = f"a reachable address ({error}); or download it yourself and give its path with --folder"
            raise InputError("download", download.url, allowed) from None
        if total and part.stat().st_size != total:
            raise InputError("download", download.url, f"{total} bytes; run the command again to continue")
        _check(part, download)
        shutil.move(part, whole)
    return whole


def _continue(url: str, part: Path) -> int:
    """Append to `part` what it lacks of what is at `url`; the bytes of the whole, 0 if the server does not say."""
    done = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if done and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return 0  # there is nothing after those bytes: broken off before they were checked
        raise
    with response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        total = int(response.headers.get("Content-Length", 0)) + (done if resumed else 0)
        with part.open("ab" if resumed else "wb") as file, Progress() as bar:
            task = bar.add_task(part.stem, total=total or None, completed=done if resumed else 0)
            while block := response.read(1 << 20):
                file.write(block)
                bar.advance(task, len(block))
    return total


def _check(path: Path, download: Download) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != download.md5:
        path.unlink()
        raise InputError("checksum", found, f"MD5 {download.md5} of {download.url}; the file was removed")
