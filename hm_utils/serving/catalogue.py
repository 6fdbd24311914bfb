"""The articles as a shop shows them: their details, filters, and a text search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hm_utils.arrays import Bool, Int32, Int64
from hm_utils.data.features import mean_prices
from hm_utils.data.ids import as_bytes, rows_of
from hm_utils.data.popularity import recent_sales
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.segments import new_in_shop
from hm_utils.serving.word_search import WordIndex, words_of

# Public names of filters and details, and the columns of the table.
FILTERS = {
    "index_group": "index_group_name",
    "product_group": "product_group_name",
    "product_type": "product_type_name",
    "colour_group": "colour_group_name",
    "section": "section_name",
}
DETAILS = {
    "name": "prod_name",
    **FILTERS,
    "appearance": "graphical_appearance_name",
    "department": "department_name",
    "description": "detail_desc",
    "price": "price",
    "new_in_shop": "new_in_shop",
}
TEXTS = [name for name in DETAILS.values() if name not in ("price", "new_in_shop")]
SEARCHED = ("prod_name", "product_type_name", "colour_group_name", "department_name", "section_name", "article_id")
VARIANTS = 10  # a name has fewer colours, mostly
COLUMNS = list(dict.fromkeys(["article_id", *DETAILS.values(), *SEARCHED, "recent_sales"]))


def with_sales(articles: pd.DataFrame, log: PurchaseLog) -> pd.DataFrame:
    """The raw table with columns ``price`` (mean), ``recent_sales`` and ``new_in_shop``, as of the end of the log."""
    as_of = log.last_day + 1
    return articles.assign(
        price=mean_prices(log, as_of),
        recent_sales=recent_sales(log, as_of),
        new_in_shop=new_in_shop(log, as_of) & (log.first_sale_day < as_of),
    )


class Catalogue:
    """The articles of :func:`with_sales`, in order of article row; immutable."""

    def __init__(self, table: pa.Table) -> None:
        for column in FILTERS.values():
            place = table.schema.get_field_index(column)
            table = table.set_column(place, column, table[column].combine_chunks().dictionary_encode())
        self._table = table.combine_chunks()
        self.ids: npt.NDArray[np.str_] = table["article_id"].to_numpy().astype(np.str_)
        self.price: npt.NDArray[np.float32] = table["price"].to_numpy()
        # The order of search results: best-sellers first, then by row.
        self._rank = np.argsort(np.argsort(-table["recent_sales"].to_numpy(), kind="stable"))
        self._text = pc.utf8_lower(self._joined(SEARCHED))
        ids = as_bytes(self.ids.tolist())
        self._order = np.argsort(ids)
        self._sorted_ids = ids[self._order]

    @classmethod
    def load(cls, path: Path) -> Catalogue:
        """Read the table of :func:`with_sales` from a Parquet file."""
        return cls(pq.read_table(path, columns=COLUMNS))

    def check(self) -> None:
        """Read every value. Raises ValueError if one cannot be read, such as text that is not UTF-8."""
        self._table.validate(full=True)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: Sequence[str]) -> Int64:
        """``[n]`` rows of the articles with these ids, -1 where an id is unknown."""
        places = rows_of(self._sorted_ids, ids)
        return np.where(places >= 0, self._order[places], -1)

    def details(self, row: int) -> dict[str, Any]:
        """The values of ``DETAILS`` for an article; None where the table has none."""
        found = {name: self._table[column][row].as_py() for name, column in DETAILS.items()}
        price = found["price"]
        return found | {"price": None if price is None or np.isnan(price) else round(price, 6)}

    def values(self, name: str) -> list[str]:
        """The distinct values of one of ``FILTERS``, in alphabetical order."""
        return sorted(self._dictionary(name).dictionary.drop_null().to_pylist())

    def matching(
        self, values: Mapping[str, Sequence[str]], lowest: float | None = None, highest: float | None = None
    ) -> Int32:
        """Rows of the articles that pass every filter and cost ``lowest`` to ``highest``, ascending.

        An article passes a filter if it has one of the filter's ``values``. An article never sold has no price.
        """
        kept = np.ones(len(self), dtype=bool)
        for name, wanted in values.items():
            column = self._dictionary(name)
            codes = pc.index_in(pa.array(wanted, pa.string()), column.dictionary).drop_null()
            kept &= np.isin(column.indices.fill_null(-1).to_numpy(), codes.to_numpy())
        with np.errstate(over="ignore"):  # beyond the prices' range is infinite
            if lowest is not None:
                kept &= self.price >= np.float32(lowest)
            if highest is not None:
                kept &= self.price <= np.float32(highest)
        return np.flatnonzero(kept).astype(np.int32)

    def search(self, words: str, limit: int, allowed: Bool | None = None) -> Int32:
        """The best-selling articles that match every word, of the ``allowed`` ones (``[n]``) or of all.

        A word matches the start of a word in the article's name, type, colour, department, section or id.
        """
        found = np.ones(len(self), dtype=bool) if allowed is None else allowed.copy()
        for word in set(words.lower().split()):
            found &= pc.match_substring(self._text, f" {word}").to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(found)
        return rows[np.argsort(self._rank[rows], kind="stable")][:limit].astype(np.int32)

    def search_by_meaning(self, words: str, limit: int, allowed: Bool | None = None) -> Int32:
        """The articles that answer some of the words, one of a name, best answers first, then best-selling.

        See :mod:`hm_utils.serving.word_search`.
        """
        scores = self._words.scores(words_of(words))
        rows = np.flatnonzero(scores > 0 if allowed is None else (scores > 0) & allowed)
        rows = rows[np.lexsort((self._rank[rows], -scores[rows]))][: VARIANTS * limit]
        again = self._table["prod_name"].take(rows).to_pandas().duplicated().to_numpy()
        return rows[np.argsort(again, kind="stable")][:limit].astype(np.int32)

    @cached_property
    def _words(self) -> WordIndex:
        return WordIndex(self._joined(TEXTS))

    def _joined(self, columns: Sequence[str]) -> pa.Array:
        """``[n]`` the texts of some columns. A blank is before every word, so " dre" finds dresses, not addresses."""
        parts = [pc.coalesce(pc.cast(self._table[name], pa.string()), "") for name in columns]
        return pc.binary_join_element_wise("", *parts, " ").combine_chunks()

    def _dictionary(self, name: str) -> pa.DictionaryArray:
        (column,) = self._table[FILTERS[name]].chunks
        return column
