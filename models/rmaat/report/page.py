"""The report page: sections of a figure, its facts and what made it, in one HTML file that opens offline."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from astro_sim.provenance import replacing, timestamp, versions


@dataclass(frozen=True)
class Section:
    """One figure of the report.

    Parameters
    ----------
    title : str
        What the figure answers.
    text : str
        What is to be seen in it, one or two sentences.
    figure : Figure
        The picture; embedded as PNG.
    command : str
        What makes its artefact again, seed included.
    facts : Mapping[str, str]
        Numbers, computed from the artefacts of the run.
    headline : Mapping[str, str]
        The one or two of them that stand at the top of the page.
    made_by : Mapping[str, str]
        Parameters and hashes of the artefacts behind the figure.
    """

    title: str
    text: str
    figure: Figure
    command: str
    facts: Mapping[str, str] = field(default_factory=dict)
    headline: Mapping[str, str] = field(default_factory=dict)
    made_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def png(self) -> str:
        """The figure as base64-encoded PNG."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
        return base64.b64encode(buffer.getvalue()).decode("ascii")


def write_page(path: str | Path, title: str, headline: Mapping[str, str], sections: Sequence[Section]) -> None:
    """Write the sections as one self-contained HTML file; an earlier file stays if this fails.

    Parameters
    ----------
    headline : mapping of str to str
        Names and values that stand above the sections.
    """
    source = files("rmaat.report").joinpath("page.html.j2").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(source)
    html = template.render(title=title, headline=headline, sections=sections, versions=versions(), created=timestamp())
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
