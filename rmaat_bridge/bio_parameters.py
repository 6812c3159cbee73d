"""`BioParameters`: what the recordings say, as one TOML file with uncertainties and provenance."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from astro_sim.errors import InputError
from astro_sim.provenance import file_sha256, replacing, timestamp, versions
from rmaat_bridge.families import RETENTION_FAMILIES
from rmaat_bridge.kernel_families import KERNEL_FAMILIES
from rmaat_bridge.quantity import POSITIVE, Quantity, refuse

Domain = tuple[float, float]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Candidate(_Section):
    """One row of the model comparison.

    `aicc` and `delta` are absent where the data are too few for the family.
    """

    family: str
    n_parameters: int
    r_squared: float
    aicc: float | None = None
    delta: float | None = None


class FitResult(_Section):
    """A chosen family, its parameters and the evidence.

    Parameters
    ----------
    family : str
        Name of the chosen form.
    parameters : dict of Quantity
        Everything the network reads; nothing else in the section changes a model.
    r_squared : float
        Of the fitted curve on the recording.
    residuals : list of float
        Data minus curve, in the units of the data.
    residual_p_value : float
        Of the permutation test for structure among neighbouring residuals.
    candidates : list of Candidate
        The whole comparison by AICc.
    findings : dict of Quantity
        What else the recording says, for the reader.
    notes : list of str
        What the data can and cannot tell.
    """

    family: str
    parameters: dict[str, Quantity]
    r_squared: float
    residuals: list[float] = []
    residual_p_value: Annotated[float, Field(ge=0, le=1)] | None = None
    candidates: list[Candidate] = []
    findings: dict[str, Quantity] = {}
    notes: list[str] = []

    @classmethod
    def domains(cls, family: str) -> dict[str, Domain]:
        """Where each parameter of `family` is defined; the key set is the set of parameters it has."""
        raise NotImplementedError

    def domain(self, name: str) -> Domain:
        """Open interval in which the parameter `name` makes sense."""
        return self.domains(self.family)[name]

    @model_validator(mode="after")
    def _parameters_in_their_domains(self) -> FitResult:
        domains = self.domains(self.family)
        if set(self.parameters) != set(domains):
            raise ValueError(f"parameters of the family '{self.family}': {', '.join(domains)}")
        for name, (low, high) in domains.items():
            value = self.parameters[name].value
            if not (low < value < high or (value == high and high != POSITIVE[1])):
                allowed = (
                    "a positive number" if (low, high) == POSITIVE else f"a number in ({low:g}, {high:g}]"
                )
                raise ValueError(f"{name}.value = {value:g} is not {allowed} [{self.parameters[name].unit}]")
        return self


def _known(registry: dict[str, Any]) -> Any:
    def check(name: str) -> str:
        if name not in registry:
            raise ValueError(f"one of {', '.join(registry)}")
        return name

    return check


class RetentionFit(FitResult):
    """Build-up of p_long over the cycles: tau_p_long [s], leak_p_long, cycle_s [s], shape parameters."""

    @classmethod
    def domains(cls, family: str) -> dict[str, Domain]:
        times = {"tau_p_long": POSITIVE, "leak_p_long": POSITIVE, "cycle_s": POSITIVE}
        return times | RETENTION_FAMILIES[family].domain

    _family = field_validator("family")(_known(RETENTION_FAMILIES))


class AttentionFit(FitResult):
    """Decay of p_short with distance: length [grid steps], tokens_per_step, shape parameters."""

    @classmethod
    def domains(cls, family: str) -> dict[str, Domain]:
        return {"length": POSITIVE, "tokens_per_step": POSITIVE} | KERNEL_FAMILIES[family].domain

    _family = field_validator("family")(_known(KERNEL_FAMILIES))


class PresynapticFit(FitResult):
    """Response to presynaptic activity: alpha of the power law, half_activation and hill of the saturating form.

    `family` says which of the two the network uses; both are kept.
    """

    family: Literal["power-law", "saturating"]

    @classmethod
    def domains(cls, family: str) -> dict[str, Domain]:
        return {"alpha": POSITIVE, "half_activation": POSITIVE, "hill": POSITIVE}

    @property
    def alpha(self) -> Quantity:
        """Exponent of the power law."""
        return self.parameters["alpha"]


class Source(_Section):
    """The recording that a section was fitted to."""

    section: Literal["retention", "attention", "presynaptic"]
    file: str
    sha256: str
    model: str


class Provenance(_Section):
    """What made the file."""

    created: str
    seed: int
    versions: dict[str, str]
    sources: list[Source]


class BioParameters(_Section):
    """Everything the network takes from biology, with where it came from.

    See Also
    --------
    BioParameters.from_recordings, BioParameters.load, BioParameters.reference
    """

    provenance: Provenance
    retention: RetentionFit
    attention: AttentionFit
    presynaptic: PresynapticFit

    @classmethod
    def from_recordings(
        cls,
        recording: str | Path,
        attention: str | Path | None = None,
        presynaptic: str | Path | None = None,
        seed: int = 0,
    ) -> BioParameters:
        """Fit all three sections; `recording` serves those that have no recording of their own.

        Parameters
        ----------
        recording : path
            A macro recording over several STP cycles.
        attention : path, optional
            A macro recording with a point drive, for the spatial kernel.
        presynaptic : path, optional
            A tripartite or macro recording with several presynaptic rates, for the exponent.
        seed : int
            Of the bootstrap.

        Raises
        ------
        InputError
            Where a recording is not one, or cannot carry the fit.
        """
        from astro_sim import load_recording
        from rmaat_bridge.attention import fit_attention
        from rmaat_bridge.presynaptic import fit_presynaptic
        from rmaat_bridge.retention import fit_retention

        paths = {
            "retention": Path(recording),
            "attention": Path(attention or recording),
            "presynaptic": Path(presynaptic or recording),
        }
        data: dict[str, xr.Dataset] = {section: load_recording(path) for section, path in paths.items()}
        sources = [
            Source(
                section=section, file=path.name, sha256=file_sha256(path), model=data[section].attrs["model"]
            )
            for section, path in paths.items()
        ]
        return cls(
            provenance=Provenance(created=timestamp(), seed=seed, versions=versions(), sources=sources),
            retention=fit_retention(data["retention"], seed=seed),
            attention=fit_attention(data["attention"]),
            presynaptic=fit_presynaptic(data["presynaptic"]),
        )

    @classmethod
    def load(cls, path: str | Path) -> BioParameters:
        """Read and check a TOML file.

        Raises
        ------
        InputError
            If the file is missing, is not TOML, or holds a value outside its range; the field is named.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError("bio-parameters", str(path), "an existing TOML file")
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError("bio-parameters", str(path), f"a TOML file ({error})") from None
        except ValidationError as error:
            raise refuse(error, str(path)) from None

    def save(self, path: str | Path) -> Path:
        """Write the TOML file whole or not at all; the same content gives the same bytes."""
        with replacing(path) as beside:
            beside.write_text(tomlkit.dumps(self.model_dump(exclude_none=True)), encoding="utf-8")
        return Path(path)

    @classmethod
    def reference(cls) -> BioParameters:
        """The packaged file, made by this pipeline from the default simulations (`rmaat_bridge.reference`)."""
        return cls.load(Path(str(files("rmaat_bridge") / "reference.toml")))

    def check_source(self, path: str | Path) -> list[str]:
        """Names of the sections that were fitted to the recording at `path`.

        Raises
        ------
        InputError
            If none was: the hash of the recording is in none of the sources.
        """
        found = file_sha256(path)
        sections = [source.section for source in self.provenance.sources if source.sha256 == found]
        if not sections:
            known = ", ".join(f"{source.file} {source.sha256[:12]}" for source in self.provenance.sources)
            raise InputError(
                f"recording {path}",
                f"sha256 {found[:12]}",
                f"the recording of these bio-parameters ({known})",
            )
        return sections
