"""ScaNN against exact search: recall and time by the number of leaves that are searched (notebook 04)."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from hm_utils.arrays import Float32
from hm_utils.retrieval.index import ScannIndex


def search_curve(index: ScannIndex, queries: Float32, k: int = 100) -> pd.DataFrame:
    """Search the same queries with 1, 2, 4, … and all leaves, and exactly.

    Returns:
        Columns ``leaves``, ``recall`` (mean share of exact search's first k that is found) and ``microseconds`` a
        query on this machine; attribute ``exact`` is the time of exact search.
    """
    doubled = {2**power for power in range(int(np.log2(index.leaves)) + 1)}
    width = min(k, len(index.exact))
    started = time.perf_counter()
    kth = index.exact.search(queries, width)[1][:, -1:]
    exact = (time.perf_counter() - started) / len(queries) * 1e6
    rows = []
    for leaves in sorted({*doubled, index.leaves, index.leaves_to_search}):
        # Without the fall-back on exact search that the service has where a few leaves hold too few articles.
        candidate = index.with_settings(leaves, index.reorder)
        candidate._approximate(queries[:1], width)  # the first search prepares
        started = time.perf_counter()
        _, scores = candidate._approximate(queries, width)
        cost = (time.perf_counter() - started) / len(queries) * 1e6
        rows.append({"leaves": leaves, "recall": float((scores >= kth).mean()), "microseconds": cost})
    frame = pd.DataFrame(rows)
    frame.attrs["exact"] = exact
    return frame
