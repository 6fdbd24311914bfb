"""How much of exact search's list an index finds, and the cheapest search that finds enough of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hm_utils.retrieval.index import (
    REORDERS,
    ExactIndex,
    Index,
    ScannIndex,
    Searchable,
    _check_queries,
    _check_rows,
    _rescore,
)


def recall_at_k(index: Searchable, vectors: npt.ArrayLike, queries: npt.ArrayLike, k: int = 100) -> float:
    """The mean share of the true k best articles that ``index`` finds.

    Args:
        vectors: ``[n, d]`` what the index was built from: the truth is exact search over them.
        queries: ``[m, d]``, of the kind that will be served.

    An article that scores as much as the k-th best counts as one of the k, whichever of the tied is listed.
    """
    exact = ExactIndex(_check_rows(vectors, "article vectors"), index.ids)
    width = min(k, len(exact))
    checked = _check_queries(queries, exact.vectors, k)
    kth = exact._nearest(checked, width)[1][:, -1:]
    ids, _ = index.search(checked, width)
    positions = np.where(ids < 0, -1, np.searchsorted(exact.ids, ids))
    return float((_rescore(exact.vectors, checked, positions, width)[1] >= kth).mean())


@dataclass(frozen=True)
class Setting:
    """One measured way of searching; ``pandas.DataFrame(list of them)`` is the table."""

    reorder: int
    leaves_to_search: int
    recall: float
    microseconds: float  # a query, in batches, on this machine


@dataclass(frozen=True)
class Choice:
    """What :func:`choose_leaves` found: the index to use, its recall, and everything measured on the way."""

    index: Index
    recall: float
    reached: bool  # recall >= target
    table: list[Setting]


def choose_leaves(
    index: Index, queries: npt.ArrayLike, k: int = 100, target: float = 0.99, reorders: Sequence[int] = REORDERS
) -> Choice:
    """The cheapest search that finds ``target`` of the true k best articles for ``queries``.

    For each reorder count in turn, 1, 2, 4, ... leaves until the target is reached, measured against exact search,
    then halving the last step: recall grows with the leaves, but for a candidate or two. The first count that reaches
    the target is taken, with the fewest leaves that reach it. If none does, the best one is returned with ``reached``
    False, and the caller decides (exact search, or no publishing).
    Queries that :meth:`ScannIndex.search` would hand to exact search count as not found at all.
    An exact index is its own answer.
    """
    checked = _check_queries(queries, index.vectors, k)
    if len(checked) == 0:
        raise ValueError("choose_leaves needs queries to measure with, and got none")
    exact = index.exact if isinstance(index, ScannIndex) else index
    started = time.perf_counter()
    width = min(k, len(exact))
    kth = exact._nearest(checked, width)[1][:, -1:]
    exact_cost = (time.perf_counter() - started) / len(checked) * 1e6
    if not isinstance(index, ScannIndex):
        return Choice(index, 1.0, True, [Setting(0, 0, 1.0, exact_cost)])

    table: list[Setting] = []

    def enough(reorder: int, leaves: int) -> bool:
        candidate = index.with_settings(leaves, reorder)
        started = time.perf_counter()
        _, scores = candidate._approximate(checked, width)
        cost = (time.perf_counter() - started) / len(checked) * 1e6
        table.append(Setting(reorder, leaves, float((scores >= kth).mean()), cost))
        return table[-1].recall >= target

    for reorder in (count for count in reorders if count >= 2 * width):
        too_few, leaves = 0, 1
        while not (reached := enough(reorder, leaves)) and leaves < index.leaves:
            too_few, leaves = leaves, min(2 * leaves, index.leaves)
        while reached and leaves - too_few > 1:
            middle = (too_few + leaves) // 2
            too_few, leaves = (too_few, middle) if enough(reorder, middle) else (middle, leaves)
        if reached:
            break
    if not table:
        raise ValueError(f"k = {k} needs a reorder count of {2 * width} or more among {list(reorders)}")
    table.sort(key=lambda row: (row.reorder, row.leaves_to_search))
    chosen = next((row for row in table if row.recall >= target), None) or max(table, key=lambda row: row.recall)
    best = index.with_settings(chosen.leaves_to_search, chosen.reorder)
    return Choice(best, chosen.recall, chosen.recall >= target, table)
