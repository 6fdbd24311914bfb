"""Search for some of an index's articles."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Float32, Int32
from hm_utils.retrieval.index import ExactIndex, ScannIndex, Searchable, widened

NEEDED = 150  # articles that a search of the whole index must find; a k above it is searched exactly
WIDER = 1.5  # times as many candidates as the part's share asks for: a query's neighbours may be rarer than all
SMALLEST = 1 / 4  # share of the articles below which exact search of the part is faster


class PartOfIndex:
    """Some articles of an index, searched like :class:`~.index.ExactIndex`; threads may share it.

    The whole index is searched deeper and in more leaves, and the articles outside the part are dropped. Where fewer
    than ``NEEDED`` are left, the part is searched exactly. This depends on the query alone: a shorter ranking is the
    start of a longer one, up to ``NEEDED``.

    Attributes:
        vectors, ids: of the part, a copy.
    """

    def __init__(self, index: Searchable, rows: Int32) -> None:
        """
        Args:
            index: of all articles, ids 0 to n - 1.
            rows: ``[m]`` ids of the part, ascending.
        """
        n = len(index.ids)
        self._exact = ExactIndex(index.vectors[rows], rows)
        self.vectors, self.ids = self._exact.vectors, self._exact.ids
        self._inside = np.zeros(n, dtype=bool)
        self._inside[rows] = True
        self._depth = min(n, math.ceil(WIDER * NEEDED * n / len(rows)))
        if isinstance(index, ScannIndex):
            leaves = min(index.leaves, math.ceil(index.leaves_to_search * n / len(rows)))
            index = index.with_settings(leaves, max(index.reorder, 2 * self._depth))
        self._whole = index if len(rows) >= SMALLEST * n else self._exact

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Int32, Float32]:
        """As :meth:`ExactIndex.search`, but a share of the true k is missed if the whole index misses it."""
        width, needed = min(k, len(self.ids)), min(NEEDED, len(self.ids))
        if isinstance(self._whole, ExactIndex) or width > NEEDED:
            return self._exact.search(queries, k)
        checked = self._exact.check(queries, k)
        if isinstance(self._whole, ScannIndex):
            found = np.full((len(checked), width), -1, np.int32)
            scores = np.full(found.shape, -np.inf, np.float32)
            for row, query in enumerate(checked):
                answer = self._whole.approximate(query, width, self._inside, needed)
                if answer is not None:
                    found[row], scores[row] = answer  # positions are the ids of a whole index
        else:
            found, scores = self._whole.search(checked, self._depth)
            kept = self._inside[found] & (found >= 0)
            order = np.argsort(~kept, axis=1, kind="stable")[:, :width]
            found, scores = np.take_along_axis(found, order, axis=1), np.take_along_axis(scores, order, axis=1)
            found[kept.sum(axis=1) < needed] = -1
        few = found[:, 0] < 0
        if few.any():
            found[few], scores[few] = self._exact.search(checked[few], width)
        return widened(found, scores, k)
