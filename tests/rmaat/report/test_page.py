"""The report page is whole in itself and shows text as text."""

from html.parser import HTMLParser
from pathlib import Path

from matplotlib.figure import Figure

from rmaat.report.page import Section, write_page


class Links(HTMLParser):
    """Everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attributes if name == "src" or (tag, name) == ("link", "href")]


def test_one_file_that_fetches_nothing(tmp_path: Path) -> None:
    figure = Figure()
    figure.subplots().plot([1, 2, 3])
    section = Section(
        "A <title> & more", "text", figure, "run --seed 11", facts={"p < 0.05": "7"}, made_by={"size": "12"}
    )
    write_page(tmp_path / "report.html", "Report", {"headline": "42"}, [section, section])
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(html)
    assert len(links.fetched) == 2
    assert all(link.startswith("data:image/png;base64,iVBOR") for link in links.fetched)
    assert "A &lt;title&gt; &amp; more" in html
    assert "p &lt; 0.05" in html
    assert ">42<" in html and "<code>run --seed 11</code>" in html and ">12<" in html
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
