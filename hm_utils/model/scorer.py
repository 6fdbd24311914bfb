"""The one place where vectors become scores. Evaluation and service rank with the same object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Bool, Float32, Float64, Int32, Int64
from hm_utils.data.histories import Purchases
from hm_utils.model.repurchase import Relatives, RepeatRates, Variants, relatives
from hm_utils.model.scoring import Scoring, factor, fold_articles, fold_customers

# (queries [n, d], k) → article rows [n, k], best first and padded with -1, and their dot products, -inf there.
Search = Callable[[Float32, int], tuple[Int32, Float32]]

# Articles to find beyond k, as relatives are ranked apart. It is the same for every customer: what is found must not
# depend on the rest of the batch. A ranking of 100 with this number more is still within the depth of the smallest
# index, which does not fall back to exact search then.
MARGIN = 50
PAIRS = 16_384  # pairs of a customer and an article whose vectors are held at once


@dataclass(frozen=True)
class Scorer:
    """Scores of a model as of a day, see :mod:`hm_utils.model.scoring`.

    Attributes:
        scoring: the weights.
        vectors: ``[n_articles, d + 2]`` unit vectors to search, popularity folded in.
        article_vectors: ``[n_articles, d]`` the item tower's unit vectors.
        popularity: ``[n_articles]`` log popularity.
        variants: the articles of every product on sale.
        rates: how each article is bought again by anybody.
        scale: the learned scale of the cosine.
        folded: the weights that ``vectors`` were folded with, of the towers and of popularity; None for those of
            ``scoring``.
    """

    scoring: Scoring
    vectors: Float32
    article_vectors: Float32
    popularity: Float32
    variants: Variants
    rates: RepeatRates
    scale: float
    folded: tuple[float, float] | None = None

    @classmethod
    def build(
        cls,
        scoring: Scoring,
        article_vectors: Float32,
        popularity: Float32,
        variants: Variants,
        rates: RepeatRates,
        scale: float,
    ) -> Scorer:
        """Fold popularity into the vectors to search."""
        taste, weight = scoring.largest
        vectors = fold_articles(article_vectors, np.float32(weight) * popularity, taste * scale)
        return cls(scoring, vectors, article_vectors, popularity, variants, rates, scale)

    def with_weights(self, scoring: Scoring) -> Scorer:
        """The scores of other weights over the same vectors: a query can carry any weights."""
        return replace(self, scoring=scoring, folded=self._folded)

    @property
    def _folded(self) -> tuple[float, float]:
        return self.folded or self.scoring.largest

    @cached_property
    def factor(self) -> float:
        """The factor that turns a dot product into a score."""
        return factor(self.vectors, self._folded[0] * self.scale)

    def relatives(self, purchases: Purchases) -> Relatives:
        """The articles that each customer bought before, and the variants of these."""
        return relatives(purchases, self.variants, self.rates)

    def queries(self, users: Float32, returning: Bool) -> Float32:
        """``[n, d + 2]`` vectors to search :attr:`vectors` with.

        Args:
            users: ``[n, d]`` from the user tower.
            returning: ``[n]`` whether the customer bought anything.
        """
        taste, popularity = self._weights(returning)
        largest_taste, largest_popularity = self._folded
        weighted = users * (taste / largest_taste).astype(np.float32)[:, None]
        return fold_customers(weighted, (popularity / largest_popularity).astype(np.float32))

    def rank(self, search: Search, users: Float32, related: Relatives, k: int) -> tuple[Int32, Float32]:
        """The k best articles by the whole score: of those that a search of :attr:`vectors` finds, and the relatives.

        Equal scores are in order of popularity, then of article row.

        Returns:
            ``articles [n, k]`` and ``scores [n, k]``, padded like the search's.
        """
        queries = self.queries(users, related.returning)
        if self.scoring.repurchase is None:
            found, dots = search(queries, k)
            return found, dots * np.float32(self.factor)
        found, dots = _others(search, queries, related, k)
        own, scores = self._best_relatives(users, related, k)
        candidates = np.concatenate([found, own], axis=1)
        score = np.concatenate([dots * np.float32(self.factor), scores], axis=1, dtype=np.float64)
        order = np.lexsort((candidates, -self.popularity[candidates], -score), axis=1)[:, :k]
        row = np.arange(len(order))[:, None]
        return candidates[row, order], score[row, order].astype(np.float32)

    def scores(self, users: Float32, related: Relatives, articles: Int32) -> Float32:
        """``[n, c]`` the whole scores of each customer's ``articles``."""
        owner = np.repeat(np.arange(len(articles)), articles.shape[1])
        logits = self.logits(users, owner, articles.ravel()).reshape(articles.shape)
        taste, popularity = (weight[:, None] for weight in self._weights(related.returning))
        scores = taste * logits + popularity * self.popularity[articles]
        if self.scoring.repurchase is not None and len(related.owner):
            place = related.place(articles)
            scores = np.where(place >= 0, self.scores_of_related(users, related)[place], scores)
        return scores.astype(np.float32)

    def scores_of_all(self, users: Float32, related: Relatives) -> Float32:
        """``[n, n_articles]`` the whole scores of the catalogue."""
        scores = self.queries(users, related.returning) @ self.vectors.T * np.float32(self.factor)
        if self.scoring.repurchase is not None:
            scores[related.owner, related.articles] = self.scores_of_related(users, related)
        return scores

    def scores_of_related(self, users: Float32, related: Relatives) -> Float64:
        """``[m]`` the whole scores of the relatives."""
        weights = self.scoring.repurchase
        assert weights is not None
        logits = self.logits(users, related.owner, related.articles)
        taste = np.where(related.bought, weights.taste, self.scoring.taste)
        popularity = np.where(related.bought, weights.popularity, self.scoring.popularity)
        scores = taste * logits + popularity * self.popularity[related.articles]
        for weight, term in zip(weights.terms, related.terms, strict=True):
            scores += weight * term  # not a matrix product, which rounds differently in a batch of another size
        return scores

    def logits(self, users: Float32, owner: Int64, articles: npt.NDArray[np.integer]) -> Float32:
        """``[m]`` the towers' logits of pairs of a customer (a place in ``users``) and an article."""
        logits = np.empty(len(owner), dtype=np.float32)
        for start in range(0, len(owner), PAIRS):
            part = slice(start, start + PAIRS)
            # One dot product a pair: a score does not depend on the rest of the batch, to the last bit.
            np.vecdot(self.article_vectors[articles[part]], users[owner[part]], out=logits[part])
        return logits * np.float32(self.scale)

    def _weights(self, returning: Bool) -> tuple[Float64, Float64]:
        """``[n]`` each customer's weight of the towers' logit, and of popularity."""
        scoring = self.scoring
        return (
            np.where(returning, scoring.taste, scoring.cold_taste),
            np.where(returning, scoring.popularity, scoring.cold_popularity),
        )

    def _best_relatives(self, users: Float32, related: Relatives, k: int) -> tuple[Int32, Float64]:
        """``[n, c]`` the best relatives of each customer, at least k, and their scores; padded with -1 and -inf."""
        scores, owner, articles = self.scores_of_related(users, related), related.owner, related.articles
        place = np.arange(len(owner)) - np.searchsorted(owner, owner)
        if place.max(initial=-1) >= k + MARGIN:  # only the best are needed
            order = np.lexsort((articles, -self.popularity[articles], -scores, owner))
            order = order[place < k]
            scores, owner, articles, place = scores[order], owner[order], articles[order], place[place < k]
        shape = len(users), int(place.max(initial=-1)) + 1
        padded, best = np.full(shape, -1, dtype=np.int32), np.full(shape, -np.inf)
        padded[owner, place], best[owner, place] = articles, scores
        return padded, best


def _others(search: Search, queries: Float32, related: Relatives, k: int) -> tuple[Int32, Float32]:
    """``[n, k + MARGIN]`` the best articles and their dot products, at least k of them (if there are so many) no
    relatives; -1 and -inf instead of relatives."""
    found, dots = search(queries, k + MARGIN)
    relative = related.place(found) >= 0
    found[relative], dots[relative] = -1, -np.inf
    # Where relatives fill more than the margin, the search goes deep enough for all of them.
    for row in np.flatnonzero(relative.sum(axis=1) > MARGIN):
        of_row = related.owner == row
        deeper, their_dots = search(queries[[row]], k + int(of_row.sum()))
        other = np.flatnonzero(~np.isin(deeper[0], related.articles[of_row]))[:k]
        found[row], dots[row] = -1, -np.inf
        found[row, : len(other)], dots[row, : len(other)] = deeper[0, other], their_dots[0, other]
    return found, dots
