"""Upper bounds of simple ideas (notebook 01): rankings that know the future, but use it in one way only.

The gap between them and a perfect ranking is what a model can add.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hm_utils.arrays import Bool, Int32, Int64
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.evaluation import metrics
from hm_utils.evaluation.baselines import best_articles, recent_popularity, repurchase
from hm_utils.evaluation.slices import bought_before

SHORT_LOG = 28  # days; of a shorter log only the last day is ranked
MOST_CUSTOMERS = 20_000
LENGTH = 100  # of a ranking

KNOWN = {
    "best-sellers of the days before": recent_popularity,
    "bought before, then these": repurchase,
}
PERFECT_POPULARITY = "perfect best-sellers"
PERFECT_REPURCHASE = "perfect repurchase"
BOTH = "both, perfect"


def last_days(log: PurchaseLog, seed: int = 0) -> tuple[int, Baskets]:
    """The first day of the log's last week, and the purchases of that week (of 20,000 customers at most)."""
    days = 7 if log.last_day + 1 >= SHORT_LOG else 1
    as_of = log.last_day + 1 - days
    return as_of, log.baskets_between(as_of, log.last_day + 1).sample(MOST_CUSTOMERS, seed)


def reach(log: PurchaseLog, as_of: int, truth: Baskets) -> pd.DataFrame:
    """MAP@12 and recall@100 of two rankings known on the morning of ``as_of``, and of three that know the future.

    *Perfect best-sellers* is the best single ranking for everybody in hindsight: no other has a higher recall@100,
    hardly another a higher MAP@12. *Perfect repurchase* ranks exactly the earlier articles that the customer buys
    again. *Both* ranks the hits of either.

    Returns:
        A row a ranking, columns ``MAP@12``, ``recall@100`` and ``perfect`` (whether it knows the future).
    """
    rows = {}
    for name, ranker in KNOWN.items():
        rows[name] = (*_scores(ranker(log, truth.customers, as_of, LENGTH), truth), False)
    best = best_in_hindsight(truth, log.n_articles)
    rows[PERFECT_POPULARITY] = (*_scores(np.tile(best, (len(truth), 1)), truth), True)
    again = bought_before(truth, log, as_of)
    rows[PERFECT_REPURCHASE] = (*_if_found(again, truth), True)
    rows[BOTH] = (*_if_found(again | np.isin(truth.articles, best), truth), True)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["MAP@12", "recall@100", "perfect"])


def best_in_hindsight(truth: Baskets, n_articles: int, k: int = LENGTH) -> Int32:
    """``[k]`` the single ranking for everybody that finds the largest mean share of a customer's purchases."""
    weight = np.bincount(truth.articles, weights=np.repeat(1 / truth.sizes, truth.sizes), minlength=n_articles)
    return best_articles(weight, k)


def _scores(ranked: Int32, truth: Baskets) -> tuple[float, float]:
    hits = metrics.hit_matrix(ranked, truth)
    precision, recall = metrics.average_precision(hits, truth.sizes), metrics.recall(hits, truth.sizes, LENGTH)
    return float(precision.mean()), float(recall.mean())


def _if_found(found: Bool, truth: Baskets) -> tuple[float, float]:
    """The scores of rankings with exactly the ``found`` ones (``[m]``) of ``truth.articles``."""
    owner = truth.owner
    right: Int64 = np.bincount(owner[found], minlength=len(truth))
    precision = np.minimum(right, 12) / np.minimum(truth.sizes, 12)
    return float(precision.mean()), float((np.minimum(right, LENGTH) / truth.sizes).mean())
