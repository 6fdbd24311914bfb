"""The purchase log: every purchase, sorted by customer and day, so that a history is a slice.

Days are whole numbers counted from the log's first date. *As of* a day means strictly before that day.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Bool, Float32, Int32, Int64, mapped

NEVER = np.iinfo(np.int32).max  # a day number later than all others
_ARRAYS = ("offsets", "article", "day", "price", "channel")


def save_facts(directory: Path, first_date: np.datetime64, n_articles: int) -> None:
    """Write ``log.json``, the scalars of a log."""
    (directory / "log.json").write_text(json.dumps({"first_date": str(first_date), "n_articles": n_articles}))


def distinct(keys: Int64) -> Int64:
    """The distinct keys, ascending. ``np.unique`` hashes integers, which takes far longer here."""
    ordered = np.sort(keys)
    first = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


@dataclass(frozen=True)
class Baskets:
    """The distinct articles that each of n customers bought in a range of days, one slice per customer.

    Attributes:
        customers: ``[n]`` customer rows, ascending.
        offsets: ``[n + 1]``; customer i bought ``articles[offsets[i]:offsets[i + 1]]``.
        articles: ``[m]`` article rows, ascending and distinct within a customer.
    """

    customers: Int32
    offsets: Int64
    articles: Int32

    def __len__(self) -> int:
        return len(self.customers)

    @property
    def sizes(self) -> Int64:
        """``[n]`` number of distinct articles of each customer."""
        return np.diff(self.offsets)

    @property
    def owner(self) -> Int64:
        """``[m]`` the place of each article's customer among the n customers, ascending."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def select(self, keep: Bool) -> Baskets:
        """The baskets of the customers where ``keep`` (``[n]`` bool) is true."""
        sizes = self.sizes
        return Baskets(
            customers=self.customers[keep],
            offsets=np.concatenate([[0], np.cumsum(sizes[keep])]),
            articles=self.articles[np.repeat(keep, sizes)],
        )

    def sample(self, most: int, seed: int) -> Baskets:
        """The baskets of at most ``most`` customers, drawn at random."""
        if len(self) <= most:
            return self
        keep = np.zeros(len(self), dtype=bool)
        keep[np.random.default_rng(seed).choice(len(self), most, replace=False)] = True
        return self.select(keep)


@dataclass(frozen=True)
class PurchaseLog:
    """The log as columns, one row per purchase (a quantity is repeated rows), sorted by customer, then day.

    Attributes:
        offsets: ``[n_customers + 1]``; customer c's purchases are rows ``offsets[c]:offsets[c + 1]``.
        article: ``[n]`` article row in the catalogue.
        day: ``[n]`` days since ``first_date``.
        price: ``[n]`` price in the data's own unit.
        channel: ``[n]`` 1 for a store, 2 for online.
        first_date: the date of day 0.
        n_articles: size of the catalogue.
    """

    offsets: Int64
    article: Int32
    day: npt.NDArray[np.int16]
    price: Float32
    channel: npt.NDArray[np.int8]
    first_date: np.datetime64
    n_articles: int

    @classmethod
    def from_transactions(cls, transactions: pd.DataFrame, n_customers: int, n_articles: int) -> PurchaseLog:
        """Sort :attr:`raw.RawTables.transactions` into a log.

        Raises:
            ValueError: if there are no transactions.
        """
        if transactions.empty:
            raise ValueError("no transactions are left: a purchase log needs at least one row")
        dates = transactions["t_dat"].to_numpy().astype("datetime64[D]")
        first_date = dates.min()
        day = (dates - first_date).view(np.int64).astype(np.int16)  # several times faster than casting a timedelta
        customer = transactions["customer"].to_numpy()
        # One key and one stable sort: ties keep the order of the file.
        order = np.argsort(customer.astype(np.int64) * (int(day.max()) + 1) + day, kind="stable")
        return cls(
            offsets=np.concatenate([[0], np.cumsum(np.bincount(customer, minlength=n_customers))]),
            article=transactions["article"].to_numpy()[order].astype(np.int32, copy=False),
            day=day[order],
            price=transactions["price"].to_numpy()[order].astype(np.float32, copy=False),
            channel=transactions["sales_channel_id"].to_numpy()[order].astype(np.int8, copy=False),
            first_date=first_date,
            n_articles=n_articles,
        )

    def __len__(self) -> int:
        return len(self.article)

    @property
    def n_customers(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def last_day(self) -> int:
        """Day number of the last purchase; -1 for an empty log."""
        return int(self.day.max()) if len(self) else -1

    @cached_property
    def customer(self) -> Int32:
        """``[n]`` customer row of every purchase."""
        return np.repeat(np.arange(self.n_customers, dtype=np.int32), np.diff(self.offsets))

    @cached_property
    def first_sale_day(self) -> Int32:
        """``[n_articles]`` day number of each article's first purchase; :data:`NEVER` where nobody bought it."""
        first = np.full(self.n_articles, NEVER, dtype=np.int32)
        np.minimum.at(first, self.article, self.day)
        return first

    def date(self, day: int) -> str:
        """The ISO date of a day number."""
        return str(self.first_date + np.timedelta64(int(day), "D"))

    def before(self, day: int) -> PurchaseLog:
        """A copy of the log with only the purchases strictly before ``day``."""
        keep = self.day < day
        counts = np.bincount(self.customer[keep], minlength=self.n_customers)
        return PurchaseLog(
            offsets=np.concatenate([[0], np.cumsum(counts)]),
            article=self.article[keep],
            day=self.day[keep],
            price=self.price[keep],
            channel=self.channel[keep],
            first_date=self.first_date,
            n_articles=self.n_articles,
        )

    @cached_property
    def _by_day(self) -> tuple[Int64, Int64]:
        """Row numbers in order of day, and the start of each day among them."""
        order = np.argsort(self.day, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(self.day, minlength=self.last_day + 1))])
        return order, starts

    def rows_between(self, start: int, end: int) -> Int64:
        """Row numbers of the purchases on days ``start <= day < end``, in order of day."""
        order, starts = self._by_day
        low, high = np.clip([start, end], 0, self.last_day + 1)
        return order[starts[low] : starts[max(low, high)]]

    def sales_between(self, start: int, end: int) -> Int64:
        """``[n_articles]`` purchases of each article on days ``start <= day < end``."""
        return np.bincount(self.article[self.rows_between(start, end)], minlength=self.n_articles)

    def history_ends(self, customers: npt.ArrayLike, day: int | npt.ArrayLike) -> Int64:
        """``[n]`` the end of each customer's history as of a day (one day for all, or one for each).

        Customer c's history is rows ``offsets[c]:end``, all strictly before the day.
        """
        customers = np.asarray(customers)
        low, high = self.offsets[customers], self.offsets[customers + 1]
        if np.ndim(day) == 0 and int(day) > self.last_day:  # type: ignore[arg-type]
            return high
        # A binary search in all customers' slices at once; the longest slice decides the number of rounds.
        while (low < high).any():
            middle = (low + high) // 2
            # A finished search does not move.
            earlier = (self.day[np.minimum(middle, len(self) - 1)] < day) & (low < high)
            low, high = np.where(earlier, middle + 1, low), np.where(earlier, high, middle)
        return low

    def baskets_between(self, start: int, end: int) -> Baskets:
        """The purchases on days ``start <= day < end``, by customer."""
        rows = self.rows_between(start, end)
        pairs = distinct(self.customer[rows].astype(np.int64) * self.n_articles + self.article[rows])
        buyers, articles = np.divmod(pairs, self.n_articles)
        customers, sizes = np.unique(buyers, return_counts=True)
        return Baskets(
            customers=customers.astype(np.int32),
            offsets=np.concatenate([[0], np.cumsum(sizes)]),
            articles=articles.astype(np.int32),
        )

    def has_bought(self, customers: npt.ArrayLike, day: int) -> Bool:
        """``[n]`` whether each customer bought before ``day``."""
        return self.history_ends(customers, day) > self.offsets[np.asarray(customers)]

    def has_history(self, customers: npt.ArrayLike, day: int) -> Bool:
        """:meth:`has_bought`; all true if none of them did."""
        before = self.has_bought(customers, day)
        return before if before.any() else ~before

    def save(self, directory: Path) -> None:
        """Write one ``.npy`` per column and ``log.json`` into ``directory``."""
        directory.mkdir(parents=True, exist_ok=True)
        for name in _ARRAYS:
            np.save(directory / f"{name}.npy", getattr(self, name), allow_pickle=False)
        save_facts(directory, self.first_date, self.n_articles)

    @classmethod
    def load(cls, directory: Path) -> PurchaseLog:
        """Memory-map a saved log; pages load as they are read."""
        facts = json.loads((directory / "log.json").read_text())
        columns = {name: mapped(directory / f"{name}.npy") for name in _ARRAYS}
        return cls(**columns, first_date=np.datetime64(facts["first_date"]), n_articles=facts["n_articles"])
