"""The content of a published model: what its files are called, how they are written, and how they are opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.feather

from hm_utils.arrays import SMALL, Float32, Int32, mapped
from hm_utils.data.features import Encoders
from hm_utils.data.ids import as_bytes
from hm_utils.data.purchases import PurchaseLog
from hm_utils.model.checkpoint import read_checkpoint, restore
from hm_utils.model.repurchase import RepeatRates, Variants
from hm_utils.model.scoring import Scoring
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.towers import UserEnsemble
from hm_utils.retrieval.index import Index, Searchable, load_exact, load_index
from hm_utils.serving.article_map import size_of
from hm_utils.serving.catalogue import Catalogue, with_sales
from hm_utils.serving.stored_vectors import StoredVectors

# The files of a published model. Its manifest lists them with their checksums (hm_utils.serving.bundle).
CHECKPOINT = "checkpoint.pt"  # the towers
ARTICLE_VECTORS = "article_vectors.npy"  # the item tower's vectors
POPULARITY = "popularity.npy"  # log popularity of every article
INDEX = "index"  # the vectors to search, popularity folded in, and ScaNN's files
SCORING = "scoring.json"  # the weights of a score, see hm_utils.model.scoring
VARIANTS = "variants"  # the articles of every product that were on sale
RATES = "repeat_rates"  # how each article is bought again by anybody
ARTICLES = "articles.parquet"  # the catalogue with prices and recent sales, in order of article row
CUSTOMER_TABLE = "customers.arrow"  # the customers' raw attributes, in order of customer row
CUSTOMER_IDS = "customer_ids.npy"  # their ids as bytes, ascending, for a binary search
ATTRIBUTES = "attributes.npy"  # codes of the customers' attributes
CUSTOMER_FEATURES = "customer_features.npy"  # numbers of theirs, only if the towers have them
LOG = "log"  # every purchase up to the model's day
USER_VECTORS = "user_vectors.npy"  # the user tower's vector of every customer, see hm_utils.serving.stored_vectors
REPLAY = "replay.json"  # rankings of the evaluation beside the purchases that followed
CARD = "MODEL_CARD.md"  # see hm_utils.serving.model_card
MAP = "map.bin"  # the articles' places in the plane, see hm_utils.serving.article_map
# The vocabularies are in encoders.json, which Encoders writes.


@dataclass(frozen=True)
class ModelContent:
    """A published model in memory, or memory-mapped from its folder; a field a file.

    Attributes:
        user_tower: without the item tower, whose tables are larger than the rest and whose vectors are stored.
        scale: the learned scale of the cosine.
        history_length: purchases of a history that the towers were trained with.
        customer_ids: ``[n_customers]`` UTF-8.
        customer_table: a row a customer.
        attributes: ``[n_customers, columns]``.
        user_vectors: None while a model is being published.
        customer_features: ``[n_customers, n_customer_features]``, None without.
        replay, packed_map, card: None for a model without.
        folder: where it was opened.
    """

    user_tower: UserEnsemble
    scale: float
    history_length: int
    article_vectors: Float32
    popularity: Float32
    index: Searchable
    scoring: Scoring
    variants: Variants
    rates: RepeatRates
    catalogue: Catalogue
    encoders: Encoders
    customer_ids: npt.NDArray[np.bytes_]
    customer_table: pa.Table
    attributes: Int32
    log: PurchaseLog
    user_vectors: StoredVectors | None = None
    customer_features: Float32 | None = None
    replay: dict[str, Any] | None = None
    packed_map: bytes | None = None
    card: str | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    @classmethod
    def open(cls, folder: Path, manifest: dict[str, Any] | None = None, own_index: bool = True) -> ModelContent:
        """Open a folder without verifying it. Without its own index, search is exact."""
        checkpoint, vectors = read_checkpoint(folder / CHECKPOINT), folder / USER_VECTORS
        towers = restore(checkpoint, folder / CHECKPOINT)
        return cls(
            user_tower=towers.user_tower,
            scale=float(towers.scale.detach()),
            history_length=int(checkpoint["settings"]["history_length"]),
            article_vectors=mapped(folder / ARTICLE_VECTORS, "c"),
            popularity=mapped(folder / POPULARITY),
            index=load_index(folder / INDEX) if own_index else load_exact(folder / INDEX),
            scoring=Scoring.from_dict(json.loads((folder / SCORING).read_text())),
            variants=Variants.load(folder / VARIANTS),
            rates=RepeatRates.load(folder / RATES),
            catalogue=Catalogue.load(folder / ARTICLES),
            encoders=Encoders.load(folder),
            customer_ids=mapped(folder / CUSTOMER_IDS),
            customer_table=pa.feather.read_table(
                folder / CUSTOMER_TABLE, memory_map=(folder / CUSTOMER_TABLE).stat().st_size > SMALL
            ),
            attributes=mapped(folder / ATTRIBUTES),
            log=PurchaseLog.load(folder / LOG),
            user_vectors=StoredVectors(vectors) if vectors.exists() else None,
            customer_features=mapped(folder / CUSTOMER_FEATURES) if (folder / CUSTOMER_FEATURES).exists() else None,
            replay=json.loads((folder / REPLAY).read_text()),
            packed_map=(folder / MAP).read_bytes(),
            card=(folder / CARD).read_text(encoding="utf-8") if (folder / CARD).exists() else None,
            manifest=manifest or {},
            folder=folder,
        )

    def check(self) -> None:
        """Check that the parts fit each other: a request must not be the first to find out.

        Raises:
            ValueError: one does not; the message names it.
        """
        self.catalogue.check()
        self.customer_table.validate(full=True)
        n_articles, n_customers, log, variants = len(self.catalogue), len(self.customer_ids), self.log, self.variants
        config = self.user_tower.config
        sizes = config.customer_sizes
        d = config.vector_dim + 2
        fits = {
            ARTICLE_VECTORS: self.article_vectors.shape == (n_articles, config.vector_dim)
            and self.article_vectors.dtype == np.float32
            and bool(np.isfinite(self.article_vectors).all()),
            INDEX: self.index.vectors.shape == (n_articles, d)
            and bool((self.index.ids == np.arange(n_articles)).all())
            and bool(np.isfinite(self.index.vectors).all()),
            POPULARITY: self.popularity.shape == (n_articles,) and bool(np.isfinite(self.popularity).all()),
            SCORING: bool(np.isfinite(self.scoring.weights).all()),
            RATES: all(rate.shape == (n_articles,) and np.isfinite(rate).all() for rate in vars(self.rates).values()),
            VARIANTS: variants.product.shape == (n_articles,)
            and within(variants.product, -1, len(variants.offsets) - 1)
            and are_offsets(variants.offsets, len(variants.articles))
            and within(variants.articles, 0, n_articles),
            ARTICLES: bool(np.unique(self.catalogue.ids).size == n_articles),
            CUSTOMER_IDS: self.customer_ids.ndim == 1
            and self.customer_ids.dtype.kind == "S"
            and bool((self.customer_ids[1:] > self.customer_ids[:-1]).all()),
            CUSTOMER_TABLE: len(self.customer_table) == n_customers,
            ATTRIBUTES: self.attributes.shape == (n_customers, len(sizes))
            and all(within(codes, 0, size) for codes, size in zip(self.attributes.T, sizes, strict=True)),
            LOG: log.n_customers == n_customers
            and log.n_articles == n_articles
            and len({len(column) for column in (log.article, log.day, log.price, log.channel)}) == 1
            and are_offsets(log.offsets, len(log))
            and within(log.article, 0, n_articles)
            and within(log.day, 0, np.iinfo(np.int16).max),
            USER_VECTORS: self.user_vectors is None or self.user_vectors.shape == (n_customers, config.vector_dim),
            CUSTOMER_FEATURES: not config.n_customer_features
            if self.customer_features is None
            else self.customer_features.shape == (n_customers, config.n_customer_features)
            and bool(np.isfinite(self.customer_features).all()),
            REPLAY: self.replay is None or bool((self.catalogue.rows(articles_of(self.replay)) >= 0).all()),
            MAP: self.packed_map is None or size_of(self.packed_map) == (n_articles, len(self.packed_map)),
        }  # fmt: skip
        wrong = [name for name, fit in fits.items() if not fit]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: wrong values, or no part of this model")


def articles_of(replay: Mapping[str, Any]) -> list[str]:
    """The ids of all articles of a replay, see :mod:`hm_utils.evaluation.replay`."""
    ids: list[str] = []
    for customer in replay["customers"]:
        ids += [*customer["bought"], *(purchase["article_id"] for purchase in customer["before"])]
        for ranking in replay["rankings"]:
            ids += customer["lists"][ranking]
    return ids


def within(values: npt.NDArray[Any], low: int, high: int) -> bool:
    """Whether they are whole numbers from ``low`` to ``high - 1``."""
    return values.dtype.kind in "iu" and (not values.size or (int(values.min()) >= low and int(values.max()) < high))


def are_offsets(values: npt.NDArray[Any], end: int) -> bool:
    """Whether they lead from 0 to ``end`` and never back."""
    return (
        values.ndim == 1
        and values.dtype.kind in "iu"
        and values.size > 0
        and int(values[0]) == 0
        and int(values[-1]) == end
        and bool((values[1:] >= values[:-1]).all())
    )


def write_model(
    folder: Path,
    *,
    checkpoint_path: Path,
    snapshot: Snapshot,
    index: Index,
    scoring: Scoring,
    encoders: Encoders,
    articles: pd.DataFrame,
    customers: pd.DataFrame,
    replay: Mapping[str, Any],
    packed_map: bytes,
) -> None:
    """Write a model into an empty ``folder``: all files but :data:`USER_VECTORS`, :data:`CARD` and the manifest.

    Args:
        checkpoint_path: of the snapshot's towers.
        index: of the vectors of ``snapshot.scorer(scoring)``.
        articles, customers: the master tables.
        replay: plain values, fit for JSON.
    """
    shutil.copyfile(checkpoint_path, folder / CHECKPOINT)
    np.save(folder / ARTICLE_VECTORS, snapshot.article_vectors, allow_pickle=False)
    np.save(folder / POPULARITY, snapshot.popularity, allow_pickle=False)
    index.save(folder / INDEX)
    (folder / SCORING).write_text(json.dumps(asdict(scoring)))
    snapshot.variants.save(folder / VARIANTS)
    snapshot.rates.save(folder / RATES)
    encoders.save(folder)
    with_sales(articles, snapshot.log).to_parquet(folder / ARTICLES, index=False)
    table = pa.Table.from_pandas(customers.drop(columns="customer_id"), preserve_index=False)
    for place, name in enumerate(table.column_names):
        if not pa.types.is_floating(table[name].type):  # texts repeat
            table = table.set_column(place, name, table[name].combine_chunks().dictionary_encode())
    # Not Parquet: a row of an Arrow file is read in place, without the rest.
    pa.feather.write_feather(table, folder / CUSTOMER_TABLE, compression="uncompressed", chunksize=len(table))
    np.save(folder / CUSTOMER_IDS, as_bytes(customers["customer_id"]), allow_pickle=False)
    np.save(folder / ATTRIBUTES, snapshot.attributes, allow_pickle=False)
    if snapshot.side.customers is not None:
        np.save(folder / CUSTOMER_FEATURES, snapshot.side.customers, allow_pickle=False)
    snapshot.log.save(folder / LOG)
    (folder / REPLAY).write_text(json.dumps(replay, separators=(",", ":"), allow_nan=False))
    (folder / MAP).write_bytes(packed_map)
