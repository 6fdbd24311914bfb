"""Ranking metrics, a value per customer: means, slices and intervals are then taken at the edge.

Everything starts from :func:`hit_matrix`, which says for every place of every list whether the
customer bought that article. Relevance is binary and an article counts once, however often it was
bought.

    hits = hit_matrix(ranked, truth)                       # [n, 100] bool
    average_precision(hits, truth.sizes, k=12).mean()      # the competition's MAP@12
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hm_utils.purchases import Baskets, Int32, Int64

Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]


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


def average_precision(hits: Bool, n_relevant: Int64, k: int = 12) -> Float:
    """``[n]`` average precision at k; its mean is the competition's MAP@12.

    The divisor is ``min(n_relevant, k)``, so a full list of hits scores 1 also for who bought more
    than k articles. Libraries divide otherwise: ranx by ``n_relevant``, torchmetrics by the number of hits.
    ``n_relevant`` (``[n]``, at least 1) is how many articles the customer bought.
    """
    top = hits[:, :k]
    precision = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return np.sum(precision * top, axis=1) / np.minimum(n_relevant, k)


def recall(hits: Bool, n_relevant: Int64, k: int = 12) -> Float:
    """``[n]`` share of what the customer bought that is among the first k."""
    return hits[:, :k].sum(axis=1) / n_relevant


def ndcg(hits: Bool, n_relevant: Int64, k: int = 12) -> Float:
    """``[n]`` binary NDCG at k: 1 when the first ``min(n_relevant, k)`` places are all hits."""
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    top = hits[:, :k]
    gain = np.sum(top * discount[: top.shape[1]], axis=1)
    return gain / np.cumsum(discount)[np.minimum(n_relevant, k) - 1]


def hit_rate(hits: Bool, k: int = 12) -> Float:
    """``[n]`` 1 where any of the first k is a hit, else 0."""
    return (hits[:, :k].sum(axis=1) > 0).astype(np.float64)


def coverage(ranked: Int32, n_articles: int, k: int = 12) -> float:
    """Share of the catalogue that is in at least one customer's first k (one number, not a value a customer)."""
    top = ranked[:, :k]
    return np.count_nonzero(np.bincount(top[top >= 0], minlength=n_articles)) / n_articles
