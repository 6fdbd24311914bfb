"""How quick the demo page is, in Chromium: first paint, weight, and panning the map of a full-size catalogue.

    python -m benchmarks.page --model artifacts/model [--articles 105542] [--json page.json]

Served by this process, with the map of `--articles` articles in clusters at random in the model's place, as panning
depends on how many there are and not on which. The times are the browser's own: paint from its performance timeline,
frames from requestAnimationFrame while the mouse drags the map, zoomed out and zoomed in. Chromium without a graphics
card draws pixel by pixel.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import uvicorn
from playwright.sync_api import Page, sync_playwright

from app.main import create_app
from app.routes.page import FILES
from app.settings import Settings
from benchmarks.measuring import machine, save
from hm_utils.files import resolve
from hm_utils.serving.article_map import pack
from hm_utils.serving.recommender import Recommender

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1280, 900
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


@contextlib.contextmanager
def served(model: Recommender) -> Iterator[int]:
    """The service in a thread, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = create_app(load=lambda path: model, settings=Settings(reload_seconds=0, api_key=None))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
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
    """Drags the map in circles; how many frames that gave, and how long the slow ones were."""
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
    return {
        "frames/s": 1000 / float(times.mean()),
        "median ms": float(np.median(times)),
        "p95 ms": float(np.quantile(times, 0.95)),
        "over 20 ms": float((times > 20).mean()),
    }


def measure(model: Recommender, articles: int, browser: str, seconds: float) -> dict[str, Any]:
    model.packed_map = full_size_map(model, articles)
    with served(model) as port, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser)
        address = f"http://127.0.0.1:{port}/"
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        paints = [first_paint(page, address) for _ in range(3)]
        rows = {}
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
    return {
        "paint": {name: float(np.median([one[name] for one in paints])) for name in paints[0]},
        "panning": rows,
        "painter": painter,
        "page bytes": sum(len(file.content) for file in FILES.values()),
        "map bytes": len(model.packed_map),
        "articles": articles,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="artifacts/model", help="folder of a published model (%(default)s)")
    parser.add_argument("--articles", type=int, default=105_542, help="points of the map (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="of panning (%(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("error: there is no Chromium (Debian, Ubuntu: apt install chromium)", file=sys.stderr)
        return 1
    found = measure(Recommender.load(resolve(options.model)), options.articles, browser, options.seconds)
    save(options.json, {"machine": machine("playwright", "fastapi", "uvicorn"), **found})
    print(pd.DataFrame(found["panning"]).T.to_string(float_format="{:,.2f}".format))
    facts = {**found["paint"], **{name: found[name] for name in ("painter", "page bytes", "map bytes", "articles")}}
    print(pd.Series(facts).to_string(float_format="{:,.1f}".format))
    return 0


if __name__ == "__main__":
    sys.exit(main())
