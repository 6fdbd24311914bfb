"""Recall of an index against exact search, and the cheapest search settings that reach a target."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Float32
from hm_utils.retrieval.index import REORDERS, ExactIndex, Index, ScannIndex, Searchable

TARGET = 0.99  # recall@100 against exact search that publishing requires of an index


def recall_at_k(index: Searchable, queries: npt.ArrayLike, k: int = 100) -> float:
    """The mean share of the true k best articles that ``index`` finds for ``queries`` (``[m, d]``).

    Exact search over the index's vectors gives the truth. An article that ties with the k-th best counts as found.
    """
    exact = ExactIndex(index.vectors, index.ids)
    width = min(k, len(exact))
    checked = exact.check(queries, k)
    kth, _ = _kth_best(exact, checked, width)
    ids, _ = index.search(checked, width)
    positions = np.where(ids < 0, -1, np.searchsorted(exact.ids, ids))
    return float((exact.rescore(checked, positions, width)[1] >= kth).mean())


@dataclass(frozen=True)
class Setting:
    """One measured search setting; ``pandas.DataFrame(settings)`` is the table."""

    reorder: int
    leaves_to_search: int
    recall: float
    microseconds: float  # per query, on this machine
    answered: float = 1.0  # share of the queries whose leaves hold enough articles


@dataclass(frozen=True)
class Choice:
    """The result of :func:`choose_leaves`: the index to use, its recall, and every measured setting."""

    index: Index
    recall: float
    reached: bool  # recall >= target
    table: list[Setting]


def choose_leaves(
    index: Index, queries: npt.ArrayLike, k: int = 100, target: float = TARGET, reorders: Sequence[int] = REORDERS
) -> Choice:
    """The cheapest search that finds ``target`` of the true k best articles for ``queries``.

    For each reorder count in turn, 1, 2, 4, … leaves are searched until the target is reached, then the last step is
    halved: recall grows with the leaves, except for a candidate or two. The first count that reaches the target wins,
    with the fewest leaves that reach it. If none does, the best setting is returned with ``reached`` False, and the
    caller decides. Queries that :meth:`ScannIndex.search` would hand to exact search count as not found. An exact
    index is returned as it is.

    Raises:
        ValueError: if ``queries`` is empty, or no reorder count is large enough for k.
    """
    exact = index.exact if isinstance(index, ScannIndex) else index
    checked = exact.check(queries, k)
    if len(checked) == 0:
        raise ValueError("choose_leaves needs queries to measure with, and got none")
    width = min(k, len(exact))
    kth, exact_cost = _kth_best(exact, checked, width)
    if not isinstance(index, ScannIndex):
        return Choice(index, 1.0, True, [Setting(0, 0, 1.0, exact_cost)])

    table: list[Setting] = []

    def enough(reorder: int, leaves: int) -> bool:
        table.append(_measured(index.with_settings(leaves, reorder), checked, kth, width))
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


def search_curve(index: ScannIndex, queries: npt.ArrayLike, k: int = 100) -> pd.DataFrame:
    """Recall and time of ScaNN without its fallback, for 1, 2, 4, … and all leaves (notebook 04).

    A query whose leaves hold too few articles is searched exactly in service, so it says nothing about ScaNN.

    Returns:
        Columns ``leaves``, ``recall`` (mean share of exact search's first k that is found, over the queries that ScaNN
        answers) and ``microseconds`` per query on this machine. Numbers of leaves at which it answers no query are
        excluded. The attribute ``exact`` is the time of exact search.
    """
    checked = index.exact.check(queries, k)
    width = min(k, len(index))
    kth, exact_cost = _kth_best(index.exact, checked, width)
    doubled = {2**power for power in range(int(np.log2(index.leaves)) + 1)}
    leaves = sorted({*doubled, index.leaves, index.leaves_to_search})
    frame = pd.DataFrame([_measured(index.with_settings(n, index.reorder), checked, kth, width) for n in leaves])
    frame = frame.drop(columns="reorder").rename(columns={"leaves_to_search": "leaves"})
    frame["recall"] /= frame.pop("answered").replace(0, np.nan)
    frame = frame.dropna(ignore_index=True)
    frame.attrs["exact"] = exact_cost
    return frame


def _kth_best(exact: ExactIndex, queries: Float32, k: int) -> tuple[Float32, float]:
    """``[m, 1]`` the k-th best score of each query, and the microseconds per query of exact search."""
    started = time.perf_counter()
    _, scores = exact.nearest(queries, k)
    return scores[:, -1:], _microseconds(started, queries)


def _measured(index: ScannIndex, queries: Float32, kth: Float32, k: int) -> Setting:
    """The recall and the time of ScaNN alone; ``kth`` is from :func:`_kth_best`."""
    index.approximate(queries[0], k)  # the first search prepares
    started = time.perf_counter()
    answers = [index.approximate(query, k) for query in queries]
    cost = _microseconds(started, queries)
    nothing = np.full(k, -np.inf, dtype=np.float32)
    found = float((np.array([nothing if answer is None else answer[1] for answer in answers]) >= kth).mean())
    answered = float(np.mean([answer is not None for answer in answers]))
    return Setting(index.reorder, index.leaves_to_search, found, cost, answered)


def _microseconds(started: float, queries: Float32) -> float:
    return (time.perf_counter() - started) / len(queries) * 1e6
