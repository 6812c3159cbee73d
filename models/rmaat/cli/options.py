"""Options that every subcommand shares."""

import json
import tempfile
import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from astro_sim.errors import InputError

MaybePath = TypeVar("MaybePath", Path, None)


def _load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the TOML file's entries the defaults of this command; flags still override them."""
    if path is None:
        return None
    entries = read_config(path, _flag_names(context))
    for parameter in context.command.params:
        if getattr(parameter, "multiple", False) and parameter.name in entries:
            entries[parameter.name] = _several(f"{path}: {parameter.name}", entries[parameter.name])
    context.default_map = {**(context.default_map or {}), **entries}
    return path


def _several(field: str, value: Any) -> list[str]:
    """Values of a repeatable option: a list of texts, or a table of NAME = VALUE."""
    if isinstance(value, dict):
        return [f"{name}={entry}" for name, entry in value.items()]
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InputError(field, value, 'a list as in ["tau_p_long=300s"], or a table as in {tau_p_long = "300s"}')
    return value


def _flag_names(context: typer.Context) -> set[str]:
    return {parameter.name for parameter in context.command.params if parameter.name} - {"config"}


def read_config(path: Path, known: set[str]) -> dict[str, Any]:
    """Read a command's TOML config; hyphens and underscores in its keys are the same.

    Raises
    ------
    InputError
        If the file is missing, is not TOML, or has a key that the command does not know.
    """
    if not path.is_file():
        raise InputError("--config", str(path), "an existing TOML file")
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("--config", str(path), f"a TOML file ({error})") from None
    entries = {key.replace("-", "_"): value for key, value in entries.items()}
    for key, value in entries.items():
        if key not in known:
            raise InputError(f"{path}: {key}", value, f"one of {', '.join(sorted(known))}")
        if value == "":  # as a path it would be the current folder
            raise InputError(f"{path}: {key}", value, "a value that is not empty")
    return entries


def out_file(help: str) -> Any:
    """The option ``--out`` of a command that writes one file; what cannot be one is refused before the work begins."""
    return typer.Option("--out", help=help, callback=file_to_write)


def out_folder(help: str) -> Any:
    """The option ``--out`` of a command that fills a folder."""
    return typer.Option("--out", help=help, callback=folder_to_write)


def refuse_foreign(out: Path, names: Iterable[str], mark: str, entries: Collection[str]) -> None:
    """InputError if there is anything of these `names` in `out`, but no `mark` that says what made it.

    `mark` is a glob pattern of JSON files that this command writes, each with all of these `entries`.
    """
    found = [name for name in names if (out / name).exists()]
    if found and not any(_is_ours(path, entries) for path in out.glob(mark)):
        raise InputError("--out", str(out), f"a folder without {found[0]}, which this command would replace")


def _is_ours(path: Path, entries: Collection[str]) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() >= set(entries)


def file_to_write(path: MaybePath) -> MaybePath:
    """`path`, if a file can be written there; InputError says why not."""
    if path is not None:
        if path.exists() and not path.is_file():
            found = "folder" if path.is_dir() else "device"
            raise InputError("--out", str(path), f"the path of a file; there is a {found}")
        _refuse_unwritable(path.absolute().parent, path)
    return path


def folder_to_write(path: MaybePath) -> MaybePath:
    """`path`, if a folder can be made there or written into; InputError says why not."""
    if path is not None:
        _refuse_unwritable(path.absolute(), path)
    return path


def _refuse_unwritable(folder: Path, path: Path) -> None:
    """InputError unless `folder` exists or can be made, and written to."""
    if path.is_symlink() and not path.exists():
        raise InputError("--out", str(path), "a path that can be written; there is a link to nothing")
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise InputError("--out", str(path), f"a path that can be written; {there} is no folder")
    try:
        with tempfile.TemporaryDirectory(dir=there):  # what the permissions say is not all that may forbid it
            pass
    except OSError as error:
        allowed = f"a path that can be written; nothing can be put into {there} ({error.strerror})"
        raise InputError("--out", str(path), allowed) from None


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", callback=_load_config, is_eager=True, help="TOML file with defaults for these options."),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random number.")]
