"""Links of the pages in the repository: README, docs, the notebooks' text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.helpers.documentation import PAGES, ROOT
from tests.helpers.html_checks import check_headings, check_links

NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
REPORTS = sorted(ROOT.glob("docs/reports/*.md"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def markdown(path: Path) -> str:
    """The text of a page, without what stands in code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS, *REPORTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = markdown(path)
    check_links(path, LINK.findall(text), anchors(text))


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS, *REPORTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_headings_are_in_order(path: Path) -> None:
    check_headings([len(marks) for marks in re.findall(r"^(#+) ", markdown(path), flags=re.MULTILINE)], path.name)


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for link in ("missing.md", "#nowhere"):
        with pytest.raises(AssertionError, match="link"):
            check_links(page, [link], {"somewhere"})
    check_links(page, ["https://example.org/missing", "#somewhere"], {"somewhere"})


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.glob("docs/*.md")))
def test_every_part_has_a_page_that_the_readme_leads_to(name: str) -> None:
    assert (ROOT / "docs" / f"{name}.md").exists()
    assert f"(docs/{name}.md)" in (ROOT / "README.md").read_text()


def test_the_rendered_reports_are_small_and_of_the_sample() -> None:
    assert [path.stem for path in REPORTS] == ["01_eda", "02_preprocessing", "03_training", "04_evaluation", "README"]
    folder = ROOT / "docs" / "reports"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 3e6
    for path in REPORTS:
        text = path.read_text(encoding="utf-8")
        assert "**Synthetic sample: " in text, "no row of Kaggle's data in the repository"
        assert not re.search(r"/home/|/root/|/Users/|/tmp/|/work/", text), "a path of one machine"
        pictures = re.findall(r'<img src="([^"]+)"', text)
        assert pictures or path.stem == "README"
        assert all((folder / name).is_file() for name in pictures)
