"""Preprocessing: from the raw tables to one folder that training and evaluation read.

preprocessed/
  manifest.json          parameters, split, counts, fingerprint, SHA-256 of every file
  articles.parquet       the catalogue, in order of article row
  customers.parquet      the customers, in order of customer row
  log/                   the purchase log, memory-mapped when read
  training/              encoders, codes, examples and side features of the training days
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hm_utils.arrays import Int32
from hm_utils.data import raw_columns
from hm_utils.data.examples import Examples, NoNegativesError, make_examples, sample_negatives
from hm_utils.data.features import Encoders, further, mean_prices
from hm_utils.data.origin import data_line
from hm_utils.data.preprocessed_folder import new_folder, read_manifest, write_manifest
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw import RawTables
from hm_utils.data.side_features import NO_SIDE_FEATURES, SideFeatures

logger = logging.getLogger(__name__)

NO_EXAMPLES = (
    "train_weeks={train_weeks} leaves no training example: no purchase in the {days} days before {date}, as the log "
    "ends on {last}. If that is a wrong date, remove its rows; else raise train_weeks"
)
NO_NEGATIVES = "no sampled negatives, use_in_batch_negatives=False will not train: %s"


@dataclass(frozen=True)
class Split:
    """Day numbers: training is before ``train_end``, validation before ``val_end``, test before ``test_end``."""

    train_end: int
    val_end: int
    test_end: int

    @classmethod
    def last_days(cls, log: PurchaseLog, val_days: int, test_days: int) -> Split:
        """The last ``test_days`` of the log for the test, and the ``val_days`` before them for validation.

        Raises:
            ValueError: if a part would be empty.
        """
        return cls.of_dates(log.date(0), log.date(log.last_day), val_days, test_days)

    @classmethod
    def of_dates(cls, first: str, last: str, val_days: int, test_days: int) -> Split:
        """:meth:`last_days` of a log from one ISO date to another, both included."""
        test_end = int((np.datetime64(last) - np.datetime64(first)).astype(int)) + 1
        if val_days < 1 or test_days < 1 or val_days + test_days >= test_end:
            raise ValueError(
                f"val_days={val_days} and test_days={test_days} must be at least 1 and leave training days: "
                f"the log has {test_end} days ({first} to {last})"
            )
        return cls(test_end - test_days - val_days, test_end - test_days, test_end)

    def table(self, log: PurchaseLog) -> pd.DataFrame:
        """First and last date, purchases, and customers of each part."""
        edges = {
            "training": (0, self.train_end),
            "validation": (self.train_end, self.val_end),
            "test": (self.val_end, self.test_end),
        }
        parts = {name: log.rows_between(start, end) for name, (start, end) in edges.items()}
        return pd.DataFrame(
            {
                "first day": {name: log.date(start) for name, (start, _) in edges.items()},
                "last day": {name: log.date(end - 1) for name, (_, end) in edges.items()},
                "purchases": {name: len(rows) for name, rows in parts.items()},
                "customers": {name: np.count_nonzero(np.bincount(log.customer[rows])) for name, rows in parts.items()},
                "articles": {name: np.count_nonzero(np.bincount(log.article[rows])) for name, rows in parts.items()},
            }
        )


@dataclass(frozen=True)
class TrainingData:
    """The inputs of training, all from before the day ``as_of``.

    Attributes:
        as_of: the first day that none of these data include.
        encoders: the vocabularies.
        categories: ``[n_articles, columns]`` codes of every article of the catalogue.
        attributes: ``[n_customers, columns]`` codes of every customer.
        examples: positives of the last ``train_weeks``, with their sampled negatives, if any.
        side: scaled by the training days, also in a refit.
    """

    as_of: int
    encoders: Encoders
    categories: Int32
    attributes: Int32
    examples: Examples
    side: SideFeatures = NO_SIDE_FEATURES

    def categories_as_of(self, articles: pd.DataFrame, log: PurchaseLog, as_of: int) -> Int32:
        """The codes of the catalogue by the same vocabularies, with the prices as of another day."""
        return self.encoders.encode_articles(articles, mean_prices(log, as_of))

    def save(self, directory: Path) -> None:
        self.encoders.save(directory)
        np.save(directory / "article_categories.npy", self.categories, allow_pickle=False)
        self.examples.save(directory)
        np.save(directory / "customer_attributes.npy", self.attributes, allow_pickle=False)
        self.side.save(directory)

    @classmethod
    def load(cls, directory: Path) -> TrainingData:
        encoders = Encoders.load(directory)
        return cls(
            as_of=encoders.as_of,
            encoders=encoders,
            categories=np.load(directory / "article_categories.npy", allow_pickle=False),
            # Copy-on-write: nothing writes to it, but torch wants arrays that it could write to.
            attributes=np.load(directory / "customer_attributes.npy", mmap_mode="c", allow_pickle=False),
            examples=Examples.load(directory),
            side=SideFeatures.load(directory),
        )


def make_training_data(
    articles: pd.DataFrame,
    customers: pd.DataFrame,
    log: PurchaseLog,
    as_of: int,
    train_weeks: int,
    negatives_per_positive: int = 0,
    seed: int = 42,
) -> TrainingData:
    """Fit the vocabularies, encode both tables and make the examples, on the days before ``as_of``.

    Args:
        train_weeks: number of last weeks for examples; histories and vocabularies use all days before ``as_of``.
        negatives_per_positive: sampled pairs per positive. If a customer bought the whole catalogue, none are made and
            a warning is logged; in-batch negatives do not need them.

    Raises:
        ValueError: if ``train_weeks`` is below 1 or those weeks have no purchase.
    """
    examples = make_examples(log, first_example_day(as_of, train_weeks), as_of)
    if not len(examples):
        days = {"date": log.date(as_of), "last": log.date(log.last_day)}
        raise ValueError(NO_EXAMPLES.format(train_weeks=train_weeks, days=7 * train_weeks, **days))
    with ThreadPoolExecutor(1) as pool:  # sorting and lookups release Python's lock
        drawing = pool.submit(_with_negatives, examples, log, as_of, negatives_per_positive, seed)
        prices = mean_prices(log, as_of)
        encoders = Encoders.fit(articles, customers, log, as_of, prices)
        return TrainingData(
            as_of=as_of,
            encoders=encoders,
            categories=encoders.encode_articles(articles, prices),
            attributes=encoders.encode_customers(customers),
            examples=drawing.result(),
        )


def _with_negatives(examples: Examples, log: PurchaseLog, as_of: int, per_positive: int, seed: int) -> Examples:
    """The examples with negatives, see :func:`make_training_data`."""
    if not per_positive:
        return examples
    try:
        return replace(examples, negatives=sample_negatives(log, examples, as_of, per_positive, seed))
    except NoNegativesError as error:
        logger.warning(NO_NEGATIVES, error)
        return examples


def first_example_day(as_of: int, train_weeks: int) -> int:
    """The first day of the ``train_weeks`` before ``as_of``. Raises ValueError if they are below 1."""
    if train_weeks < 1:
        raise ValueError(f"train_weeks must be 1 or more, not {train_weeks}")
    return max(0, as_of - 7 * train_weeks)


@dataclass(frozen=True)
class Preprocessed:
    """The content of a preprocessed folder; the module's docstring lists it."""

    directory: Path
    manifest: dict[str, Any]
    articles: pd.DataFrame
    customers: pd.DataFrame
    log: PurchaseLog
    split: Split
    training: TrainingData

    @property
    def fingerprint(self) -> str:
        """Identifies the raw files and the parameters, and so the preprocessed data."""
        return str(self.manifest["fingerprint"])

    @property
    def line(self) -> str:
        """What the data are, see :func:`hm_utils.data.origin.data_line`."""
        return data_line(self.manifest.get("origin"), len(self.customers), len(self.articles), self.split.test_end)

    @classmethod
    def load(cls, directory: Path) -> Preprocessed:
        """Open the folder of :func:`preprocess` and check every file against the manifest.

        Raises:
            PreprocessedError: if the folder is missing, incomplete, altered or of another format.
        """
        manifest = read_manifest(directory)
        return cls(
            directory=directory,
            manifest=manifest,
            articles=pd.read_parquet(directory / "articles.parquet"),
            customers=pd.read_parquet(directory / "customers.parquet"),
            log=PurchaseLog.load(directory / "log"),
            split=Split(**manifest["split"]),
            training=TrainingData.load(directory / "training"),
        )


# Writes the folders log and training with the parameters of preprocess. Returns the split, the ISO date of the last
# purchase, and the numbers of purchases and examples.
Write = Callable[[Path, dict[str, int]], tuple[Split, str, int, int]]


def preprocess(
    tables: RawTables,
    directory: Path,
    val_days: int = 7,
    test_days: int = 7,
    train_weeks: int = 16,
    negatives_per_positive: int = 4,
    seed: int = 42,
    write: Write | None = None,
    side: SideFeatures = NO_SIDE_FEATURES,
) -> Preprocessed:
    """Split by time, make the training data, and save everything under ``directory``.

    An older folder is replaced atomically when the new one is complete.

    Args:
        write: writes the log and the training data; None does it in this process.
        side: numbers of the tables' articles and customers, from :func:`hm_utils.data.side_features.read`.

    Raises:
        ValueError: if the days leave nothing to train on.
        PreprocessedError: if ``directory`` holds files that are not preprocessed data.
    """
    parameters: dict[str, Any] = {
        "val_days": val_days,
        "test_days": test_days,
        "train_weeks": train_weeks,
        "negatives_per_positive": negatives_per_positive,
        "seed": seed,
    }
    more: dict[str, Any] = {
        "article_columns": further(tables.articles, raw_columns.ARTICLE_COLUMNS),
        "customer_columns": further(tables.customers, raw_columns.CUSTOMER_COLUMNS),
    }
    write = write or partial(_write_log_and_training, tables)
    # Compressing, writing and sorting release Python's lock.
    with new_folder(directory) as folder, ThreadPoolExecutor(1) as pool:
        saving = pool.submit(_save_master_tables, tables, folder)
        split, last_date, purchases, examples = write(folder, parameters)
        saving.result()
        if side.identity:
            side.scaled(PurchaseLog.load(folder / "log"), split.train_end).save(folder / "training")
            more |= side.checksums
        write_manifest(folder, tables, parameters | more, asdict(split), last_date, purchases, examples)
    return Preprocessed.load(directory)


def _write_log_and_training(tables: RawTables, folder: Path, parameters: dict[str, int]) -> tuple[Split, str, int, int]:
    days = {name: parameters[name] for name in ("val_days", "test_days")}
    sampling = {name: parameters[name] for name in ("train_weeks", "negatives_per_positive", "seed")}
    log = PurchaseLog.from_transactions(tables.transactions, len(tables.customers), len(tables.articles))
    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(log.save, folder / "log")
        split = Split.last_days(log, **days)
        training = make_training_data(tables.articles, tables.customers, log, split.train_end, **sampling)
        training.save(folder / "training")
        saving.result()
    return split, log.date(log.last_day), len(log), len(training.examples)


def _save_master_tables(tables: RawTables, folder: Path) -> None:
    tables.articles.to_parquet(folder / "articles.parquet", index=False)
    tables.customers.to_parquet(folder / "customers.parquet", index=False)
