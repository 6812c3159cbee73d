"""Settings given as text, with units: ``tau_p_long=300s``, ``amplitude=1,0.5,0.25``, ``O_beta=2 uM/s``."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from astro_sim.errors import InputError

T = TypeVar("T")
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*$")
_SUFFIXES = {"_s": "s", "_hz": "Hz", "_dt": "s"}
# size and dimension; the dimension counts seconds, moles, litres, volts and amperes
_UNITS: dict[str, tuple[float, tuple[int, int, int, int, int]]] = {
    "s": (1.0, (1, 0, 0, 0, 0)),
    "ms": (1e-3, (1, 0, 0, 0, 0)),
    "us": (1e-6, (1, 0, 0, 0, 0)),
    "min": (60.0, (1, 0, 0, 0, 0)),
    "h": (3600.0, (1, 0, 0, 0, 0)),
    "Hz": (1.0, (-1, 0, 0, 0, 0)),
    "kHz": (1e3, (-1, 0, 0, 0, 0)),
    "mol": (1.0, (0, 1, 0, 0, 0)),
    "mmol": (1e-3, (0, 1, 0, 0, 0)),
    "umol": (1e-6, (0, 1, 0, 0, 0)),
    "nmol": (1e-9, (0, 1, 0, 0, 0)),
    "l": (1.0, (0, 0, 1, 0, 0)),
    "M": (1.0, (0, 1, -1, 0, 0)),
    "mM": (1e-3, (0, 1, -1, 0, 0)),
    "uM": (1e-6, (0, 1, -1, 0, 0)),
    "nM": (1e-9, (0, 1, -1, 0, 0)),
    "V": (1.0, (0, 0, 0, 1, 0)),
    "mV": (1e-3, (0, 0, 0, 1, 0)),
    "A": (1.0, (0, 0, 0, 0, 1)),
    "nA": (1e-9, (0, 0, 0, 0, 1)),
    "pA": (1e-12, (0, 0, 0, 0, 1)),
    "S": (1.0, (0, 0, 0, -1, 1)),
    "nS": (1e-9, (0, 0, 0, -1, 1)),
    "pS": (1e-12, (0, 0, 0, -1, 1)),
    "F": (1.0, (1, 0, 0, -1, 1)),
    "pF": (1e-12, (1, 0, 0, -1, 1)),
}


def quantity(name: str, text: str, unit: str) -> float:
    """The number in `text`, converted to `unit`; a bare number is in `unit` already.

    Parameters
    ----------
    name : str
        What the number is, for the error.
    text : str
        A number and perhaps a unit: ``"300s"``, ``"5 min"``, ``"2 uM/s"``.
    unit : str
        Unit of the result: ``"s"``, ``"1"``, ``"umol/(l s)"``.

    Raises
    ------
    InputError
        If there is no number, or its unit is unknown or of another dimension.
    """
    match = _NUMBER.match(text)
    if match is None:
        raise InputError(name, text, f"a number{'' if unit == '1' else ' with a unit like ' + unit}")
    value, given = float(match[1]), match[2]
    if not given or given == unit:
        return value
    try:
        size, dimension = _size(given)
        target, wanted = _size(unit)
    except KeyError as error:
        raise InputError(name, text, f"a unit like {unit} ({error.args[0]} is not known)") from None
    if dimension != wanted:
        raise InputError(name, text, f"a quantity in {unit}, or a unit of the same dimension")
    return value * size / target


def _size(unit: str) -> tuple[float, list[int]]:
    """Size and dimension of a unit like ``"umol/(l s)"``: all that follows the slash divides."""
    size, dimension = 1.0, [0] * 5
    for part, sign in zip(unit.split("/", 1), (1, -1), strict=False):
        for word in re.findall(r"[^\s/*()·]+", part.replace("µ", "u")):
            if word != "1":
                factor, exponents = _UNITS[word]
                size *= factor**sign
                dimension = [d + sign * e for d, e in zip(dimension, exponents, strict=True)]
    return size, dimension


def override(model: T, settings: Mapping[str, str]) -> tuple[T, dict[str, str]]:
    """A copy of a (nested) dataclass with the named fields set, and the settings that it has no field for.

    Raises
    ------
    InputError
        If a text is not a value of its field.
    """
    left, changes = dict(settings), {}
    for item in fields(model):  # type: ignore[arg-type]
        value = getattr(model, item.name)
        if is_dataclass(value) and not isinstance(value, type):
            inner, left = override(value, left)
            if inner != value:
                changes[item.name] = inner
        elif item.name in left:
            unit = item.metadata.get("unit")
            changes[item.name] = _value(item.name, left.pop(item.name), item.type, value, unit)
    return (replace(model, **changes) if changes else model), left  # type: ignore[type-var]


def arguments(function: Callable[..., Any], settings: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Arguments of `function` among the settings, as values, and the settings that are none of its arguments.

    The name says the unit: ``duration_s``, ``duration``, ``dt`` and ``spike_times`` are in seconds, ``rate_hz`` in Hz.
    """
    known = inspect.signature(function).parameters
    found = {
        name: _value(name, text, known[name].annotation, known[name].default)
        for name, text in settings.items()
        if name in known
    }
    return found, {name: text for name, text in settings.items() if name not in known}


def _value(name: str, text: str, kind: Any, default: Any, unit: str | None = None) -> Any:
    """`text` as a value of the type `kind`."""
    if unit is None:
        unit = unit_of(name)
    if unit is None and kind is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(name, text, "true or false")
        return text.lower() == "true"
    if kind is int or kind == int | None:
        number = quantity(name, text, "1")
        if not number.is_integer():
            raise InputError(name, text, "a whole number")
        return int(number)
    if kind is float:
        return quantity(name, text, unit or "1")
    if kind is str or isinstance(default, str):
        return text
    if ";" in text:
        return tuple(_numbers(name, row, unit) if row.strip() else () for row in text.split(";"))
    numbers = _numbers(name, text, unit)
    if "tuple[tuple" in str(kind):  # a table of one row
        return (numbers,)
    if "tuple[int" not in str(kind):
        return numbers
    if not all(number.is_integer() for number in numbers):
        raise InputError(name, text, "whole numbers")
    return tuple(int(number) for number in numbers)


def unit_in(model: Any, name: str) -> str:
    """The unit of the field `name` of a (nested) dataclass, or that of an argument of this name."""
    for item in fields(model):
        value = getattr(model, item.name)
        if is_dataclass(value) and (unit := unit_in(value, name)) != "1":
            return unit
        if item.name == name and "unit" in item.metadata:
            return str(item.metadata["unit"])
    return unit_of(name) or "1"


def unit_of(name: str) -> str | None:
    """The unit that the name of an argument says."""
    if name in ("dt", "duration", "spike_times"):
        return "s"
    return next((unit for suffix, unit in _SUFFIXES.items() if name.endswith(suffix)), None)


def _numbers(name: str, text: str, unit: str | None) -> tuple[float, ...]:
    """The numbers of one row."""
    return tuple(quantity(name, part, unit or "1") for part in text.split(","))
