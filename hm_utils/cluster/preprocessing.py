"""Preprocessing on a cluster: :func:`hm_utils.data.preprocessing.preprocess` where the log outgrows one machine.

    tables = read_raw("s3://bucket/tables", num_workers=8)
    data = preprocess(tables, Path("/shared/preprocessed"))

The folder is the same, bit for bit, so nothing after it asks which engine made it. A shard is a contiguous range of
customer rows. Its purchases are a log in which all others bought nothing, and what one machine does with a log is done
with it. The numbers of rows say where a shard's rows stand in each file, and it writes them there: those of
the log follow the shard before, those of the examples, which are in order of day, the shard before of the same day.
These are slices of arrays, so plain Ray tasks write them; Ray Data has nothing to add to that. A task that is started
again writes the same bytes to the same place.

What comes together on the driver is a number an article or a customer: what was sold before the split, and in each
week, and who had bought.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Bool, Float32, Int64
from hm_utils.cluster import ClusterError
from hm_utils.cluster.array_file import ArrayFile
from hm_utils.cluster.reading import ShardedTables
from hm_utils.cluster.shards import Counted, Plan, shard_of, write_log
from hm_utils.cluster.tasks import start_all, values_of
from hm_utils.data.examples import Examples, NoNegativesError, sample_negatives
from hm_utils.data.features import Encoders, mean_price
from hm_utils.data.preprocessed_folder import new_folder, write_manifest
from hm_utils.data.preprocessing import (
    NO_EXAMPLES,
    NO_NEGATIVES,
    Preprocessed,
    Split,
    first_example_day,
    save_master_tables,
)
from hm_utils.data.purchases import PurchaseLog

logger = logging.getLogger(__name__)

EXAMPLE_TYPES = {"customer": np.int32, "article": np.int32, "day": np.int16}


def preprocess(
    tables: ShardedTables,
    directory: Path,
    val_days: int = 7,
    test_days: int = 7,
    train_weeks: int = 16,
    negatives_per_positive: int = 4,
    seed: int = 42,
) -> Preprocessed:
    """As :func:`hm_utils.data.preprocessing.preprocess`, on the tables of :func:`hm_utils.cluster.reading.read_raw`.

    The tables' rows and the connection to Ray are let go of at the end.

    Args:
        directory: on a file system that all machines of the cluster share.

    Raises:
        ValueError: if the days do not leave anything to train on.
        ClusterError: if the rows are gone, or a worker does not see ``directory``.
    """
    with tables.connection:
        if not tables.pieces:
            raise ClusterError("these tables were preprocessed once, and their rows let go of: read them again")
        if tables.dates is None:
            raise ValueError("no transactions are left: a purchase log needs at least one row")
        first, last = tables.dates
        split = Split.of_dates(first, last, val_days, test_days)
        as_of = split.train_end
        plan = Plan(
            len(tables.customers),
            len(tables.articles),
            np.datetime64(first),
            as_of,
            first_example_day(as_of, train_weeks),
        )
        parameters = {
            "val_days": val_days,
            "test_days": test_days,
            "train_weeks": train_weeks,
            "negatives_per_positive": negatives_per_positive,
            "seed": seed,
        }
        with new_folder(directory) as partial, ThreadPoolExecutor(1) as pool:
            saving = pool.submit(save_master_tables, tables, partial)
            counted, examples = write_log(tables, plan, partial / "log")
            if not sum(shard.examples.sum() for shard in counted):
                date = str(plan.first_date + as_of)
                raise ValueError(NO_EXAMPLES.format(train_weeks=train_weeks, days=7 * train_weeks, date=date))
            encoders, prices = _fit(tables, plan, counted, partial / "log")
            _write_training(tables, plan, counted, examples, encoders, prices, negatives_per_positive, seed, partial)
            saving.result()
            n_examples = int(sum(shard.examples.sum() for shard in counted))
            n_purchases = int(tables.sizes.sum())
            write_manifest(partial, tables, parameters, asdict(split), last, n_purchases, n_examples)
    return Preprocessed.load(directory)


def _fit(tables: ShardedTables, plan: Plan, counted: list[Counted], log: Path) -> tuple[Encoders, Float32]:
    """The vocabularies, and the articles' mean prices."""
    paid: Any = np.zeros(plan.n_articles)
    for customers in pairwise(tables.bounds):
        # One after the other: a sum of floats depends on the order, and this is the order of one machine.
        ((paid,),) = start_all(_pay, [(log, customers, plan.as_of, paid)], tables.num_workers)
    sales = np.sum([shard.sales for shard in counted], axis=0)
    prices = mean_price(values_of([paid])[0], sales)
    bought = np.concatenate([shard.bought for shard in counted])
    return Encoders.fit_on(plan.as_of, tables.articles[sales > 0], tables.customers[bought], prices), prices


def _pay(
    folder: Path, customers: tuple[int, int], as_of: int, paid: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """A task: ``[n_articles]`` what was ``paid`` for each article, and what a shard's customers paid before a day."""
    log = shard_of(PurchaseLog.load(folder), customers)
    past = log.day < as_of
    articles = np.concatenate([np.arange(len(paid)), log.article[past]])
    weights = np.concatenate([paid, log.price[past]])
    return np.bincount(articles, weights=weights, minlength=len(paid)).astype(np.float64, copy=False)


def _write_training(
    tables: ShardedTables,
    plan: Plan,
    counted: list[Counted],
    examples: list[Any],
    encoders: Encoders,
    prices: Float32,
    negatives: int,
    seed: int,
    partial: Path,
) -> None:
    """Write the codes, and the examples with their sampled negatives, shard by shard."""
    import ray

    folder = partial / "training"
    encoders.save(folder)
    np.save(folder / "article_categories.npy", encoders.encode_articles(tables.articles, prices), allow_pickle=False)
    by_day = np.array([shard.examples for shard in counted]).T  # [days, shards]: the order of the examples
    places = (np.cumsum(by_day) - by_day.ravel()).reshape(by_day.shape)
    n = int(by_day.sum())
    files = {
        name: ArrayFile.create(folder / f"example_{name}.npy", kind, (n,)) for name, kind in EXAMPLE_TYPES.items()
    }  # fmt: skip
    if negatives:
        files["negatives"] = ArrayFile.create(folder / "example_negatives.npy", np.int32, (n, negatives))
    shape = (plan.n_customers, len(encoders.customer_sizes))
    attributes = ArrayFile.create(folder / "customer_attributes.npy", np.int32, shape)
    weeks = counted[0].on_sale
    on_sale = ray.put({week: np.any([shard.on_sale[week] for shard in counted], axis=0) for week in weeks})
    written = start_all(
        _write_shard_of_training,
        (
            (plan, files, partial / "log", customers, places[:, s], examples[s], on_sale, negatives, seed)
            for s, customers in enumerate(pairwise(tables.bounds))
        ),
        tables.num_workers,
    )
    shared = ray.put(encoders)
    encoded = start_all(
        _write_attributes,
        ((attributes, shared, first, tables.customers.iloc[first:end]) for first, end in pairwise(tables.bounds)),
        tables.num_workers,
    )
    values_of([done for (done,) in encoded])
    refusals = [refusal for refusal in values_of([done for (done,) in written]) if refusal]
    if refusals:
        logger.warning(NO_NEGATIVES, refusals[0])
        (folder / "example_negatives.npy").unlink()


def _write_shard_of_training(
    plan: Plan,
    files: dict[str, ArrayFile],
    folder: Path,
    customers: tuple[int, int],
    places: Int64,
    examples: Examples,
    on_sale: dict[int, Bool],
    negatives: int,
    seed: int,
) -> str | None:
    """A task: sample a shard's negatives and write its examples of each day to their place.

    Returns:
        Why there are no negatives, where somebody leaves none.
    """
    columns = {name: getattr(examples, name) for name in EXAMPLE_TYPES}
    refusal = None
    if negatives:
        log = shard_of(PurchaseLog.load(folder), customers)
        try:
            columns["negatives"] = sample_negatives(log, examples, plan.as_of, negatives, seed, on_sale)
        except NoNegativesError as error:
            refusal = str(error)
    edges = np.searchsorted(examples.day, np.arange(plan.start, plan.as_of + 1))
    for name, column in columns.items():
        runs = [(int(place), column[a:b]) for place, (a, b) in zip(places, pairwise(edges), strict=True)]
        files[name].write(runs)
    return refusal


def _write_attributes(file: ArrayFile, encoders: Encoders, first: int, customers: pd.DataFrame) -> None:
    """A task: code some customers' attributes."""
    file.write([(first, encoders.encode_customers(customers))])
