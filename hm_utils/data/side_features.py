"""Numbers of every article or customer from a file beside the raw tables, such as embeddings of texts or images.

    side = read(tables.articles, tables.customers, item_features="embeddings.parquet")
    preprocess(tables, folder, side=side)

A file is Parquet, or .npz with an array a column. It has the column ``article_id`` (or ``customer_id``), and any others
of numbers or of vectors, all of which are used. Who is not in the file has no numbers, which the towers are told.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hm_utils.arrays import Bool, Float32
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw_columns import ARTICLE_ID, CUSTOMER_ID
from hm_utils.files import file_entry, resolve

logger = logging.getLogger(__name__)

FILES = {"articles": "item_features.npy", "customers": "customer_features.npy"}
PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # a column that pandas adds
WIDEST = 10.0  # standard deviations: an outlier counts as this


class SideFeaturesError(ValueError):
    """A file of numbers cannot be used; the message says which, why and what to do."""


@dataclass(frozen=True)
class SideFeatures:
    """Numbers of articles and customers, in order of row; None without any.

    Attributes:
        articles: ``[n_articles, d]``, nan for none until :meth:`scaled`.
        customers: ``[n_customers, d]``.
        checksums: SHA-256 of each file, by the name of its parameter.
    """

    articles: Float32 | None = None
    customers: Float32 | None = None
    checksums: dict[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> list[dict[str, str]]:
        """The files' checksums, if there are files: part of the name of what is made from them."""
        return [self.checksums] if self.checksums else []

    def scaled(self, log: PurchaseLog, day: int) -> SideFeatures:
        """Standardised by the articles sold before ``day`` and the customers who bought then.

        A number that is missing becomes 0, the mean. One more column is 1 for those in the file, else 0.
        """
        sold, bought = log.sales_between(0, day) > 0, log.has_bought(np.arange(log.n_customers), day)
        return replace(
            self,
            articles=None if self.articles is None else _standardised(self.articles, sold),
            customers=None if self.customers is None else _standardised(self.customers, bought),
        )

    def save(self, directory: Path) -> None:
        for name, file in FILES.items():
            if (values := getattr(self, name)) is not None:
                np.save(directory / file, values, allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> SideFeatures:
        """Memory-mapped from the files of :meth:`save`; those that are not there are None."""
        found = {name: directory / file for name, file in FILES.items() if (directory / file).exists()}
        return cls(**{name: np.load(path, mmap_mode="c", allow_pickle=False) for name, path in found.items()})


NO_SIDE_FEATURES = SideFeatures()


def read(
    articles: pd.DataFrame,
    customers: pd.DataFrame,
    item_features: str | Path = "",
    customer_features: str | Path = "",
) -> SideFeatures:
    """The numbers in these files for the articles and customers of the master tables; empty for no file.

    Raises:
        SideFeaturesError: a file cannot be read, has no such ids, an id twice, or a column that is not of numbers.
    """
    of_articles, of_customers, checksums = None, None, {}
    if item_features:
        path = resolve(item_features)
        of_articles = _aligned(path, ARTICLE_ID, articles[ARTICLE_ID])
        checksums["item_features"] = str(file_entry(path)["sha256"])
    if customer_features:
        path = resolve(customer_features)
        of_customers = _aligned(path, CUSTOMER_ID, customers[CUSTOMER_ID])
        checksums["customer_features"] = str(file_entry(path)["sha256"])
    return SideFeatures(of_articles, of_customers, checksums)


def _aligned(path: Path, key: str, known: pd.Series) -> Float32:
    """``[len(known), d]`` the file's numbers of each id, nan for none."""
    try:
        ids, columns = _columns(path, key)
    except (OSError, ValueError, pa.ArrowException) as error:
        if isinstance(error, SideFeaturesError):
            raise
        raise SideFeaturesError(f"{path} cannot be read ({error}): it must be .parquet or .npz") from error
    if not columns:
        raise SideFeaturesError(f"{path} has no column beside {key}")
    wanted = pd.Index(known.astype(str))
    if ids.dtype.kind in "iu":  # integers have lost their leading zeros
        widths = set(wanted.str.len())
        texts = pd.Index(ids.astype(str))
        index = texts.str.zfill(widths.pop()) if len(widths) == 1 else texts
    else:
        index = pd.Index(ids.astype(str))
    if not index.is_unique:
        raise SideFeaturesError(f"{path} has the {key} {index[index.duplicated()][0]!r:.80} twice")
    rows = index.get_indexer(wanted)
    found = np.count_nonzero(rows >= 0)
    if not found:
        raise SideFeaturesError(f"{path}: none of its ids, such as {index[0]!r:.80}, is in the table's {key}")
    values = np.concatenate([column.reshape(len(ids), -1) for column in columns], axis=1)
    values[~np.isfinite(values)] = np.nan
    logger.info(
        "%s: %d numbers each of %d of %d ids (%d of the file are unknown)",
        *(path.name, values.shape[1], found, len(wanted), len(ids) - found),
    )
    missing = np.full((1, values.shape[1]), np.nan, dtype=np.float32)
    aligned: Float32 = np.concatenate([values, missing])[rows]
    return aligned


def _columns(path: Path, key: str) -> tuple[npt.NDArray[Any], list[Float32]]:
    """The ids of a file, and its other columns as numbers ``[n]`` or ``[n, d]``."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    else:
        table = pq.read_table(path)
        names = [name for name in table.column_names if not PANDAS_INDEX.fullmatch(name)]
        found = {name: table[name].combine_chunks() for name in names}
    if key not in found:
        raise SideFeaturesError(f"{path} has no column {key}; it has {', '.join(found) or 'none'}")
    ids = found.pop(key)
    if isinstance(ids, pa.Array):
        ids = ids.to_numpy(zero_copy_only=False)
    columns = [_numbers(column, name, path) for name, column in found.items()]
    if any(len(column) != len(ids) for column in columns):
        raise SideFeaturesError(f"{path}: its columns have different lengths")
    return ids, columns


def _numbers(column: Any, name: str, path: Path) -> Float32:
    problem = SideFeaturesError(f"{path}: the column {name} must hold numbers, or vectors of one length")
    if not isinstance(column, pa.Array):
        if column.dtype.kind not in "fiub" or column.ndim not in (1, 2):
            raise problem
        return column.astype(np.float32)
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        there = column.is_valid().to_numpy(zero_copy_only=False)
        values = _numbers(column.flatten(), name, path)  # of the rows that have a vector
        if not there.any() or len(set(column.drop_null().value_lengths().to_pylist())) != 1 or not len(values):
            raise problem
        vectors = np.full((len(column), len(values) // np.count_nonzero(there)), np.nan, dtype=np.float32)
        vectors[there] = values.reshape(-1, vectors.shape[1])
        return vectors
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise problem
    return column.to_numpy(zero_copy_only=False).astype(np.float32)


def _standardised(values: Float32, rows: Bool) -> Float32:
    """``[n, d + 1]`` by the mean and deviation of some rows, and whether a row has numbers."""
    fitted = np.ma.masked_invalid(values[rows].astype(np.float64))
    mean, deviation = (np.ma.filled(part, 0.0) for part in (fitted.mean(axis=0), fitted.std(axis=0)))
    scaled = (values - mean) / np.where(deviation > 1e-9, deviation, 1.0)
    there = np.isfinite(values).any(axis=1, keepdims=True)
    columns = [np.clip(np.nan_to_num(scaled), -WIDEST, WIDEST), there]
    return np.concatenate(columns, axis=1).astype(np.float32)
