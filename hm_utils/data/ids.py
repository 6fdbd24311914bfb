"""The ids of customers and articles: any text, kept as it is. Only H&M's have a form of their own.

H&M's article ids have ten digits, and lose the leading zero in programs that read them as numbers. Its customer ids
have 64 hexadecimal digits. :func:`are_hms` decides by the log whether the ids are H&M's. Only then are they padded and
checked by this form. The preprocessed folder and the published model record the answer as ``hm_ids``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Int64
from hm_utils.data.raw_columns import ARTICLE_ID, CUSTOMER_ID

MAX_LENGTH = 100  # characters
ANY = rf"[^\x00-\x1f\x7f-\x9f]{{1,{MAX_LENGTH}}}"  # no control characters
HM_ARTICLE, HM_CUSTOMER = "[0-9]{10}", "[0-9a-f]{64}"
HM_ARTICLE_WRITTEN = r"\s*(?:[0-9]{9,10})(?:\.0+)?\s*"  # also without the zero, as a whole number or a float
HM_CUSTOMER_WRITTEN = r"\s*[0-9a-fA-F]{64}\s*"


def are_hms(first_rows: pd.DataFrame) -> bool:
    """Whether most customers and most articles in the first rows of a log have ids of H&M's form.

    True for no rows at all: such a log is refused anyway.
    """
    for name, form in {CUSTOMER_ID: HM_CUSTOMER_WRITTEN, ARTICLE_ID: HM_ARTICLE_WRITTEN}.items():
        ids = first_rows[name].dropna().drop_duplicates()
        if ids.str.fullmatch(form).mean() <= 0.5:
            return False
    return True


def as_bytes(ids: Sequence[str] | pd.Series) -> npt.NDArray[np.bytes_]:
    """``[n]`` ids in UTF-8, whose order is that of the texts."""
    return np.array([text.encode() for text in ids], dtype=np.bytes_)


def rows_of(table: npt.NDArray[np.bytes_], ids: Sequence[str]) -> Int64:
    """``[n]`` places of ids in an ascending table of :func:`as_bytes`; -1 for an unknown id."""
    texts = [text.encode("utf-8", "surrogatepass") for text in ids]  # half a character matches no id
    wanted = np.array(texts, dtype=table.dtype)  # another width would copy the table
    places = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    # The table's width would cut a longer id to an existing one.
    known = (table[places] == wanted) & np.array([len(text) <= table.itemsize for text in texts], dtype=bool)
    return np.where(known, places, -1).astype(np.int64)
