"""One customer's real rows, before and after a day (notebook 02)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hm_utils.analysis.data_tables import EMPTY
from hm_utils.data.preprocessing import Split, TrainingData
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw_columns import name_column

IDEAL_PURCHASES = 12  # few enough to show, enough for a history


def telling_customer(log: PurchaseLog, split: Split) -> int:
    """The row of the customer that illustrates the split best.

    Purchases in the test days come first, then purchases in as many parts of the split as possible, then a total
    close to :data:`IDEAL_PURCHASES`.
    """
    customers = np.arange(log.n_customers)
    ends = [log.history_ends(customers, day) for day in (split.train_end, split.val_end, split.test_end)]
    counts = np.diff(np.stack([log.offsets[:-1], *ends]), axis=0)
    parts = np.where(counts[2] > 0, (counts > 0).sum(axis=0), 0)
    candidates = np.flatnonzero(parts == parts.max())
    return int(candidates[np.argmin(np.abs(counts.sum(axis=0)[candidates] - IDEAL_PURCHASES))])


def first_visit(log: PurchaseLog, customer: int, split: Split) -> int:
    """The day of the customer's first purchase in the test days, or of their last purchase if they made none there."""
    days = log.day[log.offsets[customer] : log.offsets[customer + 1]]
    tested = days[days >= split.val_end]
    return int(tested.min() if len(tested) else days.max())


def timeline(log: PurchaseLog, articles: pd.DataFrame, customer: int, as_of: int) -> pd.DataFrame:
    """The customer's purchases in order of day.

    Returns:
        Columns ``day``, ``date``, ``article_id``, ``name``, ``colour``, ``price``, and ``seen as``: "history" before
        ``as_of``, "answer" from that day on. The index is the row of the log. Attribute ``articles`` lists the
        articles' rows.
    """
    rows = np.arange(log.offsets[customer], log.offsets[customer + 1])
    bought = articles.loc[log.article[rows]]
    frame = pd.DataFrame(
        {
            "day": log.day[rows].astype(int),
            "date": [log.date(day) for day in log.day[rows]],
            "article_id": bought["article_id"].to_numpy(),
            "name": bought["prod_name"].to_numpy(),
            "colour": bought["colour_group_name"].to_numpy(),
            "price": log.price[rows],
            "seen as": np.where(log.day[rows] < as_of, "history", "answer"),
        },
        index=pd.Index(rows, name="row of the log"),
    )
    frame.attrs["articles"] = log.article[rows].tolist()
    return frame


def encoded_article(articles: pd.DataFrame, training: TrainingData, article: int) -> pd.DataFrame:
    """One article in the catalogue and in the model's codes, a row for each encoded column."""
    columns = training.encoders.article_columns
    row = articles.loc[article].astype("str").fillna(EMPTY)
    return pd.DataFrame(
        {
            "in the catalogue": [row.get(column, "mean before the day") for column in columns],
            "in words": [row.get(name_column(column), "") for column in columns],
            "code": training.categories[article],
            "of codes": training.encoders.article_sizes,
        },
        index=columns,
    )
