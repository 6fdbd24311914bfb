"""The articles that a customer may buy again, and the variants of these: other articles of the same product."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hm_utils.arrays import Bool, Float32, Int32, Int64, mapped
from hm_utils.data.features import FIRST_CODE
from hm_utils.data.histories import Histories
from hm_utils.model.scoring import Scoring

# A customer's latest purchases that can have a repurchase term. A ranking of 100 with this number more is still within
# the depth of the smallest index, which does not fall back to exact search then.
OWN_LENGTH = 50
MAX_VARIANTS = 50  # variants of a customer's purchases, those of the latest purchases first
ARRAYS = ("product", "offsets", "articles")


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
        """From product codes (``[n_articles]``, see ``features``; below 2 is none) and the articles on sale."""
        product = np.where(codes >= FIRST_CODE, codes - FIRST_CODE, -1).astype(np.int32)
        articles = np.flatnonzero(on_sale & (product >= 0))
        articles = articles[np.argsort(product[articles], kind="stable")]
        counts = np.bincount(product[articles], minlength=int(product.max(initial=-1)) + 1)
        return cls(product, np.concatenate([[0], np.cumsum(counts)]), articles.astype(np.int32))

    def of(self, own: Histories, most: int = MAX_VARIANTS) -> Int32:
        """``[n, s]`` the variants of each customer's own articles, none of them own, padded with -1.

        Args:
            own: from :func:`own_articles`, newest first. The products keep this order, one after another.
            most: variants a customer at most, own ones counted.
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
        for name in ARRAYS:
            np.save(directory / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> Variants:
        """Memory-map the files of :meth:`save`."""
        return cls(*(mapped(directory / f"{name}.npy") for name in ARRAYS))


@dataclass(frozen=True)
class Relatives:
    """The articles of each customer that have a repurchase term: their purchases, and the variants of these.

    Attributes:
        articles: ``[n, c]`` article rows, each once, padded with -1.
        bought: ``[n, c]`` whether the customer bought it; false for a variant.
        log_days: ``[n, c]`` log of the days since the last purchase, 0 for a variant.
    """

    articles: Int32
    bought: Bool
    log_days: Float32

    @property
    def variant(self) -> Bool:
        """``[n, c]`` whether it is a variant."""
        return (self.articles >= 0) & ~self.bought

    def among(self, articles: Int32) -> Relatives:
        """The relatives that are in ``articles`` (rows)."""
        kept = np.isin(self.articles, articles)
        return Relatives(np.where(kept, self.articles, -1), self.bought & kept, self.log_days * kept)

    def bonus(self, scoring: Scoring) -> Float32:
        """``[n, c]`` the repurchase terms."""
        own = self.bought * (scoring.bought + scoring.log_days * self.log_days)
        return (own + scoring.variant * self.variant).astype(np.float32)


def relatives(histories: Histories, variants: Variants) -> Relatives:
    """The relatives of the last ``OWN_LENGTH`` purchases of each customer."""
    own = own_articles(histories.newest(int(np.flatnonzero(histories.mask.any(axis=0)).max(initial=-1)) + 1))
    others = variants.of(own)
    none = np.zeros(others.shape, dtype=bool)
    return Relatives(
        articles=np.concatenate([np.where(own.mask, own.articles, -1), others], axis=1).astype(np.int32),
        bought=np.concatenate([own.mask, none], axis=1),
        log_days=np.concatenate([np.log(np.maximum(own.days_since, 1)) * own.mask, none], axis=1).astype(np.float32),
    )


def own_articles(histories: Histories) -> Histories:
    """Each article of a history once, with the days since its last purchase."""
    last = histories.newest(OWN_LENGTH)
    # Newest first, so the first of each article is its latest purchase.
    return replace(last, mask=_first_of_each(last.articles, last.mask))


def _first_of_each(values: Int32 | Int64, mask: Bool) -> Bool:
    """``[n, h]`` where the mask is true and the value (0 or more) occurs for the first time in its row."""
    if not mask.any():
        return mask
    values = np.where(mask, values, -1)
    first = (values[:, :, None] == values[:, None, :]).argmax(axis=2)
    return mask & (first == np.arange(values.shape[1]))
