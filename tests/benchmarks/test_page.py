"""The map that the page's benchmark pans: of the size that was asked for, with the model's own articles in it."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from benchmarks import page
from tests.helpers.data import ARTICLES
from tests.helpers.served import random_recommender
from tests.serving.test_article_map import unpacked


def test_the_map_has_so_many_articles_and_the_models_own_first() -> None:
    model = random_recommender()
    _, ids, places, _ = unpacked(page.full_size_map(model, 3_000))
    assert ids[:ARTICLES] == model.article_ids.tolist()
    assert len(set(ids)) == len(places) == 3_000


@pytest.mark.skipif(not any(map(shutil.which, page.BROWSERS)), reason="there is no Chromium: apt install chromium")
def test_everything_is_measured() -> None:
    browser = next(filter(None, map(shutil.which, page.BROWSERS)))
    found = page.measure(random_recommender(), 500, browser, seconds=0.4)
    assert found["painter"] in ("pixels", "webgl")
    assert 0 < found["paint"]["first contentful paint ms"] <= found["paint"]["ten cards ms"]
    for row in found["panning"].values():
        assert row["frames/s"] > 1
        assert 0 < row["median ms"] <= row["p95 ms"]
    assert found["map bytes"] > 500 * 11
