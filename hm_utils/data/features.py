"""Features of articles and customers: vocabularies fitted on the past, and the codes that they give.

Code 0 of every vocabulary is *missing* and code 1 is *unknown* (a value that the fit has not seen). New articles and
unusual customers therefore have a row in every embedding table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Float32, Int32, Int64
from hm_utils.data import raw_columns
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw_columns import AGE, Kind

MISSING, UNKNOWN = 0, 1
FIRST_CODE = 2

_INPUTS = (Kind.ARTICLE, Kind.CODE, Kind.CATEGORY)
ARTICLE_COLUMNS = tuple(name for name, kind in raw_columns.ARTICLE_COLUMNS.items() if kind in _INPUTS)
# The age comes first: it has buckets, the others have vocabularies.
CUSTOMER_COLUMNS = (AGE, *(name for name in raw_columns.CUSTOMER_COLUMNS if name not in (AGE, raw_columns.CUSTOMER_ID)))
CUSTOMER_NUMBERS = tuple(name for name in CUSTOMER_COLUMNS if raw_columns.CUSTOMER_COLUMNS[name] is Kind.NUMBER)

AGE_EDGES = (18, 20, 22, 24, 26, 28, 30, 33, 36, 40, 44, 48, 52, 56, 60, 65, 70)
# A postal code is a hash: one with few customers tells nothing about a region.
MIN_CUSTOMERS_PER_POSTAL_CODE = 20
PRICE_BUCKETS = 20

# Columns of CatalogueState.
STATE_COLUMNS = ("log_share_1d", "log_share_7d", "log_share_28d", "log_age", "never_sold")


@dataclass(frozen=True)
class Vocabulary:
    """The known values of one column; value i has code ``i + 2``."""

    values: tuple[str, ...]

    @classmethod
    def fit(cls, column: pd.Series, min_count: int = 1) -> Vocabulary:
        counts = column.value_counts()
        return cls(tuple(sorted(counts.index[counts >= min_count].astype(str))))

    @property
    def size(self) -> int:
        """Number of codes, missing and unknown included."""
        return len(self.values) + FIRST_CODE

    @cached_property
    def codes(self) -> dict[str, int]:
        """The code of each value."""
        return {value: code for code, value in enumerate(self.values, start=FIRST_CODE)}

    def encode(self, column: pd.Series) -> Int32:
        """``[n]`` codes of a column's values."""
        places, distinct = pd.factorize(column)  # -1 where missing
        codes = pd.Index(self.values).get_indexer(pd.Index(distinct).astype(str)).astype(np.int32) + FIRST_CODE
        codes[codes < FIRST_CODE] = UNKNOWN
        return np.append(codes, np.int32(MISSING))[places]


@dataclass(frozen=True)
class Encoders:
    """All vocabularies, fitted on the articles sold and the customers who bought before the day ``as_of``."""

    as_of: int
    article: dict[str, Vocabulary]
    customer: dict[str, Vocabulary]
    price_edges: tuple[float, ...]

    @classmethod
    def fit(
        cls, articles: pd.DataFrame, customers: pd.DataFrame, log: PurchaseLog, as_of: int, prices: Float32
    ) -> Encoders:
        """Fit on the articles sold and the customers who bought strictly before day ``as_of``.

        ``prices`` are :func:`mean_prices` as of that day.

        Raises:
            ValueError: if nothing was bought before ``as_of``.
        """
        sales = log.sales_between(0, as_of)
        if not sales.any():
            raise ValueError(f"nothing was bought before day {as_of} ({log.date(as_of)}): there is nothing to fit on")
        buyers = customers[log.has_bought(np.arange(log.n_customers), as_of)]
        return cls.fit_on(as_of, articles[sales > 0], buyers, prices)

    @classmethod
    def fit_on(cls, as_of: int, sold: pd.DataFrame, buyers: pd.DataFrame, prices: Float32) -> Encoders:
        """Fit on the articles ``sold`` and the ``buyers`` before ``as_of``, and all articles' mean prices."""
        minimum = {raw_columns.POSTAL_CODE: MIN_CUSTOMERS_PER_POSTAL_CODE}
        customer = {name: Vocabulary.fit(buyers[name], minimum.get(name, 1)) for name in CUSTOMER_COLUMNS[1:]}
        edges = np.unique(np.nanquantile(prices, np.linspace(0, 1, PRICE_BUCKETS + 1)[1:-1]))
        return cls(
            as_of=as_of,
            article={name: Vocabulary.fit(sold[name]) for name in ARTICLE_COLUMNS},
            customer=customer,
            price_edges=tuple(edges.tolist()),
        )

    @property
    def article_sizes(self) -> list[int]:
        """Number of codes of each column that :meth:`encode_articles` makes."""
        return [self.article[name].size for name in ARTICLE_COLUMNS] + [len(self.price_edges) + 1 + FIRST_CODE]

    @property
    def customer_sizes(self) -> list[int]:
        """Number of codes of each column that :meth:`encode_customers` makes."""
        ages = len(AGE_EDGES) + 1 + FIRST_CODE
        return [ages] + [self.customer[name].size for name in CUSTOMER_COLUMNS[1:]]

    def encode_articles(self, articles: pd.DataFrame, prices: Float32) -> Int32:
        """``[n_articles, len(ARTICLE_COLUMNS) + 1]`` codes of the whole catalogue; the last column is the price bucket.

        ``prices`` (``[n_articles]``, nan for none) determine the day of the buckets.
        """
        columns = [self.article[name].encode(articles[name]) for name in ARTICLE_COLUMNS]
        columns.append(_bucket(prices, self.price_edges))
        return np.stack(columns, axis=1)

    def encode_customers(self, customers: pd.DataFrame) -> Int32:
        """``[n, len(CUSTOMER_COLUMNS)]`` codes of the customers' attributes."""
        columns = [_bucket(customers[AGE].to_numpy(dtype=np.float32, na_value=np.nan), AGE_EDGES)]
        columns += [self.customer[name].encode(customers[name]) for name in CUSTOMER_COLUMNS[1:]]
        return np.stack(columns, axis=1)

    def encode_customer(self, attributes: Mapping[str, Any]) -> Int32:
        """``[1, len(CUSTOMER_COLUMNS)]``, as :meth:`encode_customers` of a table with one row, but without the table.

        ``attributes`` are raw values by column; None or absent is missing.
        """
        age = np.array([np.nan if attributes.get(AGE) is None else attributes[AGE]], dtype=np.float32)
        codes = [int(_bucket(age, AGE_EDGES)[0])]
        for name in CUSTOMER_COLUMNS[1:]:
            value = attributes.get(name)
            if value is not None and name in CUSTOMER_NUMBERS:
                value = float(np.float32(value))
            codes.append(MISSING if value is None else self.customer[name].codes.get(str(value), UNKNOWN))
        return np.array([codes], dtype=np.int32)

    def save(self, directory: Path) -> None:
        """Write ``encoders.json``."""
        directory.mkdir(parents=True, exist_ok=True)
        facts = {
            "as_of": self.as_of,
            "article": {name: list(vocabulary.values) for name, vocabulary in self.article.items()},
            "customer": {name: list(vocabulary.values) for name, vocabulary in self.customer.items()},
            "price_edges": list(self.price_edges),
        }
        (directory / "encoders.json").write_text(json.dumps(facts))

    @classmethod
    def load(cls, directory: Path) -> Encoders:
        facts = json.loads((directory / "encoders.json").read_text())
        return cls(
            as_of=facts["as_of"],
            article={name: Vocabulary(tuple(values)) for name, values in facts["article"].items()},
            customer={name: Vocabulary(tuple(values)) for name, values in facts["customer"].items()},
            price_edges=tuple(facts["price_edges"]),
        )


def mean_prices(log: PurchaseLog, as_of: int) -> Float32:
    """``[n_articles]`` mean price paid strictly before ``as_of``; nan where an article was never sold."""
    past = log.day < as_of
    article = log.article[past]
    sales = np.bincount(article, minlength=log.n_articles)
    paid = np.bincount(article, weights=log.price[past], minlength=log.n_articles)
    return mean_price(paid, sales)


def mean_price(paid: npt.NDArray[np.floating] | npt.NDArray[np.integer], sales: Int64) -> Float32:
    """``[n_articles]`` the sum ``paid`` for each article over its number of ``sales``; nan where never sold."""
    return np.where(sales > 0, paid / np.maximum(sales, 1), np.nan).astype(np.float32)


class CatalogueState:
    """Recent sales and age of every article on the morning of a day, from purchases strictly before that day."""

    def __init__(self, log: PurchaseLog) -> None:
        self._log = log
        # Room for all days of the default 16 weeks of examples: batches visit them in random order.
        self.as_of = lru_cache(maxsize=128)(self._as_of)

    def _as_of(self, day: int) -> Float32:
        """``[n_articles, len(STATE_COLUMNS)]`` as of ``day``.

        ``log_share_*`` is the log of the article's share of sales in the window over a uniform share, smoothed by one
        sale per article; it does not depend on the size of the shop. ``log_age`` is log1p of the days since the first
        sale. ``never_sold`` is 1 before the first sale.
        """
        shares = []
        for window in (1, 7, 28):
            sales = self._log.sales_between(day - window, day)
            share = (sales + 1.0) / (sales.sum() + len(sales))
            shares.append(np.log(share * len(sales)))
        first_sale = self._log.first_sale_day
        sold = first_sale < day
        age = np.where(sold, np.log1p(np.maximum(day - first_sale, 0)), 0.0)
        return np.stack([*shares, age, ~sold], axis=1).astype(np.float32)


def _bucket(values: npt.NDArray[np.float32], edges: Sequence[float]) -> Int32:
    codes = np.searchsorted(np.asarray(edges), values, side="right").astype(np.int32) + FIRST_CODE
    codes[np.isnan(values)] = MISSING
    return codes
