"""Preprocessing on a cluster, for a log that one machine cannot hold.

    tables = read_raw("s3://bucket/tables", num_workers=8)
    data = preprocess(tables, Path("/shared/preprocessed"))

The folder is bit-identical to that of the local engine, so no later stage depends on the engine. A shard is a
contiguous range of customer rows. The local functions process it as a log in which all other customers bought nothing.
The row counts of all shards determine the place of its rows in every file: log rows follow those of the previous
shard, and examples are in order of day, then shard. Every task writes slices of arrays, so plain Ray tasks suffice. A
restarted task writes the same bytes to the same place.

The driver gathers only arrays with one number for each article or customer: sales before the split and in each week,
and which customers bought.
"""

from __future__ import annotations

import logging
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hm_utils.arrays import Bool, Float32, Float64, Int64
from hm_utils.cluster import ClusterError
from hm_utils.cluster.array_file import ArrayFile
from hm_utils.cluster.reading import ShardedTables
from hm_utils.cluster.shards import Plan, ShardCounts, shard_of, write_log
from hm_utils.cluster.tasks import start_all, values_of
from hm_utils.data import preprocessing
from hm_utils.data.examples import Examples, NoNegativesError, sample_negatives
from hm_utils.data.features import Encoders, mean_price
from hm_utils.data.preprocessing import NO_EXAMPLES, NO_NEGATIVES, Preprocessed, Split, first_example_day
from hm_utils.data.purchases import PurchaseLog

logger = logging.getLogger(__name__)

EXAMPLE_TYPES = {"customer": np.int32, "article": np.int32, "day": np.int16}


def preprocess(tables: ShardedTables, directory: Path, **parameters: Any) -> Preprocessed:
    """:func:`hm_utils.data.preprocessing.preprocess` on the tables of :func:`hm_utils.cluster.reading.read_raw`.

    At the end the tables' rows are released and Ray is disconnected.

    Args:
        directory: on a file system that all machines of the cluster share.
        parameters: as in :func:`hm_utils.data.preprocessing.preprocess`.

    Raises:
        ValueError: if the days leave nothing to train on.
        ClusterError: if the rows are released already, or a worker does not see ``directory``.
    """
    with tables.connection:
        if not tables.pieces:
            raise ClusterError("these tables were preprocessed before, which released their rows: read them again")
        return preprocessing.preprocess(tables, directory, **parameters, write=partial(_write_shards, tables))


def _write_shards(tables: ShardedTables, folder: Path, parameters: dict[str, int]) -> tuple[Split, str, int, int]:
    """Write the log and the training data, see :data:`hm_utils.data.preprocessing.Write`."""
    if tables.dates is None:
        raise ValueError("no transactions are left: a purchase log needs at least one row")
    first, last = tables.dates
    split = Split.of_dates(first, last, parameters["val_days"], parameters["test_days"])
    train_weeks = parameters["train_weeks"]
    plan = Plan(
        n_customers=len(tables.customers),
        n_articles=len(tables.articles),
        first_date=np.datetime64(first),
        as_of=split.train_end,
        start=first_example_day(split.train_end, train_weeks),
        negatives=parameters["negatives_per_positive"],
        seed=parameters["seed"],
    )
    counts, examples = write_log(tables, plan, folder / "log")
    n_examples = int(sum(shard.examples.sum() for shard in counts))
    if not n_examples:
        date = str(plan.first_date + plan.as_of)
        raise ValueError(NO_EXAMPLES.format(train_weeks=train_weeks, days=7 * train_weeks, date=date, last=last))
    _write_training(tables, plan, counts, examples, folder)
    return split, last, int(tables.sizes.sum()), n_examples


def _fit(tables: ShardedTables, plan: Plan, counts: list[ShardCounts], log: Path) -> tuple[Encoders, Float32]:
    """The vocabularies, and the articles' mean prices."""
    paid: Any = np.zeros(plan.n_articles)
    for customers in pairwise(tables.bounds):
        # One shard after another: a sum of floats depends on the order, and this is the order of one machine.
        (paid,) = start_all(_add_paid, [(log, customers, plan.as_of, paid)], tables.num_workers)
    sales = np.sum([shard.sales for shard in counts], axis=0)
    prices = mean_price(values_of([paid])[0], sales)
    bought = np.concatenate([shard.bought for shard in counts])
    return Encoders.fit_on(plan.as_of, tables.articles[sales > 0], tables.customers[bought], prices), prices


def _add_paid(folder: Path, customers: tuple[int, int], as_of: int, paid: Float64) -> Float64:
    """A task: ``paid`` ``[n_articles]`` plus the payments of a shard's customers for each article before a day."""
    log = shard_of(PurchaseLog.load(folder), customers)
    past = log.day < as_of
    articles = np.concatenate([np.arange(len(paid)), log.article[past]])
    weights = np.concatenate([paid, log.price[past]])
    return np.bincount(articles, weights=weights, minlength=len(paid)).astype(np.float64, copy=False)


def _write_training(
    tables: ShardedTables, plan: Plan, counts: list[ShardCounts], examples: list[Any], directory: Path
) -> None:
    """Write the codes, and the examples with their sampled negatives, shard by shard."""
    import ray

    folder, log = directory / "training", directory / "log"
    encoders, prices = _fit(tables, plan, counts, log)
    encoders.save(folder)
    np.save(folder / "article_categories.npy", encoders.encode_articles(tables.articles, prices), allow_pickle=False)
    by_day = np.array([shard.examples for shard in counts]).T  # [days, shards]: the order of the examples
    places = (np.cumsum(by_day) - by_day.ravel()).reshape(by_day.shape)
    n = int(by_day.sum())
    files = {
        name: ArrayFile.create(folder / f"example_{name}.npy", kind, (n,)) for name, kind in EXAMPLE_TYPES.items()
    }  # fmt: skip
    if plan.negatives:
        files["negatives"] = ArrayFile.create(folder / "example_negatives.npy", np.int32, (n, plan.negatives))
    shape = (plan.n_customers, len(encoders.customer_sizes))
    attributes = ArrayFile.create(folder / "customer_attributes.npy", np.int32, shape)
    on_sale = {week: np.any([shard.on_sale[week] for shard in counts], axis=0) for week in counts[0].on_sale}
    shared = ray.put(encoders), ray.put(on_sale)
    calls = (
        (plan, files, attributes, log, first, tables.customers.iloc[first:end], places[:, s], examples[s], *shared)
        for s, (first, end) in enumerate(pairwise(tables.bounds))
    )
    written = values_of(start_all(write_training_shard, calls, tables.num_workers))
    if refusals := [refusal for refusal in written if refusal]:
        logger.warning(NO_NEGATIVES, refusals[0])
        (folder / "example_negatives.npy").unlink()


def write_training_shard(
    plan: Plan,
    files: dict[str, ArrayFile],
    attributes: ArrayFile,
    log_folder: Path,
    first: int,
    customers: pd.DataFrame,
    places: Int64,
    examples: Examples,
    encoders: Encoders,
    on_sale: dict[int, Bool],
) -> str | None:
    """A task: encode a shard's customers, from row ``first`` on, sample its negatives and write its examples.

    Args:
        places: ``[days]`` row of the shard's first example of each day.

    Returns:
        The reason why a customer of the shard can have no negatives, or None.
    """
    attributes.write([(first, encoders.encode_customers(customers))])
    columns = {name: getattr(examples, name) for name in EXAMPLE_TYPES}
    refusal = None
    if plan.negatives:
        log = shard_of(PurchaseLog.load(log_folder), (first, first + len(customers)))
        try:
            columns["negatives"] = sample_negatives(log, examples, plan.as_of, plan.negatives, plan.seed, on_sale)
        except NoNegativesError as error:
            refusal = str(error)
    edges = np.searchsorted(examples.day, np.arange(plan.start, plan.as_of + 1))
    for name, column in columns.items():
        blocks = zip(places.tolist(), (column[a:b] for a, b in pairwise(edges)), strict=True)
        files[name].write(blocks)
    return refusal
