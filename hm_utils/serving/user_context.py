"""User contexts: attributes, purchases, and the visit under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hm_utils.arrays import Float32, Int32
from hm_utils.data.histories import Purchases, purchases_as_of
from hm_utils.data.purchases import PurchaseLog


@dataclass(frozen=True)
class UserContext:
    """n users on a day.

    Attributes:
        attributes: ``[n, columns]`` codes of their attributes.
        purchases: all purchases and viewed articles.
        rows: ``[n]`` customer rows, if all are as the model knows them; else None.
        features: ``[n, n_customer_features]`` numbers of theirs, if the model has them.
    """

    attributes: Int32
    purchases: Purchases
    rows: Int32 | None = None
    features: Float32 | None = None

    def __len__(self) -> int:
        return len(self.attributes)

    @classmethod
    def joined(cls, users: Sequence[UserContext]) -> UserContext:
        """The users of several contexts. They have no rows."""
        return cls(
            np.concatenate([user.attributes for user in users]),
            Purchases.joined([user.purchases for user in users]),
            features=None if users[0].features is None else np.concatenate([user.features for user in users]),
        )

    def without(self, articles: Int32) -> UserContext:
        """``[m]`` the first user m times, each time without one of the ``articles``."""
        first = np.zeros(len(articles), dtype=np.int64)
        features = None if self.features is None else self.features[first]
        return UserContext(self.attributes[first], self.purchases.without(articles), features=features)


def customers_as_of(log: PurchaseLog, attributes: Int32, rows: Int32, as_of: int) -> UserContext:
    """Customers on the morning of ``as_of``; ``attributes`` ``[n_customers, columns]`` cover all customers."""
    return UserContext(np.asarray(attributes[rows]), purchases_as_of(log, rows, as_of), rows)
