"""How fast the demo page is in Chromium: first paint, weight, and panning the map of a full-size catalogue.

    python -m benchmarks.page [--model artifacts/model] [--json page.json]

This process serves the page. 105,542 articles in random clusters take the place of the model's map, as panning depends
on their number alone. The times are the browser's own: paint from its performance timeline, frames from
requestAnimationFrame while the mouse drags the map, zoomed out and zoomed in.
"""

from __future__ import annotations

import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pandas as pd
import uvicorn
from playwright.sync_api import Page, sync_playwright

from app.main import create_app
from app.routes.page import FILES
from app.settings import Settings
from benchmarks.growth import ARTICLES
from benchmarks.load import wait_for
from benchmarks.measuring import Run, machine, parser, save, show
from hm_utils.files import resolve
from hm_utils.serving.article_map import pack
from hm_utils.serving.recommender import Recommender

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FRAMES = """() => { const times = window.times = []; const tick = (t) => { times.push(t);
if (times === window.times) requestAnimationFrame(tick); }; requestAnimationFrame(tick); }"""


def full_size_map(model: Recommender, articles: int) -> bytes:
    """Points in clusters, as a layout leaves them; the ids of the model's own articles come first."""
    rng = np.random.default_rng(0)
    middles = rng.normal(scale=20, size=(300, 2))
    places = (middles[rng.integers(300, size=articles)] + rng.normal(size=(articles, 2))).astype(np.float32)
    own = model.article_ids.tolist()[:articles]
    others = [f"{9_000_000_000 + i:010d}" for i in range(articles - len(own))]
    groups = pd.Series(rng.choice(["Baby/Children", "Divided", "Ladieswear", "Menswear", "Sport"], articles))
    return pack(places, own + others, groups)


@contextmanager
def served(model: Recommender) -> Iterator[int]:
    """The service in a thread, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = create_app(load=lambda path: model, settings=Settings(reload_seconds=0, api_key=None))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: server.started or not thread.is_alive(), pause=0.01)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def first_paint(page: Page, address: str) -> dict[str, float]:
    """Milliseconds from the request for the page."""
    page.goto(address)
    page.wait_for_selector("#customer-list .cards:not([aria-busy]) .card")
    cards = float(page.evaluate("performance.now()"))
    entries = page.evaluate("performance.getEntriesByType('paint').map(e => [e.name, e.startTime])")
    return {"first contentful paint ms": dict(entries)["first-contentful-paint"], "ten cards ms": cards}


def panning(page: Page, seconds: float) -> dict[str, float]:
    """Drag the map in circles; the frames, and how long the slow ones took."""
    box = page.locator("#map-marks").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + min(box["height"], 500) / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(FRAMES)
    end, turn = time.perf_counter() + seconds, 0.0
    while time.perf_counter() < end:
        turn += 0.15
        page.mouse.move(x + 150 * np.sin(turn), y + 100 * (1 - np.cos(turn)))
    times = np.diff(page.evaluate("window.times"))
    page.mouse.up()
    slow = {"median ms": float(np.median(times)), "p95 ms": float(np.quantile(times, 0.95))}
    return {"frames/s": 1000 / float(times.mean()), **slow}


def measure(model: Recommender, articles: int, browser: str, seconds: float = 5.0) -> Run:
    packed, rows = full_size_map(model, articles), {}
    with mock.patch.object(Recommender, "packed_map", packed), served(model) as port, sync_playwright() as playwright:
        address, chromium = f"http://127.0.0.1:{port}/", playwright.chromium.launch(executable_path=browser)
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        paints = pd.DataFrame([first_paint(page, address) for _ in range(3)])
        page.goto(f"{address}#map")
        page.reload()
        page.wait_for_selector("#map-marked .link")
        page.wait_for_load_state("networkidle")
        painter = page.locator("#map-points").get_attribute("data-painter")
        for name, zoom in (("the whole map", 0), ("zoomed in", 4)):
            page.locator("#map-marks").focus()
            for _ in range(zoom):
                page.keyboard.press("+")
            rows[name] = panning(page, seconds)
        chromium.close()
    weights = {"page bytes": sum(len(file.content) for file in FILES.values()), "map bytes": len(packed)}
    return {"paint": paints.median().to_dict(), "panning": rows, "painter": painter, **weights, "articles": articles}


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parser("page", __doc__, model=True).parse_args(arguments)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("error: there is no Chromium (Debian, Ubuntu: apt install chromium)", file=sys.stderr)
        return 1
    report: Run = {"machine": machine("playwright", "fastapi", "uvicorn")}
    found = measure(Recommender.load(resolve(chosen.model)), ARTICLES, browser)
    save(chosen.json, report | found)
    facts = {**found.pop("paint"), **{name: found[name] for name in ("painter", "page bytes", "map bytes", "articles")}}
    heading = ", ".join(
        f"{name} {value:.0f}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()
    )
    return show(heading, pd.DataFrame.from_dict(found["panning"], orient="index"), report)


if __name__ == "__main__":
    sys.exit(main())
