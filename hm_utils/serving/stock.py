"""The articles in stock: a text file of ids beside the model, which may change while the model is served."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hm_utils.arrays import Bool, Int32
from hm_utils.serving.catalogue import Catalogue

MAX_BYTES = 64 * 2**20  # of the file


class StockError(ValueError):
    """A list of articles in stock cannot be used. The message names the file and the reason."""


@dataclass(frozen=True)
class Stock:
    """A list of articles in stock.

    Attributes:
        name: of the file.
        ids: without duplicates; some may be unknown to a model.
        since: when the file was written.
    """

    name: str
    ids: tuple[str, ...]
    since: datetime

    def of(self, catalogue: Catalogue, hm_ids: bool) -> InStock:
        """The articles of a catalogue that are in stock.

        Args:
            hm_ids: whether ids have H&M's form: a leading zero that a program dropped is then added.

        Raises:
            StockError: there are none.
        """
        rows = catalogue.rows([text.zfill(10) if hm_ids and text.isdecimal() else text for text in self.ids])
        mask = np.zeros(len(catalogue), dtype=bool)
        mask[rows[rows >= 0]] = True
        if not mask.any():
            raise StockError(f"{self.name}: the model knows none of the {len(self.ids):,} article ids")
        return InStock(self, np.flatnonzero(mask).astype(np.int32), mask, int((rows < 0).sum()))


@dataclass(frozen=True, eq=False)
class InStock:
    """The articles of a model that are in stock.

    Attributes:
        stock: the list.
        rows: ``[m]`` article rows, ascending.
        mask: ``[n_articles]`` whether each article is in stock.
        unknown: number of the list's ids that the model does not know.
    """

    stock: Stock
    rows: Int32
    mask: Bool
    unknown: int


def read_stock(path: Path) -> Stock:
    """Read a list of article ids, one a line. Blank lines count for nothing.

    Raises:
        StockError: the file cannot be read, is no text in UTF-8, is larger than ``MAX_BYTES``, or has no id.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        since = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise StockError(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StockError(f"{path.name} is no text in UTF-8") from error
    if len(content) > MAX_BYTES:
        raise StockError(f"{path.name} is larger than {MAX_BYTES // 2**20} MiB")
    if "\0" in text:
        raise StockError(f"{path.name} is damaged: it has a zero byte")
    ids = tuple(dict.fromkeys(filter(None, map(str.strip, text.split("\n")))))
    if not ids:
        raise StockError(f"{path.name} is empty: delete it if every article is in stock")
    return Stock(path.name, ids, since)
