"""The list of articles in stock: what a file may be, and what a model recommends with it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hm_utils.model.scoring import BEST_SELLERS
from hm_utils.serving import stock
from hm_utils.serving.recommender import Recommender
from hm_utils.serving.stock import Stock, StockError, read_stock
from tests.helpers.data import ARTICLES, CUSTOMERS
from tests.helpers.served import random_recommender

EVERYBODY = np.arange(CUSTOMERS)
ROWS = np.arange(0, ARTICLES, 3, dtype=np.int32)


@pytest.fixture(scope="module")
def whole() -> Recommender:
    return random_recommender()


@pytest.fixture(scope="module")
def stocked(whole: Recommender) -> Recommender:
    ids = (*whole.article_ids[ROWS].tolist(), "unknown", "9999999999")
    return whole.with_stock(Stock("stock.txt", ids, datetime(2026, 1, 20, tzinfo=UTC)))


def test_a_file_has_an_id_a_line(tmp_path: Path) -> None:
    path = tmp_path / "stock.txt"
    path.write_bytes("\ufeff0108775015\r\n\n 0108775044 \n0108775015\nBlå kjole 38".encode())
    os.utime(path, (1_700_000_000, 1_700_000_000))
    found = read_stock(path)
    assert found.ids == ("0108775015", "0108775044", "Blå kjole 38")
    assert found.since == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xff\xfe0\x001\x00", "no text in UTF-8"),
        (b"0108775015\n\0\0\0\0", "zero byte"),
        (b"0108775015\n" * 20, "larger than"),
    ],
    ids=["empty", "blank", "UTF-16", "zeros", "too long"],
)
def test_a_damaged_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    monkeypatch.setattr(stock, "MAX_BYTES", 200)
    path = tmp_path / "stock.txt"
    path.write_bytes(content)
    with pytest.raises(StockError, match=rf"stock\.txt.*{reason}"):
        read_stock(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StockError, match="cannot be read"):
        read_stock(tmp_path)


def test_a_list_of_unknown_articles_is_refused(whole: Recommender) -> None:
    with pytest.raises(StockError, match="knows none of the 2 article ids"):
        whole.with_stock(Stock("stock.txt", ("a", "b"), datetime.now(UTC)))


def test_a_leading_zero_that_a_program_dropped_counts(whole: Recommender, stocked: Recommender) -> None:
    assert stocked.in_stock is not None
    ids = tuple(text.lstrip("0") for text in stocked.in_stock.stock.ids)
    found = whole.with_stock(Stock("stock.txt", ids, datetime.now(UTC))).in_stock
    assert found is not None
    np.testing.assert_array_equal(found.rows, ROWS)
    assert found.unknown == stocked.in_stock.unknown == 2


@pytest.mark.parametrize("top_k", [5, ARTICLES])
def test_only_articles_in_stock_are_recommended_in_the_order_of_the_whole_ranking(
    whole: Recommender, stocked: Recommender, top_k: int
) -> None:
    """To customers with and without purchases, full up to top_k; and the whole model stays as it was."""
    everything = whole.recommend(whole.customers(EVERYBODY), ARTICLES)
    found = stocked.recommend(stocked.customers(EVERYBODY), top_k)
    for customer in EVERYBODY:
        kept = np.isin(everything[0][customer], ROWS)
        for mine, expected in zip(found, everything, strict=True):
            expected = expected[customer][kept][:top_k]
            np.testing.assert_array_equal(mine[customer, : len(expected)], expected)
        assert (found[0][customer, len(ROWS) :] == -1).all()
    assert len(np.unique(everything[0])) == ARTICLES


def test_visitors_filters_exclusions_and_best_sellers_keep_to_the_stock(
    whole: Recommender, stocked: Recommender
) -> None:
    visitor = stocked.visitor(None, {}, [1, 2, 3], [0, 0, 0])
    assert np.isin(stocked.recommend(visitor, 10)[0], ROWS).all()
    filtered = np.arange(10, dtype=np.int32)
    customers = stocked.customers(EVERYBODY)
    np.testing.assert_array_equal(
        stocked.recommend(customers, 5, allowed=filtered)[0],
        whole.recommend(customers, 5, allowed=np.intersect1d(filtered, ROWS))[0],
    )
    assert (stocked.recommend(customers, 5, allowed=np.array([1, 2], dtype=np.int32))[0] == -1).all()
    for scoring in (None, BEST_SELLERS):
        found, _ = stocked.recommend(customers, 5, excluded=ROWS[:4], scoring=scoring)
        assert np.isin(found, ROWS[4:]).all()


def test_similar_articles_are_in_stock(whole: Recommender, stocked: Recommender) -> None:
    """Also those of an article that is not."""
    for article in (0, 1):
        everything, cosines = whole.similar(article, ARTICLES)
        found, their_cosines = stocked.similar(article, 6)
        kept = np.isin(everything, ROWS)
        np.testing.assert_array_equal(found, everything[kept][:6])
        np.testing.assert_allclose(their_cosines, cosines[kept][:6], rtol=1e-6)
