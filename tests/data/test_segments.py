"""Kinds of customers, against their own purchases."""

from __future__ import annotations

import numpy as np

from hm_utils.data import segments
from hm_utils.data.segments import customers_by_segment
from hm_utils.evaluation import comparison
from hm_utils.serving import catalogue
from tests.helpers.data import CUSTOMERS, customer_table, random_log

LOG = random_log()
AGES = customer_table()["age"].to_numpy()


def test_every_kind_is_what_it_says():
    found = {kind: set(rows.tolist()) for kind, rows in customers_by_segment(LOG, AGES).items()}
    sizes = np.diff(LOG.offsets)
    last = {row: LOG.day[LOG.offsets[row + 1] - 1] for row in range(CUSTOMERS) if sizes[row]}
    active = {row for row, day in last.items() if day >= LOG.last_day + 1 - segments.ACTIVE_DAYS}
    assert found["any"] == set(range(CUSTOMERS))
    assert found["never_bought"] == {row for row in range(CUSTOMERS) if not sizes[row]} == {57, 58, 59}
    assert found["dormant"] == set(last) - active
    assert found["young"] == {row for row in last if AGES[row] < segments.YOUNG_BELOW}
    assert found["frequent"] <= active
    assert 1 <= len(found["frequent"]) <= 12
    fewest = min(sizes[row] for row in found["frequent"])
    assert all(sizes[row] < fewest for row in active - found["frequent"])


def test_a_customer_who_stopped_buying_is_dormant():
    early = random_log().before(10)
    later = random_log()
    rows = customers_by_segment(later, AGES)["dormant"]
    assert len(rows) == 0  # everybody buys until the end in this log
    stopped = customers_by_segment(early, AGES)
    assert set(stopped) == set(segments.KINDS)


def test_one_word_means_one_thing():
    assert segments.ACTIVE_DAYS == comparison.ACTIVE_DAYS
    assert catalogue.NEW_IN_SHOP_DAYS == comparison.NEW_IN_SHOP_DAYS
