"""The purchases of many customers as of a day: the last ones as arrays of one length, or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Bool, Int32, Int64
from hm_utils.data.purchases import PurchaseLog


@dataclass(frozen=True)
class Histories:
    """The last purchases of n customers, newest first, padded to one length.

    Attributes:
        articles: ``[n, length]`` article rows, or places in a batch's items; 0 where padded.
        days_since: ``[n, length]`` days from the purchase to the day of the example, 0 where padded.
        mask: ``[n, length]`` false where padded.
    """

    articles: Int32 | Int64
    days_since: Int32
    mask: Bool

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: slice | npt.NDArray) -> Histories:
        """The histories of some of the customers."""
        return Histories(**{name: column[rows] for name, column in self._columns()})

    def reordered(self, order: Int64, mask: Bool) -> Histories:
        """The purchases in the columns ``order`` ``[n, m]``; padding where ``mask`` (``[n, length]``) is false."""
        shown = np.take_along_axis(mask, order, axis=1)
        columns = {name: np.take_along_axis(column, order, axis=1) for name, column in self._columns()}
        return Histories(**{name: np.where(shown, column, 0) for name, column in columns.items()} | {"mask": shown})

    def _columns(self) -> list[tuple[str, npt.NDArray]]:
        return [(each.name, getattr(self, each.name)) for each in fields(self)]


def gather_histories(log: PurchaseLog, customers: Int32, ends: Int64, days: npt.ArrayLike, length: int) -> Histories:
    """The ``length`` purchases before log row ``ends`` of each customer, as seen on ``days`` (``[n]`` or one day)."""
    rows = ends[:, None] - 1 - np.arange(length)
    mask = rows >= log.offsets[customers][:, None]
    rows = np.where(mask, rows, 0)
    days_since = np.broadcast_to(days, len(ends))[:, None].astype(np.int32) - log.day[rows]
    return Histories(
        articles=np.where(mask, log.article[rows], 0).astype(np.int32),
        days_since=np.where(mask, days_since, 0).astype(np.int32),
        mask=mask,
    )


def histories_as_of(log: PurchaseLog, customers: Int32, as_of: int, length: int) -> Histories:
    """The last ``length`` purchases of each customer strictly before day ``as_of``."""
    return gather_histories(log, customers, log.history_ends(customers, as_of), as_of, length)


def history_rows(log: PurchaseLog, customers: npt.ArrayLike, as_of: int) -> tuple[Int64, Int64]:
    """Every purchase of the customers before ``as_of``.

    Returns:
        ``owner`` (``[m]``, ascending indices into ``customers``) and ``rows`` (``[m]`` rows of the log).
    """
    customers = np.asarray(customers, dtype=np.int64)
    starts = np.asarray(log.offsets)[customers]
    counts = log.history_ends(customers, as_of) - starts
    owner = np.repeat(np.arange(len(customers)), counts)
    before = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) + np.repeat(starts - before, counts)


@dataclass(frozen=True)
class Purchases:
    """Every purchase of n customers as of a day, one customer after another.

    Attributes:
        owner: ``[m]`` the place of each purchase's customer among the n, ascending.
        articles: ``[m]`` article rows, oldest purchase first.
        days_since: ``[m]`` days from the purchase to the day, 0 for the visit under way.
        customers: n.
    """

    owner: Int64
    articles: Int32
    days_since: Int32
    customers: int

    @classmethod
    def joined(cls, parts: Sequence[Purchases]) -> Purchases:
        """The purchases of several groups of customers, one group after another."""
        before = np.cumsum([0, *(part.customers for part in parts)])
        return cls(
            np.concatenate([part.owner + start for part, start in zip(parts, before[:-1], strict=True)]),
            np.concatenate([part.articles for part in parts]),
            np.concatenate([part.days_since for part in parts]),
            int(before[-1]),
        )

    def merged(self, articles: Sequence[int], days_since: Sequence[int]) -> Purchases:
        """A single customer's purchases and further ones, given in order; on the same day, these are later."""
        both = np.concatenate([self.articles, np.asarray(articles, dtype=np.int32)])
        days = np.concatenate([self.days_since, np.asarray(days_since, dtype=np.int32)])
        oldest_first = np.argsort(-days, kind="stable")
        return Purchases(np.zeros(len(days), dtype=np.int64), both[oldest_first], days[oldest_first], 1)

    def newest(self, length: int) -> Histories:
        """The last ``length`` purchases of each customer."""
        counts = np.bincount(self.owner, minlength=self.customers)
        rows = np.cumsum(counts)[:, None] - 1 - np.arange(length)
        mask = np.arange(length) < counts[:, None]
        articles, days_since = (np.zeros(mask.shape, dtype=np.int32) for _ in range(2))
        articles[mask], days_since[mask] = self.articles[rows[mask]], self.days_since[rows[mask]]
        return Histories(articles, days_since, mask)

    def without(self, articles: Int32) -> Purchases:
        """``[m]`` a single customer m times, each time without one of the ``articles``."""
        copy, purchase = np.nonzero(articles[:, None] != self.articles)
        return Purchases(copy, self.articles[purchase], self.days_since[purchase], len(articles))


def purchases_as_of(log: PurchaseLog, customers: npt.ArrayLike, as_of: int) -> Purchases:
    """Every purchase of the customers strictly before day ``as_of``."""
    owner, rows = history_rows(log, customers, as_of)
    return Purchases(owner, log.article[rows], as_of - log.day[rows].astype(np.int32), len(np.asarray(customers)))
