"""The purchase log in shards, each a contiguous range of customer rows, written to its rows of the common files.

A shard is a log in which all other customers bought nothing, so the local functions apply to it.
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
    """Facts about the whole data and parameters of the preprocessing, which every task needs.

    Attributes:
        n_customers, n_articles: rows of the master tables.
        first_date: date of day 0.
        as_of: the end of training.
        start: the first day of the examples.
        negatives: sampled negatives of each example.
        seed: seeds their sampling.
    """

    n_customers: int
    n_articles: int
    first_date: np.datetime64
    as_of: int
    start: int
    negatives: int
    seed: int


@dataclass(frozen=True)
class ShardCounts:
    """A shard's part of the counts that training needs of all customers.

    Attributes:
        sales: ``[n_articles]`` purchases before the end of training.
        bought: ``[customers of the shard]`` true where a customer bought before the end of training.
        on_sale: see :func:`hm_utils.data.examples.on_sale_by_week`.
        examples: ``[days]`` examples of each day, from the first day of the examples to the end of training.
    """

    sales: Int64
    bought: Bool
    on_sale: dict[int, Bool]
    examples: Int64


def write_log(tables: ShardedTables, plan: Plan, folder: Path) -> tuple[list[ShardCounts], list[Any]]:
    """Write the log shard by shard. Returns each shard's counts, and references of its examples."""
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
    results = start_all(write_log_shard, calls, tables.num_workers, returns=2)
    counts = values_of([shard_counts for _, shard_counts in results])
    tables.pieces.clear()  # frees their memory in the object store
    return counts, [examples for examples, _ in results]


def write_log_shard(
    plan: Plan, files: dict[str, ArrayFile], customers: tuple[int, int], first_row: int, *pieces: pd.DataFrame
) -> tuple[Examples, ShardCounts]:
    """A task: sort a shard's purchases and write them from row ``first_row`` of the log on."""
    first, end = customers
    log = log_of(pd.concat(pieces, ignore_index=True), plan)
    for name in LOG_TYPES:
        files[name].write([(first_row, getattr(log, name))])
    files["offsets"].write([(first + 1, log.offsets[first + 1 : end + 1] + first_row)])
    shard = np.arange(first, end)
    examples = make_examples(log, plan.start, plan.as_of)
    counts = ShardCounts(
        sales=log.sales_between(0, plan.as_of),
        bought=log.has_bought(shard, plan.as_of),
        on_sale=on_sale_by_week(log, plan.start, plan.as_of),
        examples=np.bincount(examples.day - plan.start, minlength=plan.as_of - plan.start),
    )
    return examples, counts


def log_of(transactions: pd.DataFrame, plan: Plan) -> PurchaseLog:
    """A shard's log, which may be empty, with the day numbers of the whole log."""
    if transactions.empty:
        columns = {name: np.empty(0, kind) for name, kind in LOG_TYPES.items()}
        offsets = np.zeros(plan.n_customers + 1, np.int64)
        return PurchaseLog(offsets, **columns, first_date=plan.first_date, n_articles=plan.n_articles)
    log = PurchaseLog.from_transactions(transactions, plan.n_customers, plan.n_articles)
    shift = (log.first_date - plan.first_date).astype(np.int16)
    return replace(log, day=log.day + shift, first_date=plan.first_date)


def shard_of(log: PurchaseLog, customers: tuple[int, int]) -> PurchaseLog:
    """The log with only the purchases of the customers ``first <= row < end``."""
    low, high = (int(log.offsets[customer]) for customer in customers)
    columns = {name: getattr(log, name)[low:high] for name in LOG_TYPES}
    return replace(log, offsets=np.clip(log.offsets, low, high) - low, **columns)
