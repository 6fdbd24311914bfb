"""How far simple ideas can reach (notebook 01): rankings that know the future, but may only use it in one way.

What a perfect repurchase or a perfect list of best-sellers leaves on the table is what a model is for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Int32, Int64
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.evaluation import metrics
from hm_utils.evaluation.baselines import recent_popularity, repurchase
from hm_utils.evaluation.comparison import bought_before

SHORT_LOG = 28  # days; of a shorter log only the last day is asked about
MOST_CUSTOMERS = 20_000
LISTED = 100

KNOWN = {
    "best-sellers of the days before": recent_popularity,
    "bought before, then these": repurchase,
}
PERFECT_POPULARITY = "perfect best-sellers"
PERFECT_REPURCHASE = "perfect repurchase"
BOTH = "both, perfect"


def last_days(log: PurchaseLog, seed: int = 0) -> tuple[int, Baskets]:
    """The first of the days asked about, the last week of the log, and who bought what then (20,000 at most)."""
    days = 7 if log.last_day + 1 >= SHORT_LOG else 1
    as_of = log.last_day + 1 - days
    return as_of, log.baskets_between(as_of, log.last_day + 1).sample(MOST_CUSTOMERS, seed)


def reach(log: PurchaseLog, as_of: int, truth: Baskets) -> pd.DataFrame:
    """MAP@12 and recall@100 of two lists that were known on the morning of ``as_of``, and of three that know more.

    *Perfect best-sellers* show everybody one list, the best one in hindsight: for recall@100 no list for everybody is
    better, for MAP@12 hardly one. *Perfect repurchase* shows of what the customer had bought before exactly what they
    buy again, and nothing else. *Both* show what is right in either.

    Returns:
        A row a list, columns ``MAP@12``, ``recall@100`` and ``perfect`` (whether it knows the future).
    """
    rows = {}
    for name, ranker in KNOWN.items():
        rows[name] = (*_scores(ranker(log, truth.customers, as_of, LISTED), truth), False)
    best = best_in_hindsight(truth, log.n_articles)
    rows[PERFECT_POPULARITY] = (*_scores(np.tile(best, (len(truth), 1)), truth), True)
    again = bought_before(truth, log, as_of)
    rows[PERFECT_REPURCHASE] = (*_if_found(again, truth), True)
    rows[BOTH] = (*_if_found(again | np.isin(truth.articles, best), truth), True)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["MAP@12", "recall@100", "perfect"])


def best_in_hindsight(truth: Baskets, n_articles: int, k: int = LISTED) -> Int32:
    """``[k]`` the articles with which one list for everybody finds the largest mean share of a customer's purchases."""
    weight = np.bincount(truth.articles, weights=np.repeat(1 / truth.sizes, truth.sizes), minlength=n_articles)
    best = np.argsort(-weight, kind="stable")[:k]
    listed = np.where(weight[best] > 0, best, -1).astype(np.int32)
    return np.pad(listed, (0, k - len(listed)), constant_values=-1)


def _scores(ranked: Int32, truth: Baskets) -> tuple[float, float]:
    hits = metrics.hit_matrix(ranked, truth)
    precision, recall = metrics.average_precision(hits, truth.sizes), metrics.recall(hits, truth.sizes, LISTED)
    return float(precision.mean()), float(recall.mean())


def _if_found(found: npt.NDArray[np.bool_], truth: Baskets) -> tuple[float, float]:
    """The scores of lists that begin with what is ``found`` (``[m]`` of ``truth.articles``) and hold nothing else."""
    owner = np.repeat(np.arange(len(truth)), truth.sizes)
    right: Int64 = np.bincount(owner[found], minlength=len(truth))
    precision = np.minimum(right, 12) / np.minimum(truth.sizes, 12)
    return float(precision.mean()), float((np.minimum(right, LISTED) / truth.sizes).mean())
