"""The weights of a score, and the vectors whose dot product is most of it.

    score = scale x cosine + popularity x log popularity + repurchase

    repurchase = bought + log_days x log(days since)   for an article that the customer bought before,
                 variant                               for another article of the same product,
                 0                                     for the rest

For a customer without a history, popularity counts ``cold_start`` times: their embedding is a guess from attributes.

All terms but repurchase fold into one dot product, which ScaNN searches. Repurchase concerns a handful of articles and
is added after the search (:mod:`hm_utils.model.scorer`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hm_utils.arrays import Float32
from hm_utils.data.histories import Histories
from hm_utils.data.popularity import LOGIT_ADJUSTMENT


@dataclass(frozen=True)
class Scoring:
    """The weights of a score; the default is the two-tower as it was trained.

    Attributes:
        popularity: weight of an article's log popularity in the last days.
        bought: added to an article that the customer bought before.
        log_days: times the log of the days since the last purchase, added to the same.
        variant: added to an article that they did not buy, of a product that they bought in another colour or cut.
        cold_start: factor of ``popularity`` for a customer without a history.
    """

    popularity: float = LOGIT_ADJUSTMENT
    bought: float = 0.0
    log_days: float = 0.0
    variant: float = 0.0
    cold_start: float = 1.0

    @property
    def has_repurchase(self) -> bool:
        return self.bought != 0 or self.log_days != 0 or self.variant != 0


TOWERS_ALONE = Scoring()


def fold_articles(vectors: Float32, bonus: Float32, scale: float) -> Float32:
    """``[n, d + 2]`` unit vectors that carry a number for each article beside its direction.

    With :func:`fold_customers`, a dot product ranks as ``scale x cosine + bonus``. One dimension holds the bonus, one
    more fills the vector up to unit length (the reduction of inner products to cosines of Bachrach et al., RecSys
    2014). :func:`factor` turns the dot product back into the score.

    The bonus is large here and small in the customers' vectors, where it has the size of any other coordinate. A tree
    of leaves puts close articles together, and this way close means similar scores for most customers. (With a bonus
    of the same size on both sides, a full-size model needs 257 of 650 leaves for the recall of 6 of 325.)

    Args:
        vectors: ``[n, d]`` unit vectors.
        bonus: ``[n]``.
        scale: factor of the cosine.
    """
    extra = bonus / np.float32(scale * _folded_in(vectors))
    longest = 1 + float(np.square(extra, dtype=np.float64).max())
    rest = np.sqrt(np.maximum(longest - 1 - np.square(extra, dtype=np.float64), 0))
    folded = np.column_stack([vectors, extra, rest]) / np.sqrt(longest)
    return folded.astype(np.float32)


def fold_customers(vectors: Float32, share: Float32 | float = 1.0) -> Float32:
    """``[n, d + 2]`` vectors to compare with :func:`fold_articles`' from ``[n, d]``.

    ``share`` (``[n]`` or one for all) multiplies the bonus. At 1, unit vectors stay unit vectors.
    """
    folded = np.zeros((len(vectors), vectors.shape[1] + 2), dtype=np.float32)
    bonus = _folded_in(vectors)
    folded[:, :-2], folded[:, -2] = vectors, bonus * share
    folded /= np.float32(np.sqrt(1 + bonus**2))
    return folded


def factor(folded: Float32, scale: float) -> float:
    """The factor that turns a dot product of folded vectors into a score."""
    longest = 1 / float(np.linalg.norm(folded[0, :-2].astype(np.float64)))
    return scale * longest * float(np.sqrt(1 + _folded_in(folded[:, :-2]) ** 2))


def popularity_share(histories: Histories, scoring: Scoring) -> Float32:
    """``[n]`` the factor of popularity for each customer."""
    return np.where(histories.mask.any(axis=1), 1.0, scoring.cold_start).astype(np.float32)


def _folded_in(vectors: Float32) -> float:
    """The customers' coordinate of the bonus: the root mean square of a unit vector's coordinates."""
    return float(vectors.shape[1] ** -0.5)
