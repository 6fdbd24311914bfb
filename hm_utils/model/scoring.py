"""From vectors to scores: what the towers say, how popular an article is, what the customer owns.

    score = scale x (taste + name x name's part) + popularity x log popularity + repurchase

The cosine of two tower vectors is the sum of two dot products, that of their tastes and that of their names
(``towers.ItemTower``); at name = 1 the first term is scale x cosine.

    repurchase = bought + log_days x log(days since)   for an article that the customer bought before,
                 sibling                               for another article of the same product as one of these,
                 0                                     for the rest

For a customer without a history, popularity counts ``newcomers`` times: their taste is a guess from their attributes.

All but repurchase is folded into one dot product, so that ScaNN searches it as one.
Repurchase is for a handful of articles, and is added after the search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hm_utils.arrays import Bool, Float32, Int32, Int64
from hm_utils.data.examples import Histories
from hm_utils.data.features import FIRST_CODE
from hm_utils.data.popularity import LOGIT_ADJUSTMENT
from hm_utils.model.towers import IDENTITY_SHARE

Search = Callable[[Float32, int], tuple[Int32, Float32]]

# Purchases of a customer that are looked at for buying again, the latest ones. A list of 100 with as many
# more is still within what the smallest index searches without falling back to exact search.
OWN_LENGTH = 50
MAX_VARIANTS = 50  # articles of the same products at most, those of the latest purchases first
PAIRS = 16_384  # of a customer and an article whose vectors are held at once


@dataclass(frozen=True)
class Scoring:
    """The weights of a score; the default is the two-tower as it was trained.

    Attributes:
        name: of the names' part of the cosine; 0 where repurchase has terms of its own.
        popularity: of an article's log popularity in the last days.
        bought: added to an article that the customer bought before.
        log_days: times the log of the days since they bought it last, added to the same.
        sibling: added to an article that they did not buy, of a product that they bought in another colour or cut.
        newcomers: how many times ``popularity`` counts for a customer without a history.
    """

    name: float = 1.0
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

    With :func:`fold_customers`, a dot product ranks as ``scale x cosine + bonus``: one dimension holds
    the bonus, one more fills the vector up to unit length (the reduction of inner products to cosines of
    Bachrach et al., RecSys 2014). :func:`factor` turns the dot product back into the score.

    The bonus is large here and small in the customers' vectors, where it is the size of any other coordinate. A tree
    of leaves puts close articles together, and this way close means of similar scores for most customers. (With a bonus
    as large on one side as on the other, a full-size model's search needs 257 of 650 leaves for what 6 of 325 find.)

    Args:
        vectors: ``[n, d]`` unit vectors.
        bonus: ``[n]``.
        scale: of the cosine.
    """
    extra = bonus / np.float32(scale * _folded_in(vectors))
    longest = 1 + float(np.square(extra, dtype=np.float64).max())
    rest = np.sqrt(np.maximum(longest - 1 - np.square(extra, dtype=np.float64), 0))
    folded = np.column_stack([vectors, extra, rest]) / np.sqrt(longest)
    return folded.astype(np.float32)


def weight_identity(vectors: Float32, identity_dim: int, weight: float) -> Float32:
    """Customers' vectors whose last ``identity_dim`` coordinates, the name, count ``weight`` times: ``[n, d]``, or
    ``[n, d - identity_dim]`` to compare with :func:`keep_identity`' of weight 0."""
    if weight == 0:
        return vectors[:, :-identity_dim] * np.float32((1 - IDENTITY_SHARE) ** 0.5)
    weights = np.ones(vectors.shape[1], dtype=np.float32)
    weights[-identity_dim:] = weight
    return vectors * weights


def keep_identity(vectors: Float32, identity_dim: int, weight: float) -> Float32:
    """Articles' unit vectors ``[n, d]`` as searched: where names count nothing without them, ``[n, d - identity_dim]``.

    Random directions would only keep similar articles apart.
    """
    return vectors if weight else vectors[:, :-identity_dim] / np.float32((1 - IDENTITY_SHARE) ** 0.5)


def fold_customers(vectors: Float32, share: Float32 | float = 1.0) -> Float32:
    """``[n, d + 2]`` vectors to compare with :func:`fold_articles`' from ``[n, d]``; ``share`` (``[n]`` or one for all)
    is how many times the bonus counts. Unit vectors where those are and it counts once."""
    folded = np.zeros((len(vectors), vectors.shape[1] + 2), dtype=np.float32)
    bonus = _folded_in(vectors)
    folded[:, :-2], folded[:, -2] = vectors, bonus * share
    folded /= np.float32(np.sqrt(1 + bonus**2))
    return folded


def popularity_share(histories: Histories, scoring: Scoring) -> Float32:
    """``[n]`` how many times popularity counts for each customer."""
    return np.where(histories.mask.any(axis=1), 1.0, scoring.cold_start).astype(np.float32)


def _folded_in(vectors: Float32) -> float:
    """The coordinate that the bonus is multiplied with: the root mean square of those of a unit vector."""
    return float(vectors.shape[1] ** -0.5)


def factor(folded: Float32, scale: float) -> float:
    """What a dot product of folded vectors is multiplied with to be a score."""
    longest = 1 / float(np.linalg.norm(folded[0, :-2].astype(np.float64)))
    return scale * longest * float(np.sqrt(1 + _folded_in(folded[:, :-2]) ** 2))


@dataclass(frozen=True)
class Variants:
    """The articles of every product that are on sale.

    Attributes:
        product: ``[n_articles]`` code of each article's product; -1 where it is not known.
        offsets: ``[n_products + 1]``; product p's articles on sale are ``articles[offsets[p]:offsets[p + 1]]``.
        articles: ``[m]`` article rows.
    """

    product: Int32
    offsets: Int64
    articles: Int32

    @classmethod
    def on_sale(cls, codes: Int32, on_sale: Bool) -> Variants:
        """From the codes of the products (``[n_articles]``, see ``features``: below 2 is none) and what is on sale."""
        product = np.where(codes >= FIRST_CODE, codes - FIRST_CODE, -1).astype(np.int32)
        articles = np.flatnonzero(on_sale & (product >= 0))
        articles = articles[np.argsort(product[articles], kind="stable")]
        counts = np.bincount(product[articles], minlength=int(product.max(initial=-1)) + 1)
        return cls(product, np.concatenate([[0], np.cumsum(counts)]), articles.astype(np.int32))

    def of(self, own: Histories, most: int = MAX_VARIANTS) -> Int32:
        """``[n, s]`` the siblings of each customer's own articles, none of them own, -1 where there are no more.

        Args:
            own: from :func:`own_articles`, newest first: so are the products, whose articles come one after another.
            most: of a customer's siblings, own ones counted, that are looked at.
        """
        product = np.where(own.mask, self.product[own.articles], -1)
        first = _first_of_each(product, product >= 0)
        begin = np.where(first, self.offsets[product], 0)
        count = np.where(first, self.offsets[product + 1] - begin, 0)
        upto = np.cumsum(count, axis=1)
        count = np.clip(most - (upto - count), 0, count)
        row, column = np.nonzero(count)
        lengths = count[row, column]
        before = np.cumsum(lengths) - lengths
        place = np.arange(int(lengths.sum())) - np.repeat(before, lengths)
        found = np.full((len(product), int(count.sum(axis=1).max(initial=0))), -1, dtype=np.int32)
        start_in_row = (np.cumsum(count, axis=1) - count)[row, column]
        found[np.repeat(row, lengths), np.repeat(start_in_row, lengths) + place] = self.articles[
            np.repeat(begin[row, column], lengths) + place
        ]
        mine = np.where(own.mask, own.articles, -2)
        return np.where((found[:, :, None] == mine[:, None, :]).any(axis=2), -1, found)

    def save(self, directory: Path) -> None:
        """Write one ``.npy`` an array."""
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("product", "offsets", "articles"):
            np.save(directory / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> Variants:
        """Memory-map what :meth:`save` wrote."""
        names = ("product", "offsets", "articles")
        return cls(
            *(np.asarray(np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False)) for name in names)
        )


@dataclass(frozen=True)
class Relatives:
    """The articles of each customer that have a repurchase term: what they bought, and the siblings of that.

    Attributes:
        articles: ``[n, c]`` article rows, each once, -1 where there is none.
        bought: ``[n, c]`` whether the customer bought it; false for a sibling.
        log_days: ``[n, c]`` log of the days since they bought it last, 0 for a sibling.
    """

    articles: Int32
    bought: Bool
    log_days: Float32

    @property
    def variant(self) -> Bool:
        """``[n, c]`` whether it is a sibling."""
        return (self.articles >= 0) & ~self.bought

    def among(self, articles: Int32) -> Relatives:
        """Those that are in ``articles`` (rows)."""
        kept = np.isin(self.articles, articles)
        return Relatives(np.where(kept, self.articles, -1), self.bought & kept, self.log_days * kept)

    def bonus(self, scoring: Scoring) -> Float32:
        """``[n, c]`` the repurchase terms."""
        own = self.bought * (scoring.bought + scoring.log_days * self.log_days)
        return (own + scoring.variant * self.variant).astype(np.float32)


def relatives(histories: Histories, variants: Variants) -> Relatives:
    """What each customer bought, with the siblings of that; of a history, the last ``OWN_LENGTH`` purchases."""
    own = own_articles(histories.newest(int(np.flatnonzero(histories.mask.any(axis=0)).max(initial=-1)) + 1))
    others = variants.of(own)
    none = np.zeros(others.shape, dtype=bool)
    return Relatives(
        articles=np.concatenate([np.where(own.mask, own.articles, -1), others], axis=1).astype(np.int32),
        bought=np.concatenate([own.mask, none], axis=1),
        log_days=np.concatenate([np.log(np.maximum(own.days_since, 1)) * own.mask, none], axis=1).astype(np.float32),
    )


def own_articles(histories: Histories) -> Histories:
    """Each article of a history once, with the days since the last time."""
    last = histories.newest(OWN_LENGTH)
    # Newest first, so the first of each article is its latest purchase.
    return replace(last, mask=_first_of_each(last.articles, last.mask))


def _first_of_each(values: Int32, mask: Bool) -> Bool:
    """``[n, h]`` where the mask is true and the value, from 0, is not yet in the row."""
    if not mask.any():
        return mask
    values = np.where(mask, values, -1)
    first = (values[:, :, None] == values[:, None, :]).argmax(axis=2)
    return mask & (first == np.arange(values.shape[1]))


def scores_of(vectors: Float32, times: float, queries: Float32, articles: Int32) -> Float32:
    """``[n, c]`` scores of each customer's ``articles`` without the repurchase terms; 0 where there is none (-1).

    Args:
        vectors, queries: folded.
        times: from :func:`factor`.
    """
    scores = np.zeros(articles.shape, dtype=np.float32)
    row, column = np.nonzero(articles >= 0)
    for start in range(0, len(row), PAIRS):
        pairs = row[start : start + PAIRS], column[start : start + PAIRS]
        # One dot product a pair: a score does not depend on what else is in the batch, to the last bit.
        scores[pairs] = np.vecdot(vectors[articles[pairs]], queries[pairs[0]])
    return scores * np.float32(times)


def best(
    search: Search, vectors: Float32, times: float, queries: Float32, related: Relatives, scoring: Scoring, k: int
) -> tuple[Int32, Float32]:
    """The k best articles by the whole score: those that a search of the folded vectors finds, and the relatives.

    Args:
        search: folded queries, how many → article rows ``[n, k]``, best first and -1 where there are no
            more, and their dot products, -inf there.
        vectors, queries: folded; the articles' with ``scoring.popularity`` times log popularity.
        times: from :func:`factor`.
        related: from :func:`relatives`.

    Returns:
        ``articles [n, k]`` and ``scores [n, k]``, padded as the search's.
    """
    if not scoring.has_repurchase:
        found, dots = search(queries, k)
        return found, dots * np.float32(times)
    # What has a bonus below 0 moves down, perhaps out of the list: as many more are looked at. For everybody
    # alike, as the depth must not depend on who else is in the batch.
    found, dots = search(queries, k + OWN_LENGTH + (MAX_VARIANTS if scoring.variant < 0 else 0))
    own_scores = scores_of(vectors, times, queries, related.articles)
    return add_repurchase(found, dots * np.float32(times), related, own_scores, scoring, k)


def add_repurchase(
    articles: Int32, scores: Float32, related: Relatives, scores_of_related: Float32, scoring: Scoring, k: int
) -> tuple[Int32, Float32]:
    """Rank the articles found together with the customer's relatives, whose scores get the repurchase terms.

    Args:
        articles: ``[n, m]`` found by the search, -1 padding; m should be k plus the relatives with a bonus
            below 0, as some of them may move down.
        scores: ``[n, m]`` of them.
        related: ``[n, c]`` from :func:`relatives`.
        scores_of_related: ``[n, c]`` scores of them without the repurchase terms.
        k: length of the result.

    Returns:
        ``articles [n, k]``, best first and -1 where there are no more, and ``scores [n, k]``, -inf there.
    """
    there = related.articles >= 0
    mine = np.where(there, related.articles, -2)  # -2 is equal to no padding
    found_again = (articles[:, :, None] == mine[:, None, :]).any(axis=2)
    candidates = np.concatenate([articles, related.articles], axis=1)
    score = np.concatenate(
        [
            np.where(found_again | (articles < 0), -np.inf, scores),
            np.where(there, scores_of_related + related.bonus(scoring), -np.inf),
        ],
        axis=1,
    ).astype(np.float32)
    order = np.lexsort((candidates, -score), axis=1)[:, :k]
    rows = np.arange(len(order))[:, None]
    ranked, highest = np.full((len(order), k), -1, np.int32), np.full((len(order), k), -np.inf, np.float32)
    highest[:, : order.shape[1]] = score[rows, order]
    ranked[:, : order.shape[1]] = np.where(np.isfinite(score[rows, order]), candidates[rows, order], -1)
    return ranked, highest
