"""The rules of every page that a run writes: it opens offline, and its images have alternative text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

# Attributes whose address a browser loads without a click.
LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}


class Page(HTMLParser):
    """The content of a page.

    Attributes:
        levels: of the headings, in order.
        images: the attributes of every ``img``.
        links: every ``href`` of an ``a``.
        ids: every ``id``.
        loaded: addresses outside the page that a browser would load.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", text, flags=re.DOTALL))
        self.loaded += re.findall(r"""(?:url\(\s*["']?(?!data:)|@import\s+)([^)\s]+)""", styles)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if identifier := attributes.get("id"):
            self.ids.add(identifier)
        if tag == "img":
            self.images.append(attributes)
        if tag == "a" and (link := attributes.get("href")):
            self.links.append(link)
        address = attributes.get(LOADED.get(tag, ""), "")
        if address and not address.startswith("data:"):
            self.loaded.append(address)
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))


def check_page(path: Path) -> Page:
    """Check the rules of every page, and return it for further checks."""
    page = Page(path.read_text(encoding="utf-8"))
    assert page.loaded == [], f"{path.name} loads {page.loaded}"
    check_headings(page.levels, path.name)
    for image in page.images:
        assert len(image.get("alt") or "") > 10, f"{path.name}: an image without alternative text"
    check_links(path, page.links, page.ids)
    return page


def check_headings(levels: list[int], where: str) -> None:
    """The only H1 comes first; no level is skipped on the way down."""
    assert levels.count(1) == 1, f"{where} has {levels.count(1)} headings of the first level"
    assert levels[0] == 1, f"{where} does not begin with its title"
    for above, below in pairwise(levels):
        assert below <= above + 1, f"{where}: a heading of level {below} below one of level {above}"


def check_links(path: Path, links: list[str], ids: set[str]) -> None:
    """Every relative link leads to an existing file, every anchor to a place on the page."""
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue  # another site
        target, _, anchor = link.partition("#")
        if target:
            assert (path.parent / target).exists(), f"{path.name}: no file for the link {link}"
        elif anchor:
            assert anchor in ids, f"{path.name}: no place for the link {link}"
