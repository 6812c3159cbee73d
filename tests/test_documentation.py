"""What the pages and the code point to in the documentation is there: files, and headings within them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "results").rglob("*.md")],
    key=lambda page: page.as_posix(),
)
FOLDERS = ("astro_sim", "rmaat_bridge", "models", "figures", "benchmarks")


def anchors(page: Path) -> set[str]:
    """Names of a page's headings as GitHub makes them: lower case, spaces as hyphens, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_pages_that_the_code_names_exist():
    sources = [path for folder in FOLDERS for kind in ("*.py", "*.toml") for path in (ROOT / folder).rglob(kind)]
    named = {
        (path, page) for path in sources for page in re.findall(r"docs/[\w/]+\.md", path.read_text(encoding="utf-8"))
    }
    assert named
    assert [f"{path.name}: {page}" for path, page in named if not (ROOT / page).exists()] == []
