"""The one error that a user's input can cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

LONGEST_VALUE = 200  # characters of a value that are repeated: a file may have been given for it


class InputError(ValueError):
    """Input that cannot be used; its message is one line that names the field, the value and what is allowed.

    The command line prints the message alone and exits with 2.

    Parameters
    ----------
    field : str
        Name of the parameter, file or column that is wrong.
    value : object
        What was given.
    allowed : str
        What would have been accepted, as a phrase: ``"a positive time constant in seconds"``.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{shortened(field)}: got {shortened(repr(value))}, expected {allowed}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str]]:
        return type(self), (self.field, self.value, self.allowed)


def shortened(text: str) -> str:
    """The first `LONGEST_VALUE` characters of a longer text."""
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def refusal(error: ValidationError, kind: type[BaseModel], where: str = "") -> InputError:
    """The first complaint of pydantic in the project's one line.

    Parameters
    ----------
    error : ValidationError
    kind : type of BaseModel
        What was validated; an unknown entry is told the known ones.
    where : str
        Stands before the entry's dotted name: the file, for example.

    Returns
    -------
    InputError
        An InputError that a validator of `kind` raised is returned as it is.
    """
    first: Any = error.errors()[0]
    cause, place, value = first.get("ctx", {}).get("error"), first["loc"], first["input"]
    if isinstance(cause, InputError):
        return cause
    if first["type"] == "extra_forbidden":
        allowed = f"one of {', '.join(_entries(kind, place[:-1]))}"
    elif first["type"] == "missing":
        value, allowed = "nothing", "a value"
    elif first["type"] == "json_invalid":
        value, allowed = "another text", f"JSON ({first['msg'].removeprefix('Invalid JSON: ')})"
    elif first["type"] in ("model_type", "dict_type"):
        allowed = "a table"
    else:
        allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if isinstance(value, dict):
        value = {name: entry for name, entry in value.items() if isinstance(entry, str | int | float)} or "a table"
    return InputError(": ".join(filter(None, (where, ".".join(map(str, place))))), value, allowed)


def _entries(kind: Any, path: Sequence[int | str]) -> list[str]:
    """Names of the fields of the model at `path` inside the model `kind`."""
    for part in path:
        if hasattr(kind, "model_fields"):
            kind = kind.model_fields[part].annotation
        else:  # a member of a container
            kind = next(member for member in get_args(kind) if hasattr(member, "model_fields"))
    return list(kind.model_fields)
