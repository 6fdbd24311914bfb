"""The list of articles in stock: read again when its file changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.logs import logger
from hm_utils.serving.stock import Stock, StockError, read_stock

if TYPE_CHECKING:
    from hm_utils.serving.recommender import Recommender

Fingerprint = tuple[int, int, int]  # inode, modification time, size


class StockFile:
    """The file and the last usable list in it. Without a file, every article is in stock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_read: Fingerprint | str | None = "never"
        self._stock: Stock | None = None
        self._problem: str | None = "not read yet"  # until there is a usable list

    def changed(self) -> bool:
        """Whether the file is another than the one that was last read."""
        return self._fingerprint() != self._last_read

    def reread(self, served: Recommender | None) -> Recommender | None:
        """Read the file, and return the served model with the new list.

        Raises:
            StockError: the file is refused, and the last usable list stays.
        """
        self._last_read = self._fingerprint()
        try:
            stock = None if self._last_read is None else read_stock(self._path)
            changed = None if served is None else served.with_stock(stock)
        except StockError as error:
            if self._problem is not None:
                self._problem = str(error)
            raise
        if stock is None and self._stock is not None:
            logger.info("%s is gone: every article is in stock", self._path.name)
        self._stock, self._problem = stock, None
        log(changed)
        return changed

    def applied(self, model: Any) -> Any:
        """A newly loaded model with the list.

        Raises:
            StockError: there was no usable list yet, or the model knows none of its articles.
        """
        if self._problem is not None:
            raise StockError(self._problem)
        if self._stock is None:
            return model
        changed = model.with_stock(self._stock)
        log(changed)
        return changed

    def _fingerprint(self) -> Fingerprint | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def log(model: Recommender | None) -> None:
    """Say how many articles are in stock."""
    if model is not None and model.in_stock is not None:
        found = model.in_stock
        logger.info(
            "%s: %d articles in stock, %d unknown ids ignored", found.stock.name, len(found.rows), found.unknown
        )
