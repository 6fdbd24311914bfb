"""User contexts: attributes, and a history of purchases and of the visit under way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hm_utils.arrays import Int32
from hm_utils.data.histories import Histories, histories_as_of
from hm_utils.data.purchases import PurchaseLog


@dataclass(frozen=True)
class UserContext:
    """n users on a day.

    Attributes:
        attributes: ``[n, columns]`` codes of their attributes.
        histories: purchases and viewed articles, newest first.
        rows: ``[n]`` customer rows, if all are as the model knows them; else None.
    """

    attributes: Int32
    histories: Histories
    rows: Int32 | None = None

    def __len__(self) -> int:
        return len(self.attributes)

    def without(self, articles: Int32) -> UserContext:
        """``[m]`` the first user m times, each time with one of the ``articles`` removed from the history."""
        first = np.zeros(len(articles), dtype=np.int64)
        histories = self.histories[first]
        kept = histories.mask & (histories.articles != articles[:, None])
        order = np.argsort(~kept, axis=1, kind="stable")  # the rest moves up, and stays in order
        return UserContext(self.attributes[first], histories.reordered(order, kept))


def customers_as_of(log: PurchaseLog, attributes: Int32, rows: Int32, as_of: int, length: int) -> UserContext:
    """Customers on the morning of ``as_of``; ``attributes`` ``[n_customers, columns]`` cover all customers."""
    return UserContext(np.asarray(attributes[rows]), histories_as_of(log, rows, as_of, length), rows)
