"""From vectors to scores: what the towers say, how popular an article is, what the customer owns.

    score = scale x cosine + popularity x log popularity + (bought + log_days x log(days since))

The first two terms are folded into one dot product of unit vectors, so that ScaNN searches them as one.
The last is for the handful of articles that the customer bought before, and is added after the search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hm_utils.dataset import Histories, histories_as_of
from hm_utils.purchases import Int32, PurchaseLog

Float32 = npt.NDArray[np.float32]
Search = Callable[[Float32, int], tuple[Int32, Float32]]

# Purchases of a customer that are looked at for buying again, the latest ones. A list of 100 with as many
# more is still within what the smallest index searches without falling back to exact search.
OWN_LENGTH = 50


@dataclass(frozen=True)
class Scoring:
    """The weights of a score; the default is the two-tower as it was trained, without repurchase.

    Attributes:
        popularity: of an article's log popularity.
        bought: added to an article that the customer bought before.
        log_days: times the log of the days since they bought it last, added to the same.
    """

    popularity: float = 1.0
    bought: float = 0.0
    log_days: float = 0.0

    @property
    def has_repurchase(self) -> bool:
        return self.bought != 0 or self.log_days != 0


TOWERS_ALONE = Scoring()


def fold_articles(vectors: Float32, bonus: Float32, scale: float) -> Float32:
    """``[n, d + 2]`` unit vectors that carry a number for each article beside its direction.

    With :func:`fold_customers`, a dot product ranks as ``scale x cosine + bonus``: one dimension holds
    the bonus, one more fills the vector up to unit length (the reduction of inner products to cosines of
    Bachrach et al., RecSys 2014). :func:`factor` turns the dot product back into the score.

    Args:
        vectors: ``[n, d]`` unit vectors.
        bonus: ``[n]``.
        scale: of the cosine.
    """
    extra = bonus / np.float32(scale)
    longest = 1 + float(np.square(extra, dtype=np.float64).max())
    rest = np.sqrt(np.maximum(longest - 1 - np.square(extra, dtype=np.float64), 0))
    folded = np.column_stack([vectors, extra, rest]) / np.sqrt(longest)
    return folded.astype(np.float32)


def fold_customers(vectors: Float32) -> Float32:
    """``[n, d + 2]`` unit vectors to compare with :func:`fold_articles`' from ``[n, d]`` unit vectors."""
    ones, zeros = np.ones(len(vectors), np.float32), np.zeros(len(vectors), np.float32)
    return np.column_stack([vectors, ones, zeros]).astype(np.float32) / np.float32(np.sqrt(2))


def unfold_articles(folded: Float32) -> Float32:
    """``[n, d]`` the unit vectors that :func:`fold_articles` was given."""
    vectors = folded[:, :-2]
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def factor(folded: Float32, scale: float) -> float:
    """What a dot product of folded vectors is multiplied with to be a score."""
    return scale * float(np.sqrt(2)) / float(np.linalg.norm(folded[0, :-2].astype(np.float64)))


def own_articles(log: PurchaseLog, customers: Int32, as_of: int, length: int = OWN_LENGTH) -> Histories:
    """What each customer bought before ``as_of``, each article once, with the days since the last time."""
    histories = histories_as_of(log, customers, as_of, length)
    # Newest first, so a stable sort leaves the latest purchase of an article in front.
    keyed = np.where(histories.mask, histories.articles, -1)
    order = np.argsort(keyed, axis=1, kind="stable")
    ordered = np.take_along_axis(keyed, order, axis=1)
    again = np.zeros_like(histories.mask)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    repeated = np.empty_like(again)
    np.put_along_axis(repeated, order, again, axis=1)
    return Histories(histories.articles, histories.days_since, histories.mask & ~repeated)


def own_scores(vectors: Float32, scale: float, queries: Float32, own: Histories) -> Float32:
    """``[n, h]`` scores of the customers' own articles without the repurchase terms; 0 where masked.

    Args:
        vectors, queries: folded.
        scale: of the cosine.
    """
    dots = np.vecdot(np.take(vectors, own.articles, axis=0), queries[:, None, :])
    return np.where(own.mask, dots * np.float32(factor(vectors, scale)), 0)


def best(
    search: Search, vectors: Float32, scale: float, queries: Float32, own: Histories, scoring: Scoring, k: int
) -> tuple[Int32, Float32]:
    """The k best articles by the whole score: those that a search of the folded vectors finds, and the own.

    Args:
        search: folded queries, how many → article rows ``[n, k]``, best first and -1 where there are no
            more, and their dot products, -inf there.
        vectors, queries: folded; the articles' with ``scoring.popularity`` times log popularity.
        scale: of the cosine.
        own: from :func:`own_articles`.

    Returns:
        ``articles [n, k]`` and ``scores [n, k]``, padded as the search's.
    """
    # The own articles may move down, out of the list: as many more are looked at. For everybody alike, as the
    # depth must not depend on who else is in the batch.
    found, dots = search(queries, k + OWN_LENGTH if scoring.has_repurchase else k)
    scores = dots * np.float32(factor(vectors, scale))
    if not scoring.has_repurchase:
        return found, scores
    return add_repurchase(found, scores, own, own_scores(vectors, scale, queries, own), scoring, k)


def add_repurchase(
    articles: Int32, scores: Float32, own: Histories, own_scores: Float32, scoring: Scoring, k: int
) -> tuple[Int32, Float32]:
    """Rank the articles found together with the customer's own, whose scores get the repurchase terms.

    Args:
        articles: ``[n, m]`` found by the search, -1 padding; m should be k plus the own articles, as
            some of them may move down.
        scores: ``[n, m]`` of them.
        own: ``[n, h]`` from :func:`own_articles`.
        own_scores: ``[n, h]`` scores of them without the repurchase terms.
        k: length of the result.

    Returns:
        ``articles [n, k]``, best first and -1 where there are no more, and ``scores [n, k]``, -inf there.
    """
    mine = np.where(own.mask, own.articles, -2)  # -2 is equal to no padding
    found_again = (articles[:, :, None] == mine[:, None, :]).any(axis=2)
    with_bonus = own_scores + scoring.bought + scoring.log_days * np.log(np.maximum(own.days_since, 1))
    candidates = np.concatenate([articles, own.articles], axis=1)
    score = np.concatenate(
        [np.where(found_again | (articles < 0), -np.inf, scores), np.where(own.mask, with_bonus, -np.inf)], axis=1
    ).astype(np.float32)
    order = np.lexsort((candidates, -score), axis=1)[:, :k]
    ranked, best = np.take_along_axis(candidates, order, axis=1), np.take_along_axis(score, order, axis=1)
    missing = k - ranked.shape[1]
    ranked = np.pad(np.where(np.isfinite(best), ranked, -1), ((0, 0), (0, max(0, missing))), constant_values=-1)
    best = np.pad(best, ((0, 0), (0, max(0, missing))), constant_values=-np.inf)
    return ranked.astype(np.int32), best
