"""Sets of physical constants: dataclasses whose fields carry their unit, and their Brian2 namespace."""

from dataclasses import asdict, dataclass, field, fields
from math import inf
from typing import Any

from astro_sim.errors import InputError

# How a unit is written here (CF style), as an expression over Brian2's unit names.
BRIAN2_UNITS = {
    "1": "1",
    "s": "second",
    "1/s": "1/second",
    "1/ms": "1/ms",
    "V": "volt",
    "V/s": "volt/second",
    "A": "amp",
    "F": "farad",
    "S": "siemens",
    "m": "metre",
    "umol/l": "umolar",
    "umol/(l s)": "umolar/second",
    "l/(umol s)": "1/(umolar*second)",
    "l/umol": "1/umolar",
}


def constant(
    default: float, unit: str, meaning: str, *, low: float = 0.0, strict: bool = True, high: float = inf
) -> Any:
    """Declare a field with its unit and bounds; `strict` excludes the lower bound itself."""
    bounds = {"low": low, "strict": strict, "high": high}
    return field(default=default, metadata={"unit": unit, "meaning": meaning} | bounds)


def concentration(default: float) -> Any:
    """Declare a field outside a parameter set that holds a concentration."""
    return field(default=default, metadata={"unit": "umol/l"})


@dataclass(frozen=True)
class Constants:
    """Base of every parameter set: immutable numbers, checked when made.

    Raises
    ------
    InputError
        A value that is not a finite number, or lies outside its bounds.
    """

    def __post_init__(self) -> None:
        for item in fields(self):
            value, low, strict = getattr(self, item.name), item.metadata["low"], item.metadata["strict"]
            high, unit = item.metadata["high"], item.metadata["unit"]
            bound = f"a finite number {'>' if strict else '>='} {low:g}{f' and <= {high:g}' if high < inf else ''}"
            bound += "" if unit == "1" else f" {unit}"
            try:
                good = abs(value) < inf and (value > low if strict else value >= low) and value <= high
            except TypeError:
                good = False
            if not good:
                raise InputError(item.name, value, bound)

    def units(self) -> dict[str, str]:
        """Unit of every field."""
        return {item.name: item.metadata["unit"] for item in fields(self)}

    def namespace(self) -> dict[str, Any]:
        """The constants as Brian2 quantities, by name."""
        import brian2
        from brian2.units.allunits import umolar

        names = {**vars(brian2), "umolar": umolar}
        return {name: value * eval(BRIAN2_UNITS[self.units()[name]], {}, names) for name, value in asdict(self).items()}
