"""The page's benchmark: the map that it pans, and the browser's figures."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from benchmarks import page
from tests.helpers.data import ARTICLES
from tests.helpers.served import random_recommender, unpacked


@pytest.mark.skipif(not any(map(shutil.which, page.BROWSERS)), reason="there is no Chromium: apt install chromium")
def test_everything_is_measured() -> None:
    model = random_recommender()
    found = page.measure(model, 500, next(filter(None, map(shutil.which, page.BROWSERS))), seconds=0.4)
    assert found["painter"] in ("pixels", "webgl")
    assert 0 < found["paint"]["first contentful paint ms"] <= found["paint"]["ten cards ms"]
    for row in found["panning"].values():
        assert row["frames/s"] > 1
        assert 0 < row["median ms"] <= row["p95 ms"]
    _, ids, places, _ = unpacked(page.full_size_map(model, 500))
    assert ids[:ARTICLES] == model.article_ids.tolist()
    assert len(set(ids)) == len(places) == 500
