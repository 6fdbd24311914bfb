"""Baselines: the rankings that a model has to beat.

Each is a function ``(log, customers, as_of, k) -> int32[n, k]``: the best k articles for each of n customers, best
first, no article twice, padded with -1. All read only purchases strictly before ``as_of``. :data:`BASELINES` names
those for the comparison table. :func:`popularity_by_age` makes another one from the customers' ages, which are not in
the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from hm_utils.arrays import Float64, Int32, Int64
from hm_utils.data.histories import history_rows
from hm_utils.data.popularity import recent_sales
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.segments import AGE_BANDS, age_bands

Int = npt.NDArray[np.signedinteger[Any]]

Ranker = Callable[[PurchaseLog, Int32, int, int], Int32]

ON_SALE_DAYS = 28  # an article that nobody bought for this long counts as sold out
CO_PURCHASE_WEEKS = 8  # the last weeks that item-item reads: the cost grows with the square of a customer's purchases
CHUNK = 4_096  # customers, or articles, at a time: bounds memory, changes no result

PRIOR_SALES = 1_000.0  # weight of all customers' sales in a band; on the sample 300 and 3,000 are worse


def random_articles(log: PurchaseLog, customers: Int32, as_of: int, k: int) -> Int32:
    """k random articles on sale: the floor."""
    rng = np.random.default_rng(as_of)
    articles = rng.permutation(np.flatnonzero(on_sale(log, as_of)))
    n = min(k, len(articles))
    ranked = np.full((len(customers), k), -1, dtype=np.int32)
    if n:
        # Each customer reads the same shuffled circle from a random start: distinct, uniform and cheap.
        start = rng.integers(len(articles), size=(len(customers), 1))
        ranked[:, :n] = articles[(start + np.arange(n)) % len(articles)]
    return ranked


def popularity(log: PurchaseLog, customers: Int32, as_of: int, k: int) -> Int32:
    """The best-sellers of all time."""
    return _for_everyone(best_articles(log.sales_between(0, as_of).astype(np.float64), k), customers)


def recent_popularity(log: PurchaseLog, customers: Int32, as_of: int, k: int) -> Int32:
    """The best-sellers of the last days by :func:`recent_sales`, then those of all time."""
    return _for_everyone(_recent_best_sellers(log, as_of, k), customers)


def popularity_by_age(ages: pd.Series, prior_sales: float = PRIOR_SALES) -> Ranker:
    """A ranker of the recent best-sellers among customers of the same age band, then :func:`recent_popularity`.

    Sales are weighted by recency as there, with additive (Dirichlet) smoothing: an article scores its sales in the
    band plus ``prior_sales`` times its share of all sales. A band with few sales ranks nearly like
    :func:`recent_popularity`, an unknown age exactly like it.

    Args:
        ages: ``[n_customers]`` in years by customer row, NaN where unknown.
        prior_sales: weight of all customers' sales, as a number of sales in the band.
    """
    band_of = age_bands(ages)

    def rank(log: PurchaseLog, customers: Int32, as_of: int, k: int) -> Int32:
        everyone = recent_sales(log, as_of)
        prior = prior_sales * everyone / max(everyone.sum(), 1e-9)
        recent = _recent_best_sellers(log, as_of, k)
        bands = [
            best_articles(recent_sales(log, as_of, among=band_of == band) + prior, k) for band in range(len(AGE_BANDS))
        ]
        ranked = np.stack([*(chain(band[None], recent, k=k)[0] for band in bands), recent])
        return ranked[band_of[customers]]  # -1, an unknown age, is the last row

    return rank


def repurchase(log: PurchaseLog, customers: Int32, as_of: int, k: int) -> Int32:
    """The customer's own articles, then :func:`recent_popularity`.

    Own articles still on sale are ordered by the weight of :func:`history_matrix` (recent and repeated first), equal
    ones by recent sales.
    """
    best_sellers = _recent_best_sellers(log, as_of, k)
    return _in_chunks(lambda part: [_own_articles(log, part, as_of, k)], customers, best_sellers, k)


def item_item(log: PurchaseLog, customers: Int32, as_of: int, k: int) -> Int32:
    """Articles bought by the same customers as the customer's own, then :func:`recent_popularity`.

    An article's score is the sum over the customer's history of weight x :func:`co_purchase_similarity`.
    """
    similarity = co_purchase_similarity(log, as_of)
    best_sellers = _recent_best_sellers(log, as_of, k)
    return _in_chunks(lambda part: [_similar_articles(log, part, as_of, k, similarity)], customers, best_sellers, k)


def repurchase_item_item(log: PurchaseLog, customers: Int32, as_of: int, k: int) -> Int32:
    """The customer's own articles, then similar ones, then recent best-sellers."""
    similarity = co_purchase_similarity(log, as_of)
    return _in_chunks(
        lambda part: [_own_articles(log, part, as_of, k), _similar_articles(log, part, as_of, k, similarity)],
        customers,
        _recent_best_sellers(log, as_of, k),
        k,
    )


BASELINES: dict[str, Ranker] = {
    "random": random_articles,
    "popularity": popularity,
    "recent popularity": recent_popularity,
    "item-item, popularity": item_item,
    "repurchase, popularity": repurchase,
    "repurchase, item-item, popularity": repurchase_item_item,
}


# ---- building blocks -------------------------------------------------------------------------


def chain(*rankings: Int32, k: int) -> Int32:
    """The rankings one after the other, each article where it first appears, cut or padded to k.

    Args:
        rankings: ``[n, any]``, or ``[any]`` for all customers alike; -1 is padding and may be anywhere.
        k: length of the result.

    Returns:
        ``[n, k]``, padding at the end.

    Example:
        >>> chain(np.array([[3, 5, -1], [-1, -1, -1]]), np.array([5, 9, 1]), k=3).tolist()
        [[3, 5, 9], [5, 9, 1]]
    """
    n = max(len(ranked) for ranked in rankings if ranked.ndim == 2)
    joined = np.concatenate([np.broadcast_to(ranked, (n, ranked.shape[-1])) for ranked in rankings], axis=1)
    order = np.argsort(joined, axis=1, kind="stable")  # stable: of equal articles the first stays first
    articles = np.take_along_axis(joined, order, axis=1)
    drop_sorted = articles < 0
    drop_sorted[:, 1:] |= articles[:, 1:] == articles[:, :-1]
    drop = np.empty_like(drop_sorted)
    np.put_along_axis(drop, order, drop_sorted, axis=1)
    row, column = np.nonzero(~drop)
    return _left_aligned(row, joined[row, column], n, k)


def history_matrix(log: PurchaseLog, customers: npt.ArrayLike, as_of: int) -> sparse.csr_array:
    """``[n, n_articles]`` the customers' purchases, each with weight 1 / days since.

    The gaps between two purchases of one article have quartiles of 3, 8 and 49 days, about even on a logarithmic
    scale: the chance of buying again on a day falls as one over the days since.
    """
    owner, rows = history_rows(log, customers, as_of)
    weight = 1.0 / (as_of - log.day[rows].astype(np.float64))
    shape = (len(np.asarray(customers)), log.n_articles)
    return sparse.coo_array((weight, (owner, log.article[rows])), shape=shape).tocsr()  # repeats are summed


def co_purchase_similarity(log: PurchaseLog, as_of: int, neighbours: int = 50) -> sparse.csr_array:
    """``[n_articles, n_articles]`` similarity of articles by their buyers of the last :data:`CO_PURCHASE_WEEKS`.

    The cosine with one shared buyer less, ``(shared - 1) / sqrt(buyers_i * buyers_j)``; a customer counts once an
    article. Most pairs with a single shared buyer are chance, and would rank first among rare articles. Each row keeps
    its ``neighbours`` most similar articles, never the article itself.
    """
    baskets = log.baskets_between(as_of - 7 * CO_PURCHASE_WEEKS, as_of)
    ones = np.ones(len(baskets.articles))
    bought = sparse.csr_array((ones, baskets.articles, baskets.offsets), shape=(len(baskets), log.n_articles))
    bought_by = bought.T.tocsr()
    buyers = np.bincount(baskets.articles, minlength=log.n_articles)
    similarity = sparse.csr_array((log.n_articles, log.n_articles))
    sold = np.flatnonzero(buyers)
    for low in range(0, len(sold), CHUNK):
        part = sold[low : low + CHUNK]
        pairs = (bought_by[part] @ bought).tocoo()
        row, article, shared = part[pairs.coords[0]], pairs.coords[1], pairs.data
        keep = (row != article) & (shared > 1)
        row, article, shared = row[keep], article[keep], shared[keep]
        cosine = (shared - 1) / np.sqrt(buyers[row] * buyers[article])
        order = _order(row, cosine)
        order = order[_place(row[order]) < neighbours]
        entries = (cosine[order], (row[order], article[order]))
        similarity = similarity + sparse.coo_array(entries, shape=similarity.shape).tocsr()
    return similarity


def _own_articles(log: PurchaseLog, customers: Int32, as_of: int, k: int) -> Int32:
    """``[n, k]`` each customer's earlier articles that are still on sale, by falling weight."""
    weights = history_matrix(log, customers, as_of).tocoo()
    row, article = weights.coords
    sales = recent_sales(log, as_of)
    # Of two articles bought on one day, the better seller comes first; different weights outweigh this term.
    score = weights.data + 1e-6 * sales[article] / max(sales.max(), 1.0)
    score[~on_sale(log, as_of)[article]] = 0.0
    return _ranked(row, article, score, len(customers), k)


def _similar_articles(log: PurchaseLog, customers: Int32, as_of: int, k: int, similarity: sparse.csr_array) -> Int32:
    """``[n, k]`` the articles most similar to each customer's history."""
    scores = (history_matrix(log, customers, as_of) @ similarity).tocoo()
    row, article = scores.coords
    return _ranked(row, article, scores.data, len(customers), k)


def _recent_best_sellers(log: PurchaseLog, as_of: int, k: int) -> Int32:
    recent = best_articles(recent_sales(log, as_of), k)
    ever = best_articles(log.sales_between(0, as_of).astype(np.float64), k)
    return chain(recent[None], ever[None], k=k)[0]


def on_sale(log: PurchaseLog, as_of: int) -> npt.NDArray[np.bool_]:
    """``[n_articles]`` whether anybody bought the article in the last ``ON_SALE_DAYS``."""
    return log.sales_between(as_of - ON_SALE_DAYS, as_of) > 0


def best_articles(sales: npt.NDArray[Any], k: int) -> Int32:
    """``[k]`` the articles with the highest positive sales, equal ones in catalogue order; -1 padding."""
    best = np.argsort(-sales, kind="stable")[:k]
    ranked = np.where(sales[best] > 0, best, -1).astype(np.int32)
    return np.pad(ranked, (0, k - len(ranked)), constant_values=-1)


def _for_everyone(ranked: Int32, customers: Int32) -> Int32:
    return np.tile(ranked, (len(customers), 1))


def _in_chunks(rankings: Callable[[Int32], list[Int32]], customers: Int32, fill: Int32, k: int) -> Int32:
    """Chain the rankings of every customer with the fill, a chunk of customers at a time."""
    ranked = np.empty((len(customers), k), dtype=np.int32)
    for low in range(0, len(customers), CHUNK):
        part = customers[low : low + CHUNK]
        ranked[low : low + CHUNK] = chain(*rankings(part), fill, k=k)
    return ranked


def _ranked(row: Int, article: Int, score: Float64, n: int, k: int) -> Int32:
    """``[n, k]`` each row's articles by falling score; those with a score of 0 are excluded."""
    order = _order(row, score)
    order = order[score[order] > 0]
    return _left_aligned(row[order], article[order], n, k)


def _order(row: Int, score: Float64) -> Int64:
    """The order of the entries by row and, inside a row, by falling score (0 or more)."""
    # One float key, the row number minus a score squeezed below 1, sorts 20 times faster than a lexsort.
    squeezed = score / (1.0001 * score.max(initial=1e-9))
    return np.argsort(row - squeezed, kind="stable")


def _place(row: Int) -> Int64:
    """``[m]`` number of earlier entries with the same row; ``row`` is ascending."""
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    return np.arange(len(row)) - np.repeat(starts, np.diff(starts, append=len(row)))


def _left_aligned(row: Int, articles: Int, n: int, k: int) -> Int32:
    """``[n, k]`` from entries sorted by row; entries beyond k of a row are cut."""
    place = _place(row)
    keep = place < k
    ranked = np.full((n, k), -1, dtype=np.int32)
    ranked[row[keep], place[keep]] = articles[keep]
    return ranked
