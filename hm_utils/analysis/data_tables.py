"""Tables of the raw data for the notebooks, and the data's own texts in them.

The data's text is untrusted: a name may be empty, or hold HTML and Markdown. Every page shows it literally.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from hm_utils.data.raw import RawTables
from hm_utils.data.schema import TABLES

EMPTY = "empty"


def filled(texts: pd.Series) -> pd.Series:
    """The texts of a column, with :data:`EMPTY` for missing values."""
    return texts.astype("str").fillna(EMPTY)


def literal(text: object) -> str:
    """A text of the data for Markdown, which shows it as it is: all punctuation becomes character references."""
    return re.sub(r"[^\w ]|_", lambda sign: f"&#{ord(sign[0])};", " ".join(str(text).split()))


def rules_checked(tables: RawTables) -> pd.DataFrame:
    """Every rule that the raw tables are checked against, and the number of rows that break it.

    Columns ``table``, ``column``, ``rule``, ``action`` (what happens to a row that breaks it), ``rows``.
    """
    broken = {(found.table, found.column, found.rule): found for found in tables.report}
    rows = []
    for table in TABLES:
        for column, kind in table.schema.columns.items():
            for check in kind.checks:
                rule = (table.name, str(column), str(check.name))
                found = broken.pop(rule, None)
                rows.append((*rule, str(check.description), found.rows if found else 0))
    # Faults found while a file is read have no check: a short row, an id without its leading zero.
    rows += [(*rule, found.action, found.rows) for rule, found in broken.items()]
    return pd.DataFrame(rows, columns=["table", "column", "rule", "action", "rows"])


def readable(frame: pd.DataFrame, text: Sequence[str], formats: dict[str, str] | None = None) -> Styler:
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
