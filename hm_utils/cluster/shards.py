"""The purchase log in shards: each a contiguous range of customer rows, written to its rows of the files of the whole.

A shard's purchases are a log in which all other customers bought nothing, so what one machine does with a log is done
with a shard.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hm_utils.arrays import Bool, Int64
from hm_utils.cluster.array_file import ArrayFile
from hm_utils.cluster.reading import ShardedTables
from hm_utils.cluster.tasks import start_all, values_of
from hm_utils.data.examples import Examples, make_examples, on_sale_by_week
from hm_utils.data.purchases import PurchaseLog, save_facts

LOG_TYPES = {"article": np.int32, "day": np.int16, "price": np.float32, "channel": np.int8}


@dataclass(frozen=True)
class Plan:
    """What every task knows of the whole.

    Attributes:
        n_customers, n_articles: of the listings.
        first_date: of the log.
        as_of: the end of training.
        start: the first day of the examples.
    """

    n_customers: int
    n_articles: int
    first_date: np.datetime64
    as_of: int
    start: int


@dataclass(frozen=True)
class Counted:
    """What a shard adds to what training knows of everybody.

    Attributes:
        sales: ``[n_articles]`` before the end of training.
        bought: ``[customers of the shard]`` whether they bought before it.
        on_sale: see :func:`hm_utils.data.examples.on_sale_by_week`.
        examples: ``[days]`` on each day from the first of the examples to the end of training.
    """

    sales: Int64
    bought: Bool
    on_sale: dict[int, Bool]
    examples: Int64


def write_log(tables: ShardedTables, plan: Plan, folder: Path) -> tuple[list[Counted], list[Any]]:
    """Write the log shard by shard; what each counted, and references of its examples."""
    folder.mkdir()
    rows = tables.sizes.sum(axis=0)
    files = {
        name: ArrayFile.create(folder / f"{name}.npy", kind, (int(rows.sum()),)) for name, kind in LOG_TYPES.items()
    }
    files["offsets"] = ArrayFile.create(folder / "offsets.npy", np.int64, (plan.n_customers + 1,))
    save_facts(folder, plan.first_date, plan.n_articles)
    first_rows = np.cumsum(rows) - rows
    calls = (
        (plan, files, customers, int(first_rows[s]), *(pieces[s] for pieces in tables.pieces))
        for s, customers in enumerate(pairwise(tables.bounds))
    )
    results = start_all(_write_shard_of_log, calls, tables.num_workers, returns=2)
    counted = values_of([told for _, told in results])
    tables.pieces.clear()  # the object store may have their place
    return counted, [examples for examples, _ in results]


def _write_shard_of_log(
    plan: Plan, files: dict[str, ArrayFile], customers: tuple[int, int], first_row: int, *pieces: pd.DataFrame
) -> tuple[Examples, Counted]:
    """A task: sort a shard's purchases into its rows of the log; its examples, and what it counts."""
    first, end = customers
    log = _log_of(pd.concat(pieces, ignore_index=True), plan)
    for name in LOG_TYPES:
        files[name].write([(first_row, getattr(log, name))])
    files["offsets"].write([(first + 1, log.offsets[first + 1 : end + 1] + first_row)])
    shard = np.arange(first, end)
    examples = make_examples(log, plan.start, plan.as_of)
    counted = Counted(
        sales=log.sales_between(0, plan.as_of),
        bought=log.history_ends(shard, plan.as_of) > log.offsets[first:end],
        on_sale=on_sale_by_week(log, plan.start, plan.as_of),
        examples=np.bincount(examples.day - plan.start, minlength=plan.as_of - plan.start),
    )
    return examples, counted


def _log_of(transactions: pd.DataFrame, plan: Plan) -> PurchaseLog:
    """A shard's log, with the day numbers of the whole."""
    if transactions.empty:
        columns = {name: np.empty(0, kind) for name, kind in LOG_TYPES.items()}
        offsets = np.zeros(plan.n_customers + 1, np.int64)
        return PurchaseLog(offsets, **columns, first_date=plan.first_date, n_articles=plan.n_articles)
    log = PurchaseLog.from_transactions(transactions, plan.n_customers, plan.n_articles)
    later = (log.first_date - plan.first_date).astype(np.int16)
    return replace(log, day=log.day + later, first_date=plan.first_date)


def shard_of(log: PurchaseLog, customers: tuple[int, int]) -> PurchaseLog:
    """A slice of the log: what the customers ``first <= row < end`` bought, as if all others had bought nothing."""
    low, high = (int(log.offsets[customer]) for customer in customers)
    columns = {name: getattr(log, name)[low:high] for name in LOG_TYPES}
    return replace(log, offsets=np.clip(log.offsets, low, high) - low, **columns)
