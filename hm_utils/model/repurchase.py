"""Buying again: the articles that a customer bought, other articles of the same products, and what speaks for each.

A purchase repeats an earlier one or explores. For a repeat, the articles are few and much is known about each: how
often and when the customer bought it, how often anybody buys it again, and what it costs. :data:`TERMS` are these
facts. Their weights are fitted (:mod:`hm_utils.training.calibration`).

Buying again is most of what simple baselines know (Li et al., "A Next Basket Recommendation Reality Check", TOIS
2023). To model it beside exploring follows RepeatNet (Ren et al., AAAI 2019) and TREx (Li et al., arXiv 2405.01143).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hm_utils.arrays import Bool, Float32, Float64, Int32, Int64, mapped
from hm_utils.data.features import FIRST_CODE, mean_prices
from hm_utils.data.histories import Purchases, purchases_as_of
from hm_utils.data.purchases import PurchaseLog

MAX_VARIANTS = 50  # variants of a customer's purchases, those of the latest purchases first
CUSTOMERS_AT_ONCE = 65_536  # bounds memory
PRIOR_PURCHASES = 10.0  # of the whole shop, in the repeat rate of an article
PRIOR_GAPS = 5.0  # of the whole shop, in the usual gap of an article

# What speaks for an article. All are 0 for a variant but the last, which is 1.
TERMS = {
    "bought": "bought before",
    "recent": "log of the sum of 1 / days since each purchase",
    "days_since": "log of the days since the last purchase",
    "times": "log of the number of days on which the customer bought it",
    "variety": "log of the number of different articles that the customer bought",
    "again": "log odds that anybody buys the article again, less those of the whole shop",
    "due": "distance of the days since the last purchase from the usual gap, as a log ratio",
    "price": "log of the article's mean price, less the mean over all articles",
    "variant": "not bought, but of the product of an article bought before",
}


@dataclass(frozen=True)
class RepeatRates:
    """How each article is bought again by anybody, and its price, as of a day.

    Attributes:
        again: ``[n_articles]`` log odds that a purchase repeats an earlier one of the customer, less the shop's.
        log_gap: ``[n_articles]`` mean log of the days between two purchases by one customer.
        log_price: ``[n_articles]`` log of the mean price paid, less the mean over all articles; 0 where not known.
    """

    again: Float32
    log_gap: Float32
    log_price: Float32

    @classmethod
    def as_of(cls, log: PurchaseLog, as_of: int) -> RepeatRates:
        """From the purchases strictly before ``as_of``. Several on one day are one. Rates shrink to the shop's."""
        bought, repeated, log_gaps = (np.zeros(log.n_articles) for _ in range(3))
        for start in range(0, log.n_customers, CUSTOMERS_AT_ONCE):
            customers = np.arange(start, min(start + CUSTOMERS_AT_ONCE, log.n_customers))
            article, days, first = _visits(purchases_as_of(log, customers, as_of), log.n_articles)
            bought += np.bincount(article, minlength=log.n_articles)
            repeated += np.bincount(article[~first], minlength=log.n_articles)
            gap = np.log((days[:-1] - days[1:])[~first[1:]])
            log_gaps += np.bincount(article[~first], weights=gap, minlength=log.n_articles)
        rate = np.clip(repeated.sum() / max(bought.sum(), 1.0), 1e-4, 1 - 1e-4)
        rates = (repeated + PRIOR_PURCHASES * rate) / (bought + PRIOR_PURCHASES)
        gap = log_gaps.sum() / max(repeated.sum(), 1.0)
        again = np.log(rates / (1 - rates)) - np.log(rate / (1 - rate))
        gaps = (log_gaps + PRIOR_GAPS * gap) / (repeated + PRIOR_GAPS)
        prices, log_price = mean_prices(log, as_of), np.zeros(log.n_articles)
        known = np.flatnonzero(prices > 0)
        log_price[known] = np.log(prices[known])
        log_price[known] -= log_price[known].sum() / max(len(known), 1)
        return cls(again.astype(np.float32), gaps.astype(np.float32), log_price.astype(np.float32))

    def save(self, directory: Path) -> None:
        """Write one ``.npy`` an array."""
        _save(self, directory)

    @classmethod
    def load(cls, directory: Path) -> RepeatRates:
        """Memory-map the files of :meth:`save`."""
        return cls(*_load(cls, directory))


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

    def of(self, owner: Int64, articles: Int64, last: Float64, most: int = MAX_VARIANTS) -> tuple[Int64, Int32]:
        """The owners and articles of all variants, a customer's own articles among them.

        Args:
            owner, articles: ``[m]`` the customers' own articles.
            last: ``[m]`` days since the last purchase; products of the latest purchases come first.
            most: variants a customer at most.
        """
        product = self.product[articles]
        known = np.flatnonzero(product >= 0)
        # The latest purchase of each customer's product; then the products by these.
        pairs = owner[known] * len(self.offsets) + product[known]
        order = np.lexsort((articles[known], last[known], pairs))
        first = np.ones(len(order), dtype=bool)
        first[1:] = np.diff(pairs[order]) != 0
        order = known[order[first]]
        order = order[np.lexsort((articles[order], last[order], owner[order]))]
        owner, product = owner[order], product[order]
        begin = self.offsets[product]
        count = self.offsets[product + 1] - begin
        before = np.cumsum(count) - count
        before -= before[np.searchsorted(owner, owner)]  # of the same customer
        count = np.clip(most - before, 0, count)
        place = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(owner, count), self.articles[np.repeat(begin, count) + place]

    def save(self, directory: Path) -> None:
        """Write one ``.npy`` an array."""
        _save(self, directory)

    @classmethod
    def load(cls, directory: Path) -> Variants:
        """Memory-map the files of :meth:`save`."""
        return cls(*_load(cls, directory))


@dataclass(frozen=True)
class Relatives:
    """The articles that n customers bought, and the variants of these: m in all, by customer, then by article row.

    Attributes:
        owner: ``[m]`` the place of each article's customer among the n, ascending.
        articles: ``[m]`` article rows.
        terms: ``[len(TERMS), m]``.
        returning: ``[n]`` whether the customer bought anything.
        n_articles: size of the catalogue.
    """

    owner: Int64
    articles: Int64
    terms: Float64
    returning: Bool
    n_articles: int

    @property
    def bought(self) -> Bool:
        """``[m]`` whether the customer bought the article; false for a variant."""
        return self.terms[0] > 0

    def among(self, allowed: Bool) -> Relatives:
        """The relatives that are allowed (``[n_articles]``)."""
        kept = allowed[self.articles]
        return Relatives(self.owner[kept], self.articles[kept], self.terms[:, kept], self.returning, self.n_articles)

    def place(self, articles: Int32) -> Int64:
        """``[n, c]`` the place of each customer's ``articles`` (``[n, c]``) among the m; -1 for the others."""
        if not len(self.owner):
            return np.full(articles.shape, -1)
        wanted = np.arange(0, len(articles) * self.n_articles, self.n_articles)[:, None] + articles
        place = _place(self.owner * self.n_articles + self.articles, wanted)
        place[articles < 0] = -1
        return place


def relatives(purchases: Purchases, variants: Variants, rates: RepeatRates) -> Relatives:
    """The articles of all purchases, each once, and their variants on sale."""
    n_articles = len(rates.again)
    counts = np.zeros(purchases.customers, dtype=np.int64)
    if not len(purchases.owner):
        nothing = np.empty(0, dtype=np.int64)
        return Relatives(nothing, nothing, np.empty((len(TERMS), 0)), counts > 0, n_articles)
    key = purchases.owner * n_articles + purchases.articles
    order = np.argsort(key, kind="stable")  # oldest first
    key, days = key[order], np.maximum(purchases.days_since[order], 1).astype(np.float64)
    another = key[1:] != key[:-1]
    start = np.concatenate([[0], np.flatnonzero(another) + 1])
    own = key[start]
    owner = own // n_articles
    articles = own - owner * n_articles
    last = days[np.append(start[1:], len(key)) - 1]
    another_day = np.ones(len(key))
    another_day[1:] = another | (days[1:] != days[:-1])
    times = np.add.reduceat(another_day, start)
    np.add.at(counts, owner, 1)
    log_last = np.log(last)
    # The customer's own gaps and one of the article's.
    own_gap = np.log(np.maximum((days[start] - last) / np.maximum(times - 1, 1), 1))
    usual_gap = (own_gap * (times - 1) + rates.log_gap[articles]) / times
    of_variant, variant = variants.of(owner, articles, last)
    others = np.sort(of_variant * n_articles + variant)
    others = others[_place(own, others) < 0]
    # Both are sorted: each moves by the number of the other that come before.
    here = np.searchsorted(others, own) + np.arange(len(own))
    there = np.searchsorted(own, others) + np.arange(len(others))
    keys = np.empty(len(own) + len(others), dtype=np.int64)
    keys[here], keys[there] = own, others
    terms = np.zeros((len(TERMS), len(keys)))
    terms[0, here] = 1.0
    terms[1, here] = np.log(np.add.reduceat(1 / days, start))
    terms[2, here] = log_last
    terms[3, here] = np.log(times)
    terms[4, here] = np.log(counts[owner])
    terms[5, here] = rates.again[articles]
    terms[6, here] = np.abs(log_last - usual_gap)
    terms[7, here] = rates.log_price[articles]
    terms[8, there] = 1.0
    owner = keys // n_articles
    return Relatives(owner, keys - owner * n_articles, terms, counts > 0, n_articles)


def _place(keys: Int64, wanted: Int64) -> Int64:
    """The place of each of ``wanted`` in ``keys`` (ascending, not empty), -1 where it is not there."""
    place = np.searchsorted(keys, wanted)
    place[place == len(keys)] = 0
    place[keys[place] != wanted] = -1
    return place


def _visits(purchases: Purchases, n_articles: int) -> tuple[Int64, Int32, Bool]:
    """The days on which customers bought an article: ``[m]`` the article, the days since, and whether it was the
    first time. In order of customer, article, and time."""
    key = purchases.owner * n_articles + purchases.articles
    order = np.argsort(key, kind="stable")
    key, days = key[order], purchases.days_since[order]
    first = np.diff(key, prepend=-1) != 0
    another_day = first | (np.diff(days, prepend=-1) != 0)
    return key[another_day] % n_articles, days[another_day], first[another_day]


def _save(arrays: RepeatRates | Variants, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, array in vars(arrays).items():
        np.save(directory / f"{name}.npy", array, allow_pickle=False)


def _load(kind: type[RepeatRates | Variants], directory: Path) -> list[Any]:
    return [mapped(directory / f"{field.name}.npy") for field in fields(kind)]
