"""Segments of customers and new articles, against the purchases themselves."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from hm_utils.data import segments
from hm_utils.data.purchases import NEVER
from hm_utils.data.segments import NEW_IN_SHOP_DAYS, age_bands, customers_by_segment, new_in_shop
from tests.helpers.data import CUSTOMERS, DAYS, customer_table, random_log

LOG = random_log()
AGES = customer_table()["age"].to_numpy()


def test_every_segment_is_what_it_says():
    found = {segment: set(rows.tolist()) for segment, rows in customers_by_segment(LOG, AGES).items()}
    sizes = np.diff(LOG.offsets)
    last = {row: LOG.day[LOG.offsets[row + 1] - 1] for row in range(CUSTOMERS) if sizes[row]}
    active = {row for row, day in last.items() if day >= LOG.last_day + 1 - segments.ACTIVE_DAYS}
    assert set(found) == set(get_args(segments.Segment))
    assert found["any"] == set(range(CUSTOMERS))
    assert found["never_bought"] == {row for row in range(CUSTOMERS) if not sizes[row]} == {57, 58, 59}
    assert found["dormant"] == set(last) - active
    assert found["young"] == {row for row in last if AGES[row] < segments.YOUNG_BELOW}
    assert found["frequent"] <= active
    assert 1 <= len(found["frequent"]) <= 12
    fewest = min(sizes[row] for row in found["frequent"])
    assert all(sizes[row] < fewest for row in active - found["frequent"])


def test_a_customer_who_stopped_buying_is_dormant(monkeypatch):
    assert len(customers_by_segment(LOG, AGES)["dormant"]) == 0  # everybody buys until the end in this log
    monkeypatch.setattr(segments, "ACTIVE_DAYS", 1)
    bought_last = set(LOG.customer[LOG.day == LOG.last_day].tolist())
    dormant = customers_by_segment(LOG, AGES)["dormant"].tolist()
    assert dormant == sorted(set(LOG.customer.tolist()) - bought_last)


@pytest.mark.parametrize("as_of", [2 * NEW_IN_SHOP_DAYS, 40, DAYS])
def test_an_article_is_new_until_two_weeks_after_its_first_sale(as_of):
    moved = random_log(rows=150)  # few sales, so that some articles sell late
    since = as_of - NEW_IN_SHOP_DAYS
    found = new_in_shop(moved, as_of)
    assert found.tolist() == [not ((moved.article == a) & (moved.day < since)).any() for a in range(moved.n_articles)]
    assert 0 < np.count_nonzero(found & (moved.first_sale_day < NEVER)) < moved.n_articles
    assert not new_in_shop(moved, 2 * NEW_IN_SHOP_DAYS - 1).any()  # the log begins too late


def test_age_bands_are_half_open() -> None:
    ages = pd.Series([16, 24, 25, 34, 35, 45, 54.5, 55, 99, None])
    assert age_bands(ages).tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, -1]
    assert age_bands(ages.astype("Float32")).tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, -1]
    assert len(segments.AGE_BANDS) == len(segments.AGE_EDGES) + 1
