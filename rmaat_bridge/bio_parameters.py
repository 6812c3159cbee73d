"""`BioParameters`: what the recordings say, as one TOML file with uncertainties and provenance."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import tomlkit
from pydantic import ValidationError

from astro_sim.errors import InputError, refusal
from astro_sim.provenance import file_sha256, replacing, timestamp, versions
from rmaat_bridge.fit_result import AttentionFit, PresynapticFit, RetentionFit, Section
from rmaat_bridge.quantity import Mode

SectionName = Literal["retention", "attention", "presynaptic"]


class Source(Section):
    """The recording that a section was fitted to."""

    section: SectionName
    file: str
    sha256: str
    model: str


class Provenance(Section):
    """What made the file."""

    created: str
    seed: int
    versions: dict[str, str]
    sources: list[Source]


class BioParameters(Section):
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
        cycle_s: float | None = None,
        activity_range: tuple[float, float] | None = None,
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
        cycle_s : float, optional
            Length of a cycle [s] for the retention, where the protocol of `recording` has no cycles; the other two
            sections then need recordings of their own.
        activity_range : (float, float), optional
            Lowest and highest presynaptic activity that enters the exponent [Hz; 1 for macro].

        Raises
        ------
        InputError
            Where a recording is not one, or cannot carry the fit.
        """
        from astro_sim import load_recording
        from rmaat_bridge.attention import fit_attention
        from rmaat_bridge.presynaptic import fit_presynaptic
        from rmaat_bridge.retention import fit_retention

        paths: dict[SectionName, Path] = {
            "retention": Path(recording),
            "attention": Path(attention or recording),
            "presynaptic": Path(presynaptic or recording),
        }
        data = {name: load_recording(path) for name, path in paths.items()}
        sources = [
            Source(section=section, file=path.name, sha256=file_sha256(path), model=data[section].attrs["model"])
            for section, path in paths.items()
        ]
        return cls(
            provenance=Provenance(created=timestamp(), seed=seed, versions=versions(), sources=sources),
            retention=fit_retention(data["retention"], seed, cycle_s),
            attention=fit_attention(data["attention"]),
            presynaptic=fit_presynaptic(data["presynaptic"], activity_range),
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
            entries = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError("bio-parameters", str(path), f"a TOML file ({error})") from None
        return cls.of(entries, str(path))

    @classmethod
    def of(cls, entries: Any, source: str = "bio-parameters") -> BioParameters:
        """Check plain entries, those of a file or of a model's configuration; InputError names `source` and field."""
        try:
            return cls.model_validate(entries)
        except ValidationError as error:
            raise refusal(error, cls, source) from None

    def save(self, path: str | Path) -> Path:
        """Write the TOML file whole or not at all; the same content gives the same bytes."""
        with replacing(path) as beside:
            beside.write_text(tomlkit.dumps(self.model_dump(exclude_none=True)), encoding="utf-8")
        return Path(path)

    @classmethod
    def reference(cls) -> BioParameters:
        """The packaged file, made by this pipeline from simulations: `rmaat_bridge.reference`."""
        return cls.load(Path(str(files("rmaat_bridge") / "reference.toml")))

    def with_mode(self, mode: Mode, *names: str) -> BioParameters:
        """A copy in which training treats the named quantities (``"retention.tau_p_long"``) as `mode` says.

        Raises
        ------
        InputError
            If there is no such quantity, or its interval is empty and the mode is "bounded".
        """
        changed = self.model_dump()
        for name in names:
            section, _, quantity = name.partition(".")
            if quantity not in changed.get(section, {}).get("parameters", {}):
                raise InputError("quantity", name, "section.name, such as retention.tau_p_long")
            changed[section]["parameters"][quantity]["mode"] = mode
        return BioParameters.of(changed)

    def check_source(self, path: str | Path) -> list[SectionName]:
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
