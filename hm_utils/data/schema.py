"""The three raw tables: types, validity rules, and actions for invalid rows.

Each check of a pandera schema has a rule in words (``Check.name``) and an action (``Check.description``): ``DROP``
removes the row, ``BLANK`` empties the value and keeps the row. :mod:`hm_utils.data.raw` applies the checks and reports
a :class:`Finding` for each broken rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import pandera.pandas as pa

from hm_utils.data import ids
from hm_utils.data.raw_columns import (
    ACTIVE,
    AGE,
    ARTICLE,
    ARTICLE_COLUMNS,
    ARTICLE_ID,
    CHANNEL,
    CUSTOMER,
    CUSTOMER_COLUMNS,
    CUSTOMER_ID,
    FN,
    PRICE,
    T_DAT,
    TRANSACTION_COLUMNS,
    Kind,
)


class RawDataError(ValueError):
    """The raw data cannot be used; the message names the file, the fault and the remedy."""


DROP = "row dropped"
BLANK = "value set to missing"
PADDED = "padded to 10 digits"
TIDIED = "blanks removed, capitals made small"
MOVED = "moved to the next day"
NOTED = "noted"

AGE_RANGE = (10, 110)
# Day numbers are int16: 80 years fit, a stray 1900-01-01 would not.
DATE_RANGE = ("2000-01-01", "2079-12-31")
CHANNELS = (1, 2)  # 1 store, 2 online
MAX_DROPPED_SHARE = 0.05  # of a table's rows; a file with more invalid rows is refused
MAX_BLANKED_SHARE = 0.5  # of a column's values; more are no mistakes, but another way of writing them
HEXADECIMAL, LISTED = "is 64 hexadecimal digits", "is listed in {}"


@dataclass(frozen=True)
class Finding:
    """One rule that rows of a table broke, and the action taken.

    Attributes:
        table: ``articles``, ``customers`` or ``transactions``.
        column: the column, or "" for the whole row.
        rule: the rule in words.
        rows: number of rows that broke it.
        action: ``DROP``, ``BLANK``, ``PADDED``, ``TIDIED``, ``MOVED`` or ``NOTED``.
        examples: up to three values from the file, with their row (1 is the first after the header).
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
    """One raw table: its name, the stem of its file's name, its columns, its rules, and the columns that it must have.

    The rules hold for the columns that a file has.
    """

    name: str
    stem: str
    columns: dict[str, Kind]
    schema: pa.DataFrameSchema
    needed: tuple[str, ...]

    @property
    def key(self) -> str:
        """The id of the articles' and of the customers' table."""
        return self.needed[0]


def _rule(words: str, action: str, holds: Callable[[pd.Series], pd.Series], *, empty_fails: bool = False) -> pa.Check:
    # Only three failure cases are kept; the check's output still has every row.
    return pa.Check(holds, name=words, description=action, ignore_na=not empty_fails, n_failure_cases=3)


def _column(dtype: str, *rules: pa.Check, nullable: bool = True) -> pa.Column:
    return pa.Column(dtype, checks=list(rules), nullable=nullable)


def _id_rules(words: str, pattern: str) -> tuple[pa.Check, pa.Check]:
    return (
        _rule(words, DROP, lambda texts: texts.str.fullmatch(pattern, na=False), empty_fails=True),
        _rule("appears once (the first row stays)", DROP, lambda texts: ~texts.duplicated()),
    )


_DTYPES = dict.fromkeys(Kind, "str") | {Kind.CODE: "Int32", Kind.NUMBER: "float32"}
_flag = _rule("is 1 or empty", BLANK, lambda flag: flag.isin([0.0, 1.0]))
_years = _rule(f"is {AGE_RANGE[0]} to {AGE_RANGE[1]} years", BLANK, lambda age: age.between(*AGE_RANGE))


def _master_table(name: str, columns: dict[str, Kind], checked: dict[str, pa.Column], needed: tuple[str, ...]) -> Table:
    """A table with one row per id; ``checked`` are its columns that have rules."""
    typed = {column: _column(_DTYPES[kind]) for column, kind in columns.items()}
    return Table(name, name, columns, pa.DataFrameSchema(typed | checked), needed)


_CUSTOMER_RULES = {
    FN: _column("float32", _flag),
    ACTIVE: _column("float32", _flag),
    AGE: _column("float32", _years),
}
ARTICLES = _master_table(
    "articles",
    ARTICLE_COLUMNS,
    {ARTICLE_ID: _column("str", *_id_rules("is 10 digits", ids.HM_ARTICLE))},
    needed=(ARTICLE_ID,),
)
CUSTOMERS = _master_table(
    "customers",
    CUSTOMER_COLUMNS,
    {CUSTOMER_ID: _column("str", *_id_rules(HEXADECIMAL, ids.HM_CUSTOMER))} | _CUSTOMER_RULES,
    needed=(CUSTOMER_ID,),
)
TRANSACTIONS = Table(
    name="transactions",
    stem="transactions_train",
    columns=TRANSACTION_COLUMNS,
    needed=(CUSTOMER_ID, ARTICLE_ID, T_DAT),
    # Ids are row numbers at this point, -1 for an id that the master table lacks.
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
            CUSTOMER: _column("int32", _rule(LISTED.format("customers"), DROP, lambda row: row >= 0)),
            ARTICLE: _column("int32", _rule(LISTED.format("articles"), DROP, lambda row: row >= 0)),
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

TABLES = (ARTICLES, CUSTOMERS, TRANSACTIONS)  # H&M's

# In another shop's tables, ids and codes are any text.
_OTHER_SHOPS = {Kind.ARTICLE: Kind.ID, Kind.CUSTOMER: Kind.ID, Kind.CODE: Kind.CATEGORY}


def tables_of(
    hm_ids: bool, article_columns: Sequence[str] = (), customer_columns: Sequence[str] = ()
) -> tuple[Table, Table, Table]:
    """The articles, the customers and the transactions of a shop.

    Args:
        hm_ids: whether the ids are H&M's, see :mod:`hm_utils.data.ids`.
        article_columns, customer_columns: further columns of the two tables to read as categories.

    Raises:
        RawDataError: a column is named twice, or is one of H&M's.
    """
    articles, customers = _with_columns(ARTICLES, article_columns), _with_columns(CUSTOMERS, customer_columns)
    if hm_ids:
        return articles, customers, TRANSACTIONS
    id_column = _column("str", *_id_rules(f"is text of 1 to {ids.MAX_LENGTH} printable characters", ids.ANY))
    return (
        _master_table("articles", _any_text(articles), {ARTICLE_ID: id_column}, articles.needed),
        _master_table("customers", _any_text(customers), {CUSTOMER_ID: id_column} | _CUSTOMER_RULES, customers.needed),
        replace(TRANSACTIONS, columns=_any_text(TRANSACTIONS)),
    )


def _any_text(table: Table) -> dict[str, Kind]:
    return {name: _OTHER_SHOPS.get(kind, kind) for name, kind in table.columns.items()}


def _with_columns(table: Table, extra: Sequence[str]) -> Table:
    for place, name in enumerate(extra):
        if name in table.columns or name in extra[:place]:
            why = "is read anyway" if name in table.columns else "is named twice"
            raise RawDataError(f"{name} {why}: leave it out of {table.name.removesuffix('s')}_columns")
    return replace(table, columns=table.columns | dict.fromkeys(extra, Kind.CATEGORY), needed=(*table.needed, *extra))
