"""The as-of idea on one customer's real rows (notebook 02)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hm_utils.data.features import ARTICLE_COLUMNS
from hm_utils.data.preprocessing import Split, TrainingData
from hm_utils.data.purchases import PurchaseLog

LIKED = 12  # purchases: few enough to see, enough to have a history


def telling_customer(log: PurchaseLog, split: Split) -> int:
    """The row of a customer with purchases in training, validation and test, if there is one, and about a dozen."""
    customers = np.arange(log.n_customers)
    ends = [log.history_ends(customers, day) for day in (split.train_end, split.val_end, split.test_end)]
    counts = np.diff(np.stack([log.offsets[:-1], *ends]), axis=0)
    parts = (counts > 0).sum(axis=0)
    tested = counts[2] > 0
    fits = np.where(tested, parts, 0)
    total = counts.sum(axis=0)
    candidates = np.flatnonzero(fits == fits.max())
    return int(candidates[np.argmin(np.abs(total[candidates] - LIKED))])


def first_visit(log: PurchaseLog, customer: int, split: Split) -> int:
    """The day of the customer's first purchase in the test days; if there is none, of their last purchase."""
    days = log.day[log.offsets[customer] : log.offsets[customer + 1]]
    tested = days[days >= split.val_end]
    return int(tested.min() if len(tested) else days.max())


def timeline(log: PurchaseLog, articles: pd.DataFrame, customer: int, as_of: int) -> pd.DataFrame:
    """The customer's rows of the log in order of day.

    Returns:
        Columns ``day``, ``date``, ``article_id``, ``name``, ``colour``, ``price``, and ``seen as``: "history" before
        ``as_of``, "answer" on that day or after. The index is the row of the log, attribute ``articles`` the rows of
        the catalogue.
    """
    rows = np.arange(log.offsets[customer], log.offsets[customer + 1])
    of_catalogue = articles.loc[log.article[rows]]
    frame = pd.DataFrame(
        {
            "day": log.day[rows].astype(int),
            "date": [log.date(day) for day in log.day[rows]],
            "article_id": of_catalogue["article_id"].to_numpy(),
            "name": of_catalogue["prod_name"].to_numpy(),
            "colour": of_catalogue["colour_group_name"].to_numpy(),
            "price": log.price[rows],
            "seen as": np.where(log.day[rows] < as_of, "history", "answer"),
        },
        index=pd.Index(rows, name="row of the log"),
    )
    frame.attrs["articles"] = log.article[rows].tolist()
    return frame


def encoded_article(articles: pd.DataFrame, training: TrainingData, article: int) -> pd.DataFrame:
    """One article as the catalogue says it and as the model reads it: a row a column."""
    names = [*ARTICLE_COLUMNS, "price"]
    row = articles.loc[article].astype(str)
    raw = [*row[list(ARTICLE_COLUMNS)], "mean paid before"]
    words = [row.get(_in_words(name), "") for name in names]
    codes = training.categories[article]
    frame = pd.DataFrame({"in the catalogue": raw, "in words": words, "code": codes}, index=names)
    frame["of codes"] = training.encoders.article_sizes
    return frame


def _in_words(column: str) -> str:
    """The column that names what a number stands for."""
    if column == "product_code":
        return "prod_name"
    for ending in ("_no", "_code", "_id"):
        column = column.removesuffix(ending)
    return f"{column}_name"
