"""The one place where vectors become scores. Evaluation and service rank with the same object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hm_utils.arrays import Float32, Int32
from hm_utils.data.histories import Histories
from hm_utils.model.repurchase import MAX_VARIANTS, OWN_LENGTH, Relatives, Variants, relatives
from hm_utils.model.scoring import Scoring, factor, fold_articles, fold_customers, popularity_share

# (queries [n, d], k) → article rows [n, k], best first and padded with -1, and their dot products, -inf there.
Search = Callable[[Float32, int], tuple[Int32, Float32]]

PAIRS = 16_384  # pairs of a customer and an article whose vectors are held at once


@dataclass(frozen=True)
class Scorer:
    """Scores of a model as of a day, see :mod:`hm_utils.model.scoring`.

    Attributes:
        scoring: the weights.
        vectors: ``[n_articles, d + 2]`` unit vectors to search, popularity folded in.
        variants: the articles of every product on sale.
        scale: the learned scale of the cosine.
    """

    scoring: Scoring
    vectors: Float32
    variants: Variants
    scale: float

    @classmethod
    def build(
        cls, scoring: Scoring, article_vectors: Float32, popularity: Float32, variants: Variants, scale: float
    ) -> Scorer:
        """From the item tower's vectors ``[n_articles, vector_dim]`` and each article's log popularity."""
        bonus = np.float32(scoring.popularity) * popularity
        return cls(scoring, fold_articles(article_vectors, bonus, scale), variants, scale)

    @cached_property
    def factor(self) -> float:
        """The factor that turns a dot product into a score."""
        return factor(self.vectors, self.scale)

    def queries(self, users: Float32, histories: Histories) -> Float32:
        """``[n, d + 2]`` vectors to search :attr:`vectors` with, from the user tower's ``[n, vector_dim]``."""
        return fold_customers(users, popularity_share(histories, self.scoring))

    def relatives(self, histories: Histories) -> Relatives:
        """The articles of each customer that have a repurchase term."""
        return relatives(histories, self.variants)

    def rank(self, search: Search, queries: Float32, related: Relatives, k: int) -> tuple[Int32, Float32]:
        """The k best articles by the whole score: of those that a search of :attr:`vectors` finds, and the relatives.

        Returns:
            ``articles [n, k]`` and ``scores [n, k]``, padded like the search's.
        """
        if not self.scoring.has_repurchase:
            found, dots = search(queries, k)
            return found, dots * np.float32(self.factor)
        # An article with a negative term moves down, perhaps out of the ranking, so the search goes deeper. The depth
        # is the same for every customer: it must not depend on the rest of the batch.
        found, dots = search(queries, k + OWN_LENGTH + (MAX_VARIANTS if self.scoring.variant < 0 else 0))
        scores_of_related = self.dot_product_scores(queries, related.articles)
        return add_repurchase(found, dots * np.float32(self.factor), related, scores_of_related, self.scoring, k)

    def dot_product_scores(self, queries: Float32, articles: Int32) -> Float32:
        """``[n, c]`` scores of each customer's ``articles`` without repurchase; 0 where padded with -1."""
        scores = np.zeros(articles.shape, dtype=np.float32)
        row, column = np.nonzero(articles >= 0)
        for start in range(0, len(row), PAIRS):
            pairs = row[start : start + PAIRS], column[start : start + PAIRS]
            # One dot product a pair: a score does not depend on the rest of the batch, to the last bit.
            scores[pairs] = np.vecdot(self.vectors[articles[pairs]], queries[pairs[0]])
        return scores * np.float32(self.factor)

    def scores(self, queries: Float32, related: Relatives, articles: Int32) -> Float32:
        """``[n, c]`` the whole scores of each customer's ``articles``."""
        same = related.articles[:, None, :] == articles[:, :, None]
        repurchase = (same * related.bonus(self.scoring)[:, None, :]).sum(axis=2)
        return self.dot_product_scores(queries, articles) + repurchase

    def scores_of_all(self, queries: Float32, related: Relatives) -> Float32:
        """``[n, n_articles]`` the whole scores of the catalogue."""
        scores = queries @ self.vectors.T * np.float32(self.factor)
        row, column = np.nonzero(related.articles >= 0)
        scores[row, related.articles[row, column]] += related.bonus(self.scoring)[row, column]
        return scores


def add_repurchase(
    articles: Int32, scores: Float32, related: Relatives, scores_of_related: Float32, scoring: Scoring, k: int
) -> tuple[Int32, Float32]:
    """Rank a search's articles together with the customer's relatives, whose scores get the repurchase terms.

    Args:
        articles: ``[n, m]`` from the search, padded with -1; m should be k plus the number of relatives with a
            negative term, as some of them may move down.
        scores: ``[n, m]`` of ``articles``.
        related: ``[n, c]``.
        scores_of_related: ``[n, c]`` scores of ``related`` without the repurchase terms.
        k: length of the ranking.

    Returns:
        ``articles [n, k]``, best first and padded with -1, and ``scores [n, k]``, -inf there.
    """
    present = related.articles >= 0
    mine = np.where(present, related.articles, -2)  # -2 is equal to no padding
    found_again = (articles[:, :, None] == mine[:, None, :]).any(axis=2)
    candidates = np.concatenate([articles, related.articles], axis=1)
    score = np.concatenate(
        [
            np.where(found_again | (articles < 0), -np.inf, scores),
            np.where(present, scores_of_related + related.bonus(scoring), -np.inf),
        ],
        axis=1,
    ).astype(np.float32)
    order = np.lexsort((candidates, -score), axis=1)[:, :k]
    rows = np.arange(len(order))[:, None]
    ranked, highest = np.full((len(order), k), -1, np.int32), np.full((len(order), k), -np.inf, np.float32)
    highest[:, : order.shape[1]] = score[rows, order]
    ranked[:, : order.shape[1]] = np.where(np.isfinite(score[rows, order]), candidates[rows, order], -1)
    return ranked, highest
