"""The replay for the demo page: rankings of the evaluation, for customers drawn regardless of hits."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hm_utils.evaluation.metrics import average_precision, hit_matrix
from hm_utils.evaluation.replay import BEFORE, SHOWN, replay
from tests.helpers.data import ARTICLES, article_table, customer_table, random_log

LOG = random_log()
AS_OF = 43
TRUTH = LOG.baskets_between(AS_OF, 50)
IDS, ARTICLE_IDS = customer_table()["customer_id"], article_table()["article_id"]


def random_ranking(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(ARTICLES)[:20] for _ in range(len(TRUTH))]).astype(np.int32)


RANKINGS = {"ours": random_ranking(1), "theirs": random_ranking(2)}


def replayed(rankings=RANKINGS, **more):
    return replay(rankings, TRUTH, LOG, AS_OF, IDS, ARTICLE_IDS, **more)


def test_each_customer_has_the_rankings_and_the_precision_of_the_evaluation():
    found = replayed()
    assert found["rankings"] == ["ours", "theirs"]
    assert (found["first_day"], found["last_day"]) == (LOG.date(AS_OF), LOG.date(LOG.last_day))
    assert found["drawn_from"] == len(found["customers"]) == len(TRUTH)
    for place, one in enumerate(found["customers"]):
        assert one["customer_id"] == IDS[TRUTH.customers[place]]
        bought = TRUTH.articles[TRUTH.offsets[place] : TRUTH.offsets[place + 1]]
        assert one["bought"] == ARTICLE_IDS[bought].tolist()
        for name, ranked in RANKINGS.items():
            assert one["lists"][name] == ARTICLE_IDS[ranked[place, :SHOWN]].tolist()
            precision = average_precision(hit_matrix(ranked[:, :SHOWN], TRUTH), TRUTH.sizes)[place]
            assert one["average_precision"][name] == pytest.approx(precision)


def test_nothing_of_the_test_days_is_among_the_purchases_before():
    for one in replayed()["customers"]:
        row = IDS.tolist().index(one["customer_id"])
        rows = np.arange(LOG.offsets[row], LOG.offsets[row + 1])
        earlier = rows[LOG.day[rows] < AS_OF]
        assert one["purchases_before"] == len(earlier)
        newest_first = earlier[::-1][:BEFORE]
        assert [each["article_id"] for each in one["before"]] == ARTICLE_IDS[LOG.article[newest_first]].tolist()
        assert all(each["date"] < LOG.date(AS_OF) for each in one["before"])


def test_the_draw_is_seeded_and_independent_of_hits():
    few = replayed(most=10, seed=3)
    assert len(few["customers"]) == 10
    assert few["drawn_from"] == len(TRUTH)
    assert few == replayed(most=10, seed=3)
    drawn = [one["customer_id"] for one in few["customers"]]
    assert len(set(drawn)) == 10
    assert drawn != [one["customer_id"] for one in replayed(most=10, seed=4)["customers"]]
    # Other rankings, so other hits: the same customers.
    swapped = replayed({"ours": RANKINGS["theirs"], "theirs": RANKINGS["ours"]}, most=10, seed=3)
    assert drawn == [one["customer_id"] for one in swapped["customers"]]


def test_the_padding_of_a_short_ranking_is_excluded():
    short = random_ranking(1)
    short[:, 5:] = -1
    found = replayed({"ours": short})
    assert {len(one["lists"]["ours"]) for one in found["customers"]} == {5}
    assert json.loads(json.dumps(found, allow_nan=False)) == found, "plain values"
