"""A strong ranker: what the simple methods know, joined by a conditional logit that is fitted on the week before.

It stands for the two-stage rankers of the published figures: candidates of several methods, and a model that orders
them by what each method says of them. A customer's purchases are choices among the candidates (McFadden, 1974).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.optimize import minimize

from hm_utils.arrays import Bool, Float32, Float64, Int32, Int64
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.evaluation import baselines

DEPTH = 100  # articles of each method
ON_SALE_DAYS = 28  # an own article without a sale in these is not a candidate
LEAST = 1e-3  # added before a logarithm is taken, and to tell an article that a method does not name
PRIOR_SALES = 200.0  # of all customers, in the sales of an age band


@dataclass(frozen=True)
class Candidates:
    """The m candidates of n customers, by customer, then by article.

    Attributes:
        offsets: ``[n + 1]``; customer i has the candidates ``offsets[i]:offsets[i + 1]``, one at least.
        articles: ``[m]`` article rows.
        facts: ``[m, f]``.
    """

    offsets: Int64
    articles: Int32
    facts: Float32

    @classmethod
    def gather(
        cls,
        log: PurchaseLog,
        customers: Int32,
        as_of: int,
        ages: pd.Series,
        neighbours: sparse.csr_array,
        co_purchased: sparse.csr_array,
    ) -> Candidates:
        """What the methods name for ``customers`` (``[n]`` rows) from purchases before ``as_of``.

        Args:
            ages: ``[n_customers]`` in years by customer row, NaN where unknown.
            neighbours, co_purchased: ``[n, n_articles]`` the scores of the articles that these methods name.
        """
        n, week = len(customers), log.sales_between(as_of - 7, as_of)
        lately = (log.sales_between(as_of - ON_SALE_DAYS, as_of) > 0).astype(float)
        own = sparse.csr_array(baselines.history_matrix(log, customers, as_of) @ sparse.diags_array(lately))
        best = baselines.popularity_by_age(ages)(log, customers, as_of, DEPTH)
        best = np.concatenate([best, np.tile(baselines.best_articles(week, DEPTH), (n, 1))], axis=1)
        popular = sparse.csr_array(
            (np.ones(best.size), best.ravel(), np.arange(0, best.size + 1, best.shape[1])), shape=own.shape
        )
        named = sparse.csr_array(neighbours.sign() + co_purchased.sign() + own.sign() + popular.sign())
        named.eliminate_zeros()
        named.sort_indices()
        customer, article = np.repeat(np.arange(n), np.diff(named.indptr)), named.indices

        everybody = baselines.recent_sales(log, as_of)
        bands = baselines.age_bands(ages)
        sales = [baselines.recent_sales(log, as_of, among=bands == b) for b in range(len(baselines.AGE_BANDS))]
        by_age = np.stack([*sales, everybody]) + PRIOR_SALES * everybody / everybody.sum()
        by_age = np.log(by_age / by_age.sum(axis=1, keepdims=True) + 1e-7)
        popularity = np.stack([np.log1p(week)[article], by_age[bands[customers][customer], article]])
        returning = log.has_bought(customers, as_of)[customer]
        share = neighbours.sum(axis=1)
        weight = _values(own, customer, article)
        facts = [
            np.log(LEAST + _values(neighbours, customer, article) / np.maximum(share, 1e-12)[customer]),
            np.log(LEAST + _values(co_purchased, customer, article)),
            np.log(LEAST + weight),
            weight > 0,
            *popularity,
            *(popularity * returning),  # popularity has another weight for customers who are not new
        ]
        return cls(named.indptr.astype(np.int64), article, np.stack(facts, axis=1).astype(np.float32))

    def fit(self, bought: Baskets) -> Float64:
        """``[f]`` the weights of the facts with the highest likelihood of what these customers ``bought``."""
        chosen = self._chosen(bought)
        sizes, starts = np.diff(self.offsets), self.offsets[:-1]
        purchases = np.repeat(np.add.reduceat(chosen.astype(float), starts), sizes)
        scale = np.maximum(self.facts.std(axis=0), 1e-6)
        facts = self.facts / scale

        def loss(weights: Float64) -> tuple[float, Float64]:
            logit = facts @ weights.astype(np.float32)
            logit -= np.repeat(np.maximum.reduceat(logit, starts), sizes)
            odds = np.exp(logit)
            total = np.repeat(np.add.reduceat(odds, starts), sizes)
            value = (np.log(total) - logit)[chosen].sum()
            gradient = facts.T @ (purchases * odds / total - chosen).astype(np.float32)
            return float(value) / len(bought), gradient.astype(np.float64) / len(bought)

        return minimize(loss, np.zeros(facts.shape[1]), jac=True, method="L-BFGS-B").x / scale

    def rank(self, weights: Float64) -> Int32:
        """``[n, DEPTH]`` each customer's candidates by falling score, -1 padding."""
        n = len(self.offsets) - 1
        customer = np.repeat(np.arange(n), np.diff(self.offsets))
        order = np.lexsort((-(self.facts @ weights), customer))
        place = np.arange(len(customer)) - self.offsets[customer]
        kept = place < DEPTH
        ranked = np.full((n, DEPTH), -1, dtype=np.int32)
        ranked[customer[kept], place[kept]] = self.articles[order][kept]
        return ranked

    def _chosen(self, bought: Baskets) -> Bool:
        pairs = sparse.csr_array((np.ones(len(bought.articles)), bought.articles, bought.offsets))
        customer = np.repeat(np.arange(len(bought)), np.diff(self.offsets))
        return _values(pairs, customer, self.articles) > 0


def _values(matrix: sparse.csr_array, row: npt.NDArray, column: npt.NDArray) -> Float64:
    """``[m]`` the entries at these rows and columns, 0 where there is none."""
    entries = matrix.tocoo()
    width = int(max(column.max(initial=0), entries.coords[1].max(initial=0))) + 1
    keys = entries.coords[0].astype(np.int64) * width + entries.coords[1]
    order = np.argsort(keys)
    keys, wanted = keys[order], row * width + column
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, entries.data[order][at], 0.0)
