"""Whom to recommend to: attributes, and a history of purchases and of the visit under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hm_utils.arrays import Int32
from hm_utils.data.examples import Histories, histories_as_of
from hm_utils.data.purchases import PurchaseLog


@dataclass(frozen=True)
class UserContext:
    """n people on a day.

    Attributes:
        attributes: ``[n, columns]`` codes of their attributes.
        histories: what they bought and looked at, the nearest in time first.
        rows: ``[n]`` of the customers, where all of them are as the model knows them; else None.
    """

    attributes: Int32
    histories: Histories
    rows: Int32 | None = None

    def __len__(self) -> int:
        return len(self.attributes)

    def without(self, articles: Int32) -> UserContext:
        """``[m]`` the first shopper m times, each time without one of the ``articles`` in the history."""
        n, history = len(articles), self.histories
        kept = history.mask[:1] & (history.articles[:1] != articles[:, None])
        order = np.argsort(~kept, axis=1, kind="stable")  # what is kept moves up, and stays in order
        articles, days_since = (
            np.take_along_axis(np.broadcast_to(part[:1], kept.shape), order, axis=1)
            for part in (history.articles, history.days_since)
        )
        mask = np.take_along_axis(kept, order, axis=1)
        return UserContext(np.repeat(self.attributes[:1], n, axis=0), Histories(articles, days_since, mask))


def customers_as_of(log: PurchaseLog, attributes: Int32, rows: Int32, as_of: int, length: int) -> UserContext:
    """Customers on the morning of ``as_of``; ``attributes`` (``[n_customers, columns]``) are of all of them."""
    return UserContext(np.asarray(attributes[rows]), histories_as_of(log, rows, as_of, length), rows)


def visit(articles: Sequence[int], days_ago: Sequence[int], length: int) -> Histories:
    """One history of article rows, in the order in which they came, and how many days ago; 0 is this very visit."""
    order = np.argsort(-np.asarray(days_ago, dtype=np.int32), kind="stable")[::-1][:length]
    history = Histories(np.zeros((1, length), np.int32), np.zeros((1, length), np.int32), np.zeros((1, length), bool))
    history.articles[0, : len(order)] = np.asarray(articles, dtype=np.int32)[order]
    history.days_since[0, : len(order)] = np.asarray(days_ago, dtype=np.int32)[order]
    history.mask[0, : len(order)] = True
    return history


def merged(visits: Histories, purchases: Histories) -> Histories:
    """The two histories of each shopper as one of the same length; of the same day, the visit is nearer."""
    length = purchases.mask.shape[1]
    mask = np.concatenate([visits.mask, purchases.mask], axis=1)
    articles = np.concatenate([visits.articles, purchases.articles], axis=1)
    days_since = np.concatenate([visits.days_since, purchases.days_since], axis=1)
    order = np.argsort(np.where(mask, days_since, np.iinfo(np.int32).max), axis=1, kind="stable")[:, :length]
    return Histories(
        articles=np.take_along_axis(articles, order, axis=1),
        days_since=np.take_along_axis(days_since, order, axis=1),
        mask=np.take_along_axis(mask, order, axis=1),
    )
