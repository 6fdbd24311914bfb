"""Small random data that several tests share: a purchase log and the tables around it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hm_utils.data.features import Buckets, Vocabulary
from hm_utils.data.origin import Origin
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw import RawTables

CUSTOMERS, ARTICLES, DAYS = 60, 40, 50


def random_transactions(rows: int = 1_500) -> pd.DataFrame:
    """Purchases of 60 customers (the last three never buy) and 40 articles (the last two never sell) over 50 days."""
    rng = np.random.default_rng(0)
    days = np.append(rng.integers(DAYS, size=rows - 2), [0, DAYS - 1])
    return pd.DataFrame(
        {
            "t_dat": pd.Timestamp("2020-08-04") + pd.to_timedelta(days, unit="D"),
            "customer": rng.integers(CUSTOMERS - 3, size=rows).astype(np.int32),
            "article": (rng.beta(1, 3, size=rows) * (ARTICLES - 2)).astype(np.int32),
            "price": rng.uniform(0.01, 0.1, size=rows).astype(np.float32),
            "sales_channel_id": rng.integers(1, 3, size=rows).astype(np.int8),
        }
    )


def random_log(rows: int = 1_500) -> PurchaseLog:
    return PurchaseLog.from_transactions(random_transactions(rows), CUSTOMERS, ARTICLES)


def article_table() -> pd.DataFrame:
    """A catalogue with the columns that the encoders read; some values are missing."""
    rng = np.random.default_rng(0)
    words = np.array(["cotton", "jersey", "long", "sleeve", "denim", "soft", "print", "strap", "wool", "slim"])

    def codes(values: int) -> pd.Series:
        return pd.Series(rng.integers(values, size=ARTICLES), dtype="Int32")

    table = pd.DataFrame(
        {
            "article_id": [f"{108775000 + i:010d}" for i in range(ARTICLES)],
            "product_code": codes(15),
            "prod_name": [" ".join(rng.choice(words, 2)) for _ in range(ARTICLES)],
            "product_type_no": codes(6),
            "product_group_name": pd.Series(rng.choice(["Garment Upper body", "Shoes"], ARTICLES), dtype="str"),
            "graphical_appearance_no": codes(3),
            "colour_group_code": codes(5),
            "perceived_colour_value_id": codes(3),
            "perceived_colour_master_id": codes(3),
            "department_no": codes(8),
            "index_code": pd.Series(rng.choice(["A", "B"], ARTICLES), dtype="str"),
            "index_group_no": codes(2),
            "section_no": codes(4),
            "garment_group_no": codes(4),
            "colour_group_name": pd.Series(rng.choice(["Black", "White"], ARTICLES), dtype="str"),
            "product_type_name": pd.Series(rng.choice(["Top", "Boots"], ARTICLES), dtype="str"),
            "detail_desc": [" ".join(rng.choice(words, 6)) for _ in range(ARTICLES)],
        }
    )
    for name, values in {
        "index_group_name": ["Ladieswear", "Menswear"],
        "section_name": ["Denim", "Basics"],
        "graphical_appearance_name": ["Solid", "Stripe"],
        "department_name": ["Jersey", "Outdoor"],
    }.items():
        table[name] = pd.Series(rng.choice(values, ARTICLES), dtype="str")
    table.loc[[3, 9], "detail_desc"] = None
    table.loc[5, "section_no"] = pd.NA
    return table


def customer_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "customer_id": sorted(rng.bytes(32).hex() for _ in range(CUSTOMERS)),
            "FN": np.where(rng.random(CUSTOMERS) < 0.35, 1.0, np.nan).astype(np.float32),
            "Active": np.where(rng.random(CUSTOMERS) < 0.35, 1.0, np.nan).astype(np.float32),
            "club_member_status": pd.Series(rng.choice(["ACTIVE", "PRE-CREATE"], CUSTOMERS), dtype="str"),
            "fashion_news_frequency": pd.Series(rng.choice(["NONE", "Regularly"], CUSTOMERS), dtype="str"),
            "age": np.where(rng.random(CUSTOMERS) < 0.05, np.nan, rng.integers(16, 90, CUSTOMERS)).astype(np.float32),
            "postal_code": [rng.bytes(32).hex() for _ in range(CUSTOMERS)],
        }
    )


def raw_tables() -> RawTables:
    return RawTables(article_table(), customer_table(), random_transactions(), [], {}, "raw", Origin(False, "data"))


def vocabulary(encoder: Vocabulary | Buckets) -> tuple[str, ...]:
    """The values of an encoder that has a vocabulary."""
    assert isinstance(encoder, Vocabulary)
    return encoder.values  # noqa: PD011
