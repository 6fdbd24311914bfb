"""The three raw tables: their columns, their types, what is valid, and what becomes of a row that is not.

A schema is pandera's; every check in it carries a rule in words (``Check.name``) and an action
(``Check.description``): ``DROP`` removes the row, ``BLANK`` empties the value and keeps the row.
:mod:`hm_utils.data.raw` applies them and reports a :class:`Finding` for each rule that was broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd
import pandera.pandas as pa


class RawDataError(ValueError):
    """The raw data cannot be used; the message says what is wrong, in which file, and what to do next."""


class Kind(StrEnum):
    """How the values of a raw column are read."""

    ARTICLE = "article id"  # text of 10 digits; integers get their leading zeros back
    CUSTOMER = "customer id"  # text of 64 hexadecimal digits
    CODE = "whole number"  # nullable Int32: catalogue codes
    NUMBER = "number"  # float32, finite, nan where empty or unreadable
    SMALL = "small whole number"  # int8, 0 where empty or unreadable
    DATE = "date"  # datetime64[s], NaT where empty or unreadable
    TEXT = "text"


DROP = "row dropped"
BLANK = "value set to missing"
PADDED = "padded to 10 digits"
NOTED = "noted"

# Columns by name, so that a typing error is an error of the linter.
ARTICLE_ID, PRODUCT_CODE, CUSTOMER_ID = "article_id", "product_code", "customer_id"
AGE, FN, ACTIVE, CLUB, NEWS, POSTAL_CODE = (
    "age",
    "FN",
    "Active",
    "club_member_status",
    "fashion_news_frequency",
    "postal_code",
)
T_DAT, PRICE, CHANNEL = "t_dat", "price", "sales_channel_id"
# Row numbers in the catalogue and in the customers: what ids become.
ARTICLE, CUSTOMER = "article", "customer"

ARTICLE_COLUMNS = {
    ARTICLE_ID: Kind.ARTICLE,
    PRODUCT_CODE: Kind.CODE,
    "prod_name": Kind.TEXT,
    "product_type_no": Kind.CODE,
    "product_type_name": Kind.TEXT,
    "product_group_name": Kind.TEXT,
    "graphical_appearance_no": Kind.CODE,
    "graphical_appearance_name": Kind.TEXT,
    "colour_group_code": Kind.CODE,
    "colour_group_name": Kind.TEXT,
    "perceived_colour_value_id": Kind.CODE,
    "perceived_colour_value_name": Kind.TEXT,
    "perceived_colour_master_id": Kind.CODE,
    "perceived_colour_master_name": Kind.TEXT,
    "department_no": Kind.CODE,
    "department_name": Kind.TEXT,
    "index_code": Kind.TEXT,
    "index_name": Kind.TEXT,
    "index_group_no": Kind.CODE,
    "index_group_name": Kind.TEXT,
    "section_no": Kind.CODE,
    "section_name": Kind.TEXT,
    "garment_group_no": Kind.CODE,
    "garment_group_name": Kind.TEXT,
    "detail_desc": Kind.TEXT,
}
CUSTOMER_COLUMNS = {
    CUSTOMER_ID: Kind.CUSTOMER,
    FN: Kind.NUMBER,
    ACTIVE: Kind.NUMBER,
    CLUB: Kind.TEXT,
    NEWS: Kind.TEXT,
    AGE: Kind.NUMBER,
    POSTAL_CODE: Kind.TEXT,
}
TRANSACTION_COLUMNS = {
    T_DAT: Kind.DATE,
    CUSTOMER_ID: Kind.CUSTOMER,
    ARTICLE_ID: Kind.ARTICLE,
    PRICE: Kind.NUMBER,
    CHANNEL: Kind.SMALL,
}

AGE_RANGE = (10, 110)
# Days are counted in int16 further on, which 80 years fit and a stray 1900-01-01 would not.
DATE_RANGE = ("2000-01-01", "2079-12-31")
CHANNELS = (1, 2)  # 1 store, 2 online
# More than this share of a table's rows dropped means that the file is not what it should be.
MAX_DROPPED_SHARE = 0.05


@dataclass(frozen=True)
class Finding:
    """One rule that some rows of a table broke, and what was done about them.

    Attributes:
        table: ``articles``, ``customers`` or ``transactions``.
        column: the column, or "" where the whole row is meant.
        rule: what should have held, in words.
        rows: how many rows broke it.
        action: what was done: ``DROP``, ``BLANK``, ``PADDED`` or ``NOTED``.
        examples: up to three of them as the file has them, with their row (1 is the first after the header).
    """

    table: str
    column: str
    rule: str
    rows: int
    action: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f"{self.table}.{self.column}" if self.column else self.table
        examples = f" (such as {'; '.join(self.examples)})" if self.examples else ""
        return f"{where}: {self.rule}: {self.rows:,} rows: {self.action}{examples}"


@dataclass(frozen=True)
class Table:
    """One raw table: the stem of its file's name, how its columns are read, and what is valid."""

    name: str
    stem: str
    columns: dict[str, Kind]
    schema: pa.DataFrameSchema


def _rule(words: str, action: str, holds: Callable[[pd.Series], pd.Series], *, empty_fails: bool = False) -> pa.Check:
    # Only three examples are kept, but the check's output still counts every row.
    return pa.Check(holds, name=words, description=action, ignore_na=not empty_fails, n_failure_cases=3)


def _column(dtype: str, *rules: pa.Check, nullable: bool = True) -> pa.Column:
    return pa.Column(dtype, checks=list(rules), nullable=nullable)


def _id_rules(words: str, pattern: str) -> tuple[pa.Check, pa.Check]:
    return (
        _rule(words, DROP, lambda ids: ids.str.fullmatch(pattern, na=False), empty_fails=True),
        _rule("appears once (the first row stays)", DROP, lambda ids: ~ids.duplicated()),
    )


_DTYPES = {Kind.CODE: "Int32", Kind.TEXT: "str", Kind.NUMBER: "float32"}
_flag = _rule("is 1 or empty", BLANK, lambda flag: flag.isin([0.0, 1.0]))

ARTICLES = Table(
    name="articles",
    stem="articles",
    columns=ARTICLE_COLUMNS,
    schema=pa.DataFrameSchema(
        {name: _column(_DTYPES[kind]) for name, kind in ARTICLE_COLUMNS.items() if kind in _DTYPES}
        | {ARTICLE_ID: _column("str", *_id_rules("is 10 digits", r"\d{10}"))}
    ),
)

CUSTOMERS = Table(
    name="customers",
    stem="customers",
    columns=CUSTOMER_COLUMNS,
    schema=pa.DataFrameSchema(
        {
            CUSTOMER_ID: _column("str", *_id_rules("is 64 hexadecimal digits", "[0-9a-f]{64}")),
            FN: _column("float32", _flag),
            ACTIVE: _column("float32", _flag),
            CLUB: _column("str"),
            NEWS: _column("str"),
            AGE: _column(
                "float32",
                _rule(f"is {AGE_RANGE[0]} to {AGE_RANGE[1]} years", BLANK, lambda age: age.between(*AGE_RANGE)),
            ),
            POSTAL_CODE: _column("str"),
        }
    ),
)

TRANSACTIONS = Table(
    name="transactions",
    stem="transactions_train",
    columns=TRANSACTION_COLUMNS,
    # Ids are row numbers by then, -1 where the other table does not list them.
    schema=pa.DataFrameSchema(
        {
            T_DAT: _column(
                "datetime64[s]",
                _rule(
                    f"is a date YYYY-MM-DD from {DATE_RANGE[0]} to {DATE_RANGE[1]}",
                    DROP,
                    lambda date: date.between(pd.Timestamp(DATE_RANGE[0]), pd.Timestamp(DATE_RANGE[1])),
                    empty_fails=True,
                ),
            ),
            CUSTOMER: _column("int32", _rule("is listed in customers", DROP, lambda row: row >= 0)),
            ARTICLE: _column("int32", _rule("is listed in articles", DROP, lambda row: row >= 0)),
            PRICE: _column(
                "float32",
                _rule("is a price of 0 or more", DROP, lambda price: price >= 0, empty_fails=True),
            ),
            CHANNEL: _column(
                "int8", _rule("is 1 (store) or 2 (online)", DROP, lambda channel: channel.between(*CHANNELS))
            ),
        }
    ),
)

TABLES = (ARTICLES, CUSTOMERS, TRANSACTIONS)
