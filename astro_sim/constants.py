"""Sets of physical constants: dataclasses whose fields carry their unit, and their Brian2 namespace."""

from dataclasses import asdict, dataclass, field, fields
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


def constant(default: float, unit: str, meaning: str, *, low: float = 0.0, strict: bool = True) -> Any:
    """Declare a field with its unit and lower bound; `strict` excludes the bound itself."""
    return field(default=default, metadata={"unit": unit, "meaning": meaning, "low": low, "strict": strict})


@dataclass(frozen=True)
class Constants:
    """Base of every parameter set: immutable numbers, checked when made.

    Raises
    ------
    InputError
        A value that is not a finite number, or lies below its bound.
    """

    def __post_init__(self) -> None:
        for item in fields(self):
            value, low, strict = getattr(self, item.name), item.metadata["low"], item.metadata["strict"]
            bound = f"a finite number {'>' if strict else '>='} {low:g} {item.metadata['unit']}"
            try:
                good = abs(value) < float("inf") and (value > low if strict else value >= low)
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
