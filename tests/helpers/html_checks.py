"""What every page that a run writes has to keep to: it opens offline, and says in words what it shows."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

# Attributes whose address a browser loads by itself; a link is followed only by whoever clicks it.
LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}


class Page(HTMLParser):
    """What is on a page: headings, images, links, ids, and the addresses that a browser would load.

    Attributes:
        headings: ``(level, text)`` in order.
        images: the attributes of every ``img``.
        links, ids: of ``a href`` and of any ``id``.
        loaded: addresses that are not inside the page.
        unfolded: code blocks outside of a closed ``details``, by their text.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[tuple[int, str]] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        self._heading = 0
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
            self._heading = int(tag[1])
            self.headings.append((self._heading, ""))

    def handle_endtag(self, tag: str) -> None:
        if re.fullmatch(r"h[1-6]", tag):
            self._heading = 0

    def handle_data(self, data: str) -> None:
        if self._heading:
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)


def check_page(path: Path) -> Page:
    """Assert what holds for every page; the page, for more."""
    page = Page(path.read_text(encoding="utf-8"))
    assert page.loaded == [], f"{path.name} loads {page.loaded}"
    check_headings([level for level, _ in page.headings], path.name)
    for image in page.images:
        words = image.get("alt") or ""
        assert len(words) > 10, f"{path.name}: an image without alternative text"
    check_links(path, page.links, page.ids)
    return page


def check_headings(levels: list[int], where: str) -> None:
    """One H1, first; no level is skipped on the way down."""
    assert levels.count(1) == 1, f"{where} has {levels.count(1)} headings of the first level"
    assert levels[0] == 1, f"{where} does not begin with its title"
    for above, below in pairwise(levels):
        assert below <= above + 1, f"{where}: a heading of level {below} below one of level {above}"


def check_links(path: Path, links: list[str], ids: set[str]) -> None:
    """Every relative link leads to a file that is there, every anchor to a place on the page."""
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue  # another site's: not looked up in a test
        target, _, anchor = link.partition("#")
        if target:
            assert (path.parent / target).exists(), f"{path.name}: no file for the link {link}"
        elif anchor:
            assert anchor in ids, f"{path.name}: no place for the link {link}"
