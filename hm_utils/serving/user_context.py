"""User contexts: attributes, and a history of purchases and of the visit under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from hm_utils.arrays import Float32, Int32
from hm_utils.data.histories import Histories, Purchases, histories_as_of, purchases_as_of
from hm_utils.data.purchases import PurchaseLog


@dataclass(frozen=True)
class UserContext:
    """n users on a day.

    Attributes:
        attributes: ``[n, columns]`` codes of their attributes.
        histories: the last purchases and viewed articles, newest first, as the user tower reads them.
        purchases: all of them, for buying again.
        rows: ``[n]`` customer rows, if all are as the model knows them; else None.
        features: ``[n, n_customer_features]`` numbers of theirs, if the model has them.
    """

    attributes: Int32
    histories: Histories
    purchases: Purchases
    rows: Int32 | None = None
    features: Float32 | None = None

    def __len__(self) -> int:
        return len(self.attributes)

    @classmethod
    def joined(cls, users: Sequence[UserContext]) -> UserContext:
        """The users of several contexts, whose histories have one length. They have no rows."""
        histories = [user.histories for user in users]
        columns = [field.name for field in fields(Histories)]
        return cls(
            np.concatenate([user.attributes for user in users]),
            Histories(**{name: np.concatenate([getattr(each, name) for each in histories]) for name in columns}),
            Purchases.joined([user.purchases for user in users]),
            features=None if users[0].features is None else np.concatenate([user.features for user in users]),
        )

    def without(self, articles: Int32) -> UserContext:
        """``[m]`` the first user m times, each time with one of the ``articles`` removed from the history."""
        first = np.zeros(len(articles), dtype=np.int64)
        histories = self.histories[first]
        kept = histories.mask & (histories.articles != articles[:, None])
        order = np.argsort(~kept, axis=1, kind="stable")  # the rest moves up, and stays in order
        purchases = self.purchases.without(articles)
        features = None if self.features is None else self.features[first]
        return UserContext(self.attributes[first], histories.reordered(order, kept), purchases, features=features)


def customers_as_of(log: PurchaseLog, attributes: Int32, rows: Int32, as_of: int, length: int) -> UserContext:
    """Customers on the morning of ``as_of``; ``attributes`` ``[n_customers, columns]`` cover all customers."""
    histories = histories_as_of(log, rows, as_of, length)
    return UserContext(np.asarray(attributes[rows]), histories, purchases_as_of(log, rows, as_of), rows)
