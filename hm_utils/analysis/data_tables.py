"""Tables of the raw data for the notebooks, and the data's own texts in them.

The data's text is untrusted: a name may be empty, or hold HTML and Markdown. Every page shows it literally.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from hm_utils.data.features import ARTICLE_COLUMNS, CUSTOMER_COLUMNS
from hm_utils.data.raw import RawTables
from hm_utils.data.raw_columns import ARTICLE_ID, CUSTOMER_ID, PRICE
from hm_utils.data.schema import tables_of

EMPTY = "empty"


def filled(texts: pd.Series) -> pd.Series:
    """The texts of a column, with :data:`EMPTY` for missing values."""
    return texts.astype("str").fillna(EMPTY)


def article_names(articles: pd.DataFrame) -> pd.Series:
    """The name and the colour of every article; its id if it has no name."""
    names = articles["prod_name"].astype("str").fillna(articles["article_id"].astype("str"))
    return names + (", " + articles["colour_group_name"].astype("str")).fillna("")


def literal(text: object) -> str:
    """A text of the data for Markdown, which shows it as it is: all punctuation becomes character references."""
    return re.sub(r"[^\w ]|_", lambda sign: f"&#{ord(sign[0])};", " ".join(str(text).split()))


def rules_checked(tables: RawTables) -> pd.DataFrame:
    """Every rule that the raw tables are checked against, and the number of rows that break it.

    Columns ``table``, ``column``, ``rule``, ``action`` (what happens to a row that breaks it), ``rows``.
    """
    broken = {(found.table, found.column, found.rule): found for found in tables.report}
    rows = []
    for table in tables_of(tables.hm_ids):
        for column, kind in table.schema.columns.items():
            if column in tables.absent.get(table.name, ()):
                continue
            for check in kind.checks:
                rule = (table.name, str(column), str(check.name))
                found = broken.pop(rule, None)
                rows.append((*rule, str(check.description), found.rows if found else 0))
    # Faults found while a file is read have no check: a short row, an id without its leading zero.
    rows += [(*rule, found.action, found.rows) for rule, found in broken.items()]
    return pd.DataFrame(rows, columns=["table", "column", "rule", "action", "rows"])


def features_off(articles: pd.DataFrame, customers: pd.DataFrame, absent: Mapping[str, Sequence[str]]) -> str:
    """A sentence for Markdown about the features whose columns the tables lack; "" if they have all of them.

    ``absent`` are the columns that each table lacks. A code whose names stand in for it is on.
    """
    off = []
    for table, frame, columns in (("articles", articles, ARTICLE_COLUMNS), ("customers", customers, CUSTOMER_COLUMNS)):
        used = [name for name in columns if name not in (ARTICLE_ID, CUSTOMER_ID)]
        empty = [name for name in used if name in absent.get(table, ()) and frame[name].isna().all()]
        off += [f"all of `{table}`"] if empty == used else [f"`{table}.{name}`" for name in empty]
    off += ["`transactions.price`"] if PRICE in absent.get("transactions", ()) else []
    return f"Features that are off, as the tables have no column for them: {', '.join(off)}." if off else ""


def five_rows(tables: RawTables) -> dict[str, Styler]:
    """The first five rows of each table, by its name: articles and customers upright, an attribute a row."""
    log = tables.transactions.head()
    shown = {
        "articles": tables.articles.head().T,
        "customers": tables.customers.head().T,
        "transactions": log.assign(
            customer=tables.customers["customer_id"].loc[log["customer"]].to_numpy(),
            article=tables.articles["article_id"].loc[log["article"]].to_numpy(),
            t_dat=log["t_dat"].dt.date,
        ),
    }
    return {name: readable(table.map(_plain), text=table.columns) for name, table in shown.items()}


def _plain(value: Any) -> str:
    """A value as text; of a long one, such as an id of 64 digits, the beginning."""
    text = "–" if pd.isna(value) else f"{value:.6g}" if isinstance(value, float) else str(value)
    length = 40 if " " in text else 12  # a text without spaces does not wrap
    return text if len(text) <= length else f"{text[: length - 1]}…"


def readable(frame: pd.DataFrame, text: Iterable[Any], formats: dict[str, str] | None = None) -> Styler:
    """A table with the columns of ``text`` aligned left (pandas aligns every column right), and HTML escaped."""
    present: list[Any] = [name for name in text if name in frame]  # a table without rows may have no columns
    left: list[Any] = [
        {"selector": f"th.col_heading.col{frame.columns.get_loc(name)}", "props": "text-align: left"}
        for name in present
    ]
    words = {"text-align": "left", "white-space": "normal"}
    styled = frame.style.set_properties(subset=present, **words).set_table_styles(left)
    cell_formats: dict[Any, Any] = dict(formats or {})
    return styled.format(cell_formats, thousands=",", na_rep="–", escape="html").format_index(escape="html")
