"""Raw tables as text, by the stem of their file, and as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.data.raw_columns import ARTICLE_COLUMNS, Kind

Tables = dict[str, pd.DataFrame]


def raw_frames(articles: int = 60, customers: int = 50, days: int = 40, rows: int = 900) -> Tables:
    """A valid set: best-sellers exist, and every attribute has several values."""
    rng, row = np.random.default_rng(0), np.arange(articles)
    catalogue = {
        name: [f"{name} {i % 5}" for i in row] if kind in (Kind.TEXT, Kind.CATEGORY) else (row % 7).astype(str)
        for name, kind in ARTICLE_COLUMNS.items()
    }
    catalogue["article_id"] = [f"{108775015 + i:010d}" for i in row]
    catalogue["product_code"] = (row // 2).astype(str)
    people = {
        "customer_id": [f"{i:064x}" for i in range(customers)],
        "FN": ["1.0" if i % 3 == 0 else "" for i in range(customers)],
        "Active": ["1.0" if i % 4 == 0 else "" for i in range(customers)],
        "club_member_status": "ACTIVE",
        "fashion_news_frequency": ["NONE" if i % 2 else "Regularly" for i in range(customers)],
        "age": [f"{16 + i % 60}" for i in range(customers)],
        "postal_code": [f"{i // 2:064x}" for i in range(customers)],
    }
    day = np.sort(np.append(rng.integers(days, size=rows - 2), [0, days - 1]))
    bought = (rng.beta(1, 3, size=rows) * articles).astype(int)
    log = purchases(
        (pd.Timestamp("2020-08-14") + pd.to_timedelta(day, unit="D")).strftime("%Y-%m-%d"),
        np.array(people["customer_id"])[rng.integers(customers, size=rows)],
        np.array(catalogue["article_id"])[bought],
    )
    return {"articles": pd.DataFrame(catalogue), "customers": pd.DataFrame(people), "transactions_train": log}


def purchases(days: npt.ArrayLike, customers: npt.ArrayLike, articles: npt.ArrayLike) -> pd.DataFrame:
    """The log of these purchases, at various prices."""
    log = pd.DataFrame({"t_dat": days, "customer_id": customers, "article_id": articles})
    prices = np.random.default_rng(1).uniform(0.01, 0.1, len(log)).round(5)
    return log.assign(price=prices.astype(str), sales_channel_id="2")


def any_shop(customers: list[str], articles: list[str], days: int = 40, rows: int = 400) -> Tables:
    """The log of a shop that knows nothing else; every customer and every article is in it."""
    rng = np.random.default_rng(2)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(np.arange(rows) % days), unit="D")
    who, what = (rng.permutation(np.resize(ids, rows)) for ids in (customers, articles))
    log = pd.DataFrame({"customer_id": who, "article_id": what, "t_dat": day.strftime("%Y-%m-%d")})
    return {"transactions_train": log}


def write(folder: Path, tables: Tables) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, frame in tables.items():
        frame.to_csv(folder / f"{stem}.csv", index=False)
    return folder
