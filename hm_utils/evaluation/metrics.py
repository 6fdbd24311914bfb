"""Ranking metrics, a value per customer: means, slices and intervals are then taken at the edge.

Everything starts from :func:`hit_matrix`, which says for every place of every list whether the
customer bought that article. Relevance is binary and an article counts once, however often it was
bought.

    hits = hit_matrix(ranked, truth)                       # [n, 100] bool
    average_precision(hits, truth.sizes, k=12).mean()      # the competition's MAP@12

Three need no truth, as they say what the lists are like: :func:`coverage`, :func:`novelty` and
:func:`intra_list_diversity`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Bool, Float64, Int32, Int64
from hm_utils.data.purchases import Baskets

Int = npt.NDArray[np.signedinteger[Any]]


def hit_matrix(ranked: Int32, truth: Baskets) -> Bool:
    """Which recommendations came true.

    Args:
        ranked: ``[n, k]`` article rows, best first, -1 where a list is short.
        truth: what the same n customers, in the same order, bought.

    Returns:
        ``[n, k]``, true where the article was bought; padding is false.

    Raises:
        ValueError: if ``ranked`` has not one row a customer.
    """
    if ranked.ndim != 2 or len(ranked) != len(truth):
        raise ValueError(f"ranked has shape {ranked.shape}: it needs one row for each of {len(truth)} customers")
    if ranked.size == 0 or truth.articles.size == 0:
        return np.zeros(ranked.shape, dtype=bool)
    # A pair (customer, article) becomes one number; the truth's are sorted, so a binary search finds each.
    width = int(max(ranked.max(), truth.articles.max())) + 1
    row = np.arange(len(truth), dtype=np.int64)
    bought = np.repeat(row, truth.sizes) * width + truth.articles
    wanted = row[:, None] * width + ranked
    place = np.minimum(np.searchsorted(bought, wanted), len(bought) - 1)
    # Without the second condition, -1 would be the highest article of the customer before.
    return (bought[place] == wanted) & (ranked >= 0)


def average_precision(hits: Bool, n_relevant: Int64, k: int = 12) -> Float64:
    """``[n]`` average precision at k; its mean is the competition's MAP@12.

    The divisor is ``min(n_relevant, k)``, so a full list of hits scores 1 also for who bought more
    than k articles. Libraries divide otherwise: ranx by ``n_relevant``, torchmetrics by the number of hits.
    ``n_relevant`` (``[n]``, at least 1) is how many articles the customer bought.
    """
    top = hits[:, :k]
    precision = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return np.sum(precision * top, axis=1) / np.minimum(n_relevant, k)


def recall(hits: Bool, n_relevant: Int64, k: int = 12) -> Float64:
    """``[n]`` share of what the customer bought that is among the first k."""
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
    """Share of the catalogue that is in at least one customer's first k (one number, not a value a customer)."""
    top = ranked[:, :k]
    return np.count_nonzero(np.bincount(top[top >= 0], minlength=n_articles)) / n_articles


def self_information(buyers: Int64, n_customers: int) -> Float64:
    """``[n_articles]`` bits of surprise in that a customer bought each article: ``-log2(p)``.

    p is the share of the ``n_customers`` who bought it (``buyers``, ``[n_articles]``), smoothed by one
    buyer more and one customer more who did not buy, so that it is never 0: one customer in a thousand
    makes 10 bits.
    """
    return -np.log2((buyers + 1) / (n_customers + 2))


def novelty(ranked: Int32, information: Float64, k: int = 12) -> Float64:
    """``[n]`` mean :func:`self_information` of the first k: high where the list is of articles that few buy.

    Mean self-information, Vargas & Castells, "Rank and relevance in novelty and diversity metrics for
    recommender systems", RecSys 2011, without a discount by place. NaN where a list is empty.

    Args:
        ranked: ``[n, any]`` article rows, -1 where a list is short.
        information: ``[n_articles]``.
        k: how many places count.
    """
    top = ranked[:, :k]
    listed = top >= 0
    return _ratio((information[top] * listed).sum(axis=1), listed.sum(axis=1))


def intra_list_diversity(ranked: Int32, attributes: Int, k: int = 12) -> Float64:
    """``[n]`` mean distance between two articles of the first k: the share of their attributes that differ.

    One less the mean pairwise similarity of Ziegler et al., "Improving recommendation lists through
    topic diversification", WWW 2005: 0 where all articles are alike, 1 where no two share anything.
    NaN where a list has fewer than two articles.

    Args:
        ranked: ``[n, any]`` article rows, -1 where a list is short.
        attributes: ``[n_articles, a]`` whole numbers, equal where two articles share the attribute.
        k: how many places count.
    """
    top = ranked[:, :k]
    listed = top >= 0
    distance, pairs = np.zeros(len(top)), np.zeros(len(top), dtype=np.int64)
    columns = np.ascontiguousarray(attributes.T)
    values = [column[top] for column in columns]
    for apart in range(1, top.shape[1]):  # all pairs of places that are so far apart, of every list at once
        both = listed[:, apart:] & listed[:, :-apart]
        pairs += both.sum(axis=1)
        for value in values:
            distance += (both & (value[:, apart:] != value[:, :-apart])).sum(axis=1)
    return _ratio(distance, pairs * len(columns))


def _ratio(total: Float64, count: Int64) -> Float64:
    """``total / count``, NaN where the count is 0."""
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
