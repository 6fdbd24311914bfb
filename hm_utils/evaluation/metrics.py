"""Ranking metrics, a value a customer; callers take means, slices and intervals.

The accuracy metrics read a :func:`hit_matrix`: whether the customer bought the article at each place of the ranking.
Relevance is binary, and an article counts once, however often it was bought.

    hits = hit_matrix(ranked, truth)                       # [n, 100] bool
    average_precision(hits, truth.sizes, k=12).mean()      # the competition's MAP@12

:func:`coverage`, :func:`novelty` and :func:`intra_list_diversity` describe rankings and need no truth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Bool, Float64, Int32, Int64
from hm_utils.data.purchases import Baskets

Int = npt.NDArray[np.signedinteger[Any]]

METRICS = ("MAP@12", "recall@12", "recall@100", "NDCG@12", "hit rate@12")


def all_metrics(ranked: Int32, truth: Baskets) -> Float64:
    """``[n, metrics]`` in the order of :data:`METRICS`; the arguments are those of :func:`hit_matrix`."""
    hits, bought = hit_matrix(ranked, truth), truth.sizes
    values = (
        average_precision(hits, bought, k=12),
        recall(hits, bought, k=12),
        recall(hits, bought, k=100),
        ndcg(hits, bought, k=12),
        hit_rate(hits, k=12),
    )
    return np.stack(values, axis=1)


def hit_matrix(ranked: Int32, truth: Baskets) -> Bool:
    """``[n, k]`` whether each recommended article was bought; padding is false.

    Args:
        ranked: ``[n, k]`` article rows, best first, -1 where a ranking is short.
        truth: the purchases of the same n customers in the same order.

    Raises:
        ValueError: if ``ranked`` does not have one row a customer.
    """
    if ranked.ndim != 2 or len(ranked) != len(truth):
        raise ValueError(f"ranked has shape {ranked.shape}: it needs one row for each of {len(truth)} customers")
    if ranked.size == 0 or truth.articles.size == 0:
        return np.zeros(ranked.shape, dtype=bool)
    # A pair (customer, article) becomes one number. Those of the truth are sorted, so a binary search finds each.
    width = int(max(ranked.max(), truth.articles.max())) + 1
    row = np.arange(len(truth), dtype=np.int64)
    bought = truth.owner * width + truth.articles
    wanted = row[:, None] * width + ranked
    place = np.minimum(np.searchsorted(bought, wanted), len(bought) - 1)
    # Without the second condition, -1 would equal the highest article of the customer before.
    return (bought[place] == wanted) & (ranked >= 0)


def average_precision(hits: Bool, n_relevant: Int64, k: int = 12) -> Float64:
    """``[n]`` average precision at k; its mean is the competition's MAP@12.

    The divisor is ``min(n_relevant, k)``, so k hits score 1 even for a customer who bought more than k articles.
    Libraries divide otherwise: ranx by ``n_relevant``, torchmetrics by the number of hits.
    ``n_relevant`` (``[n]``, at least 1) is the number of articles that the customer bought.
    """
    top = hits[:, :k]
    precision = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return np.sum(precision * top, axis=1) / np.minimum(n_relevant, k)


def recall(hits: Bool, n_relevant: Int64, k: int = 12) -> Float64:
    """``[n]`` share of the customer's purchases among the first k."""
    return hits[:, :k].sum(axis=1) / n_relevant


def ndcg(hits: Bool, n_relevant: Int64, k: int = 12) -> Float64:
    """``[n]`` binary NDCG at k: 1 when the first ``min(n_relevant, k)`` places are all hits."""
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    top = hits[:, :k]
    gain = np.sum(top * discount[: top.shape[1]], axis=1)
    return gain / np.cumsum(discount)[np.minimum(n_relevant, k) - 1]


def hit_rate(hits: Bool, k: int = 12) -> Float64:
    """``[n]`` 1 where any of the first k is a hit, else 0."""
    return (hits[:, :k].sum(axis=1) > 0).astype(np.float64)


def coverage(ranked: Int32, n_articles: int, k: int = 12) -> float:
    """Share of the catalogue in the first k of at least one customer: one number, not a value a customer."""
    top = ranked[:, :k]
    return np.count_nonzero(np.bincount(top[top >= 0], minlength=n_articles)) / n_articles


def self_information(buyers: Int64, n_customers: int) -> Float64:
    """``[n_articles]`` self-information ``-log2(p)`` of each article, in bits.

    p is the share of the ``n_customers`` who bought the article (``buyers``, ``[n_articles]``). One more buyer and one
    more customer who did not buy keep it above 0. One customer in a thousand makes 10 bits.
    """
    return -np.log2((buyers + 1) / (n_customers + 2))


def novelty(ranked: Int32, information: Float64, k: int = 12) -> Float64:
    """``[n]`` mean :func:`self_information` of the first k: high for articles that few customers buy.

    Vargas & Castells, "Rank and relevance in novelty and diversity metrics for recommender systems", RecSys 2011,
    without a discount by place. NaN where a ranking is empty.

    Args:
        ranked: ``[n, any]`` article rows, -1 where a ranking is short.
        information: ``[n_articles]``.
        k: number of places that count.
    """
    top = ranked[:, :k]
    filled = top >= 0
    return _ratio((information[top] * filled).sum(axis=1), filled.sum(axis=1))


def intra_list_diversity(ranked: Int32, attributes: Int, k: int = 12) -> Float64:
    """``[n]`` mean distance between two articles of the first k: the share of their attributes that differ.

    One minus the mean pairwise similarity of Ziegler et al., "Improving recommendation lists through topic
    diversification", WWW 2005: 0 if all articles are alike, 1 if no two share anything. NaN where a ranking has fewer
    than two articles.

    Args:
        ranked: ``[n, any]`` article rows, -1 where a ranking is short.
        attributes: ``[n_articles, a]`` whole numbers, equal where two articles share the attribute.
        k: number of places that count.
    """
    top = ranked[:, :k]
    filled = top >= 0
    distance, pairs = np.zeros(len(top)), np.zeros(len(top), dtype=np.int64)
    columns = np.ascontiguousarray(attributes.T)
    values = [column[top] for column in columns]
    for apart in range(1, top.shape[1]):  # all pairs of places at this distance, of every ranking at once
        pair = filled[:, apart:] & filled[:, :-apart]
        pairs += pair.sum(axis=1)
        for value in values:
            distance += (pair & (value[:, apart:] != value[:, :-apart])).sum(axis=1)
    return _ratio(distance, pairs * len(columns))


def _ratio(total: Float64, count: Int64) -> Float64:
    """``total / count``, NaN where the count is 0."""
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
