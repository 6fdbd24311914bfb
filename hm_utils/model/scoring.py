"""The weights of a score, and the vectors whose dot product is most of it.

    score = taste x scale x cosine + popularity x log popularity

``scale x cosine`` is the towers' logit. A customer without purchases has weights of their own, ``cold_taste`` and
``cold_popularity``: their embedding is a guess from attributes. An article that a customer bought before has another
score, with the terms of :mod:`hm_utils.model.repurchase`:

    score = taste x scale x cosine + popularity x log popularity + sum of weight x term

and so has a variant of such an article, with the first two weights as for any other article.

The first form is one dot product, which ScaNN searches. The second concerns a handful of articles, which are ranked
among those that the search finds (:mod:`hm_utils.model.scorer`). Fitted scores are log odds: their softmax is the
probability that a purchase is of this article.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hm_utils.arrays import Float32
from hm_utils.data.popularity import LOGIT_ADJUSTMENT

# Weights that divide others are at least this.
SMALL = 0.05


@dataclass(frozen=True)
class Repurchase:
    """The weights for an article that the customer bought before: of the towers, of popularity, and of each term of
    :data:`hm_utils.model.repurchase.TERMS`, in their order. ``variant`` concerns the variants of such articles."""

    taste: float = 0.0
    popularity: float = 0.0
    bought: float = 0.0
    recent: float = 0.0
    days_since: float = 0.0
    times: float = 0.0
    variety: float = 0.0
    again: float = 0.0
    due: float = 0.0
    price: float = 0.0
    variant: float = 0.0

    @property
    def terms(self) -> list[float]:
        """The weights of the terms."""
        return list(vars(self).values())[2:]


@dataclass(frozen=True)
class Scoring:
    """The weights of a score, all at least 0 but for repurchase; the default is the two-tower as it was trained.

    Attributes:
        taste: weight of the towers' logit.
        popularity: weight of an article's log popularity in the last days.
        cold_taste, cold_popularity: the same for a customer without purchases.
        repurchase: None to treat articles bought before as any other.
    """

    taste: float = 1.0
    popularity: float = LOGIT_ADJUSTMENT
    cold_taste: float = 1.0
    cold_popularity: float = LOGIT_ADJUSTMENT
    repurchase: Repurchase | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scoring:
        """The inverse of ``dataclasses.asdict``. Raises TypeError for other fields."""
        repurchase = values["repurchase"]
        return cls(**values | {"repurchase": repurchase and Repurchase(**repurchase)})

    @property
    def weights(self) -> list[float]:
        """Every weight."""
        own = [] if self.repurchase is None else list(vars(self.repurchase).values())
        return [self.taste, self.popularity, self.cold_taste, self.cold_popularity, *own]

    @property
    def largest(self) -> tuple[float, float]:
        """The larger weight of the towers' logit, and of popularity, over all customers."""
        return max(self.taste, self.cold_taste, SMALL), max(self.popularity, self.cold_popularity, SMALL)


TOWERS_ALONE = Scoring()

# A simple baseline as a point of the model: every article bought before, by the sum of 1 / days, then the recent
# best-sellers. Equal scores are in order of popularity.
BEST_SELLERS = Scoring(taste=0.0, popularity=1.0, cold_taste=0.0, cold_popularity=1.0)
CHAIN = Scoring(0.0, 1.0, 0.0, 1.0, Repurchase(bought=100.0, recent=1.0))


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


def _folded_in(vectors: Float32) -> float:
    """The customers' coordinate of the bonus: the root mean square of a unit vector's coordinates."""
    return float(vectors.shape[1] ** -0.5)
