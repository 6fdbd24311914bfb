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
# Further columns (the parameters article_columns and customer_columns).
MAX_CATEGORIES = 50  # distinct numbers; a column with more is cut into buckets
MIN_CUSTOMERS_PER_VALUE = 2  # a value of one customer tells nothing about others

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

    def code(self, value: Any) -> int:
        """The code of one value; None is missing."""
        return MISSING if value is None else self.codes.get(str(value), UNKNOWN)


@dataclass(frozen=True)
class Buckets:
    """A column of numbers in buckets between ``edges``; there is no unknown value."""

    edges: tuple[float, ...]

    @classmethod
    def fit(cls, numbers: npt.NDArray[np.floating]) -> Buckets:
        """Buckets of about equal size; NaN and infinity are excluded."""
        finite = numbers[np.isfinite(numbers)]
        edges = np.quantile(finite, np.linspace(0, 1, PRICE_BUCKETS + 1)[1:-1]) if len(finite) else finite
        return cls(tuple(np.unique(edges).tolist()))

    @property
    def size(self) -> int:
        """Number of codes, missing and unknown included."""
        return len(self.edges) + 1 + FIRST_CODE

    def encode(self, column: pd.Series) -> Int32:
        """``[n]`` codes of a column's values; a text that is no number is missing."""
        return _bucket(pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float32, na_value=np.nan), self.edges)

    def code(self, value: Any) -> int:
        """The code of one value; None is missing."""
        return int(self.encode(pd.Series([value], dtype=object))[0])


def fit_further(column: pd.Series, min_count: int = 1) -> Vocabulary | Buckets:
    """Buckets for a column of more than ``MAX_CATEGORIES`` numbers, else a vocabulary."""
    values = column.dropna()
    numbers = pd.to_numeric(values.drop_duplicates(), errors="coerce")
    if len(numbers) > MAX_CATEGORIES and np.isfinite(numbers).all():
        return Buckets.fit(pd.to_numeric(values).to_numpy(dtype=np.float64))
    return Vocabulary.fit(column, min_count)


def further(table: pd.DataFrame, known: Mapping[str, Kind]) -> list[str]:
    """The columns of a table beyond the known ones."""
    return [str(name) for name in table if name not in known]


@dataclass(frozen=True)
class Encoders:
    """All vocabularies, fitted on the articles sold and the customers who bought before the day ``as_of``.

    ``article`` and ``customer`` have the encoder of each column by name, those of further columns last.
    """

    as_of: int
    article: dict[str, Vocabulary | Buckets]
    customer: dict[str, Vocabulary | Buckets]
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
        article: dict[str, Vocabulary | Buckets] = {name: Vocabulary.fit(sold[name]) for name in ARTICLE_COLUMNS}
        customer: dict[str, Vocabulary | Buckets] = {
            name: Vocabulary.fit(buyers[name], minimum.get(name, 1)) for name in CUSTOMER_COLUMNS[1:]
        }
        more = further(sold, raw_columns.ARTICLE_COLUMNS), further(buyers, raw_columns.CUSTOMER_COLUMNS)
        return cls(
            as_of=as_of,
            article=article | {name: fit_further(sold[name]) for name in more[0]},
            customer=customer | {name: fit_further(buyers[name], MIN_CUSTOMERS_PER_VALUE) for name in more[1]},
            price_edges=Buckets.fit(prices).edges,
        )

    @property
    def article_columns(self) -> list[str]:
        """The name of each column that :meth:`encode_articles` makes."""
        names = list(self.article)
        return [*ARTICLE_COLUMNS, "price paid", *names[len(ARTICLE_COLUMNS) :]]

    @property
    def customer_columns(self) -> list[str]:
        """The name of each column that :meth:`encode_customers` makes."""
        return [AGE, *self.customer]

    @property
    def article_sizes(self) -> list[int]:
        """Number of codes of each column that :meth:`encode_articles` makes."""
        sizes = [encoder.size for encoder in self.article.values()]
        return [*sizes[: len(ARTICLE_COLUMNS)], len(self.price_edges) + 1 + FIRST_CODE, *sizes[len(ARTICLE_COLUMNS) :]]

    @property
    def customer_sizes(self) -> list[int]:
        """Number of codes of each column that :meth:`encode_customers` makes."""
        ages = len(AGE_EDGES) + 1 + FIRST_CODE
        return [ages, *(encoder.size for encoder in self.customer.values())]

    def encode_articles(self, articles: pd.DataFrame, prices: Float32) -> Int32:
        """``[n_articles, columns]`` codes of the whole catalogue: of ``ARTICLE_COLUMNS``, the price's bucket, the rest.

        ``prices`` (``[n_articles]``, nan for none) determine the day of the buckets.
        """
        columns = [encoder.encode(articles[name]) for name, encoder in self.article.items()]
        columns.insert(len(ARTICLE_COLUMNS), _bucket(prices, self.price_edges))
        return np.stack(columns, axis=1)

    def encode_customers(self, customers: pd.DataFrame) -> Int32:
        """``[n, columns]`` codes of the customers' attributes."""
        columns = [_bucket(customers[AGE].to_numpy(dtype=np.float32, na_value=np.nan), AGE_EDGES)]
        columns += [encoder.encode(customers[name]) for name, encoder in self.customer.items()]
        return np.stack(columns, axis=1)

    def encode_customer(self, attributes: Mapping[str, Any]) -> Int32:
        """``[1, columns]``, as :meth:`encode_customers` of a table with one row, but without the table.

        ``attributes`` are raw values by column; None or absent is missing.
        """
        age = np.array([np.nan if attributes.get(AGE) is None else attributes[AGE]], dtype=np.float32)
        codes = [int(_bucket(age, AGE_EDGES)[0])]
        for name, encoder in self.customer.items():
            value = attributes.get(name)
            if value is not None and name in CUSTOMER_NUMBERS:
                value = float(np.float32(value))
            codes.append(encoder.code(value))
        return np.array([codes], dtype=np.int32)

    def save(self, directory: Path) -> None:
        """Write ``encoders.json``."""
        directory.mkdir(parents=True, exist_ok=True)
        facts = {
            "as_of": self.as_of,
            "article": {name: _plain(encoder) for name, encoder in self.article.items()},
            "customer": {name: _plain(encoder) for name, encoder in self.customer.items()},
            "price_edges": list(self.price_edges),
        }
        (directory / "encoders.json").write_text(json.dumps(facts))

    @classmethod
    def load(cls, directory: Path) -> Encoders:
        facts = json.loads((directory / "encoders.json").read_text())
        return cls(
            as_of=facts["as_of"],
            article={name: _encoder(plain) for name, plain in facts["article"].items()},
            customer={name: _encoder(plain) for name, plain in facts["customer"].items()},
            price_edges=tuple(facts["price_edges"]),
        )


def _plain(encoder: Vocabulary | Buckets) -> list[str] | dict[str, list[float]]:
    return list(encoder.values) if isinstance(encoder, Vocabulary) else {"edges": list(encoder.edges)}


def _encoder(plain: list[str] | dict[str, list[float]]) -> Vocabulary | Buckets:
    return Vocabulary(tuple(plain)) if isinstance(plain, list) else Buckets(tuple(plain["edges"]))


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
