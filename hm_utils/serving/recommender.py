"""A published model in, ranked articles out; the service and the batch command both use it.

<version>/
  checkpoint.pt        the towers
  article_vectors.npy  the articles' vectors, as the user tower reads them in a history
  index/               what is searched: their tastes, popularity folded in, and ScaNN's files
  scoring.json         the weights of popularity and repurchase, see hm_utils.model.scoring
  siblings/            the articles of every product that were on sale
  articles.parquet     the catalogue with prices and recent sales, in order of article row
  encoders.json        the vocabularies, for the attributes of somebody unknown
  customers.arrow      the customers' own attributes, in order of customer row, memory-mapped
  customer_ids.npy     their ids as bytes, ascending: looked up by binary search, memory-mapped
  attributes.npy       codes of the customers' attributes
  queries.npy          what the index is searched with for each of them, see hm_utils.serving.stored_queries
  log/                 every purchase up to the model's day
  replay.json          lists of the evaluation beside what was then bought, see hm_utils.evaluation.replay
  map.bin              the articles laid out in the plane, see hm_utils.serving.article_map
  manifest.json        see hm_utils.serving.bundle
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.feather
from tqdm.auto import trange

from hm_utils.arrays import Float32, Int32, Int64
from hm_utils.data.features import CUSTOMER_COLUMNS, CUSTOMER_NUMBERS, Encoders
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.segments import Kind, customers_by_segment
from hm_utils.evaluation.replay import read_replay
from hm_utils.model.checkpoint import load_checkpoint, read_checkpoint
from hm_utils.model.scoring import (
    OWN_LENGTH,
    Scoring,
    Variants,
    best,
    factor,
    fold_customers,
    popularity_share,
    relatives,
    scores_of,
    weight_identity,
)
from hm_utils.model.snapshot import encode_customers
from hm_utils.model.towers import TwoTower
from hm_utils.retrieval.index import ExactIndex, Searchable, load_exact, load_index
from hm_utils.retrieval.milvus import StoreIndex, VectorStoreError
from hm_utils.serving import article_map
from hm_utils.serving.bundle import BundleError, verify
from hm_utils.serving.catalogue import Catalogue
from hm_utils.serving.reranking import maximal_marginal_relevance
from hm_utils.serving.stored_queries import StoredQueries, write_queries
from hm_utils.serving.user_context import UserContext, customers_as_of, merged, visit

NOTHING = np.empty(0, dtype=np.int32)

# A published list may differ from its golden copy by the rounding of another processor, not by more.
GOLDEN_TOLERANCE = 1e-3

STORED_AT_ONCE = 16_384  # customers


class Recommender:
    """A loaded model. Nothing in it changes, so threads may share it."""

    def __init__(
        self,
        model: TwoTower,
        index: Searchable,
        article_vectors: Float32,
        catalogue: Catalogue,
        customer_ids: npt.NDArray[np.bytes_],
        encoders: Encoders,
        customer_table: pa.Table,
        attributes: Int32,
        log: PurchaseLog,
        history_length: int,
        scoring: Scoring,
        variants: Variants,
        manifest: dict[str, Any],
        folder: Path | None = None,
        stored_queries: StoredQueries | None = None,
        replay: dict[str, Any] | None = None,
        packed_map: bytes | None = None,
    ) -> None:
        # Not the item tower: its tables are larger than all the rest, and its vectors are stored.
        self._user_tower, self._config = model.user_tower, model.config
        self._index = index
        self.catalogue = catalogue
        self.customer_ids = customer_ids
        self._encoders = encoders
        self._customer_table = customer_table
        self._attributes = attributes
        self.log = log
        self._history_length = history_length
        self.manifest = manifest
        self._folder = folder
        self.replay = replay
        self.packed_map = packed_map
        self.scoring = scoring
        self._variants = variants
        self._stored_queries = stored_queries
        self._times = factor(index.vectors, float(model.scale.detach()))
        self._article_vectors = article_vectors

    @property
    def version(self) -> str:
        """Of the published model."""
        return str(self.manifest["version"])

    @property
    def is_remote(self) -> bool:
        """Whether a search waits for another process, so that nothing quick may wait for it."""
        return isinstance(self._index, StoreIndex)

    def probe(self) -> None:
        """Raises VectorStoreError if the articles are in a vector store that does not answer."""
        if isinstance(self._index, StoreIndex):
            self._index.probe()

    @property
    def article_ids(self) -> npt.NDArray[np.str_]:
        """``[n]`` article id of every article row."""
        return self.catalogue.ids

    @property
    def n_customers(self) -> int:
        return len(self.customer_ids)

    @property
    def as_of(self) -> int:
        """The day after the log's last."""
        return self.log.last_day + 1

    def customer_rows(self, ids: Sequence[str]) -> Int64:
        """``[n]`` rows of the customers with these ids, -1 where an id is unknown."""
        wanted = np.array(
            [customer_id.encode("ascii", "replace") for customer_id in ids], dtype=self.customer_ids.dtype
        )
        rows = np.minimum(np.searchsorted(self.customer_ids, wanted), len(self.customer_ids) - 1)
        # The array's fixed width would cut a longer id to one that exists.
        known = (self.customer_ids[rows] == wanted) & np.array([len(i) <= wanted.itemsize for i in ids], dtype=bool)
        return np.where(known, rows, -1).astype(np.int64)

    def customer_details(self, row: int) -> dict[str, Any]:
        """What the customers' table says of one; None where it says nothing."""
        found: dict[str, Any] = self._customer_table.slice(row, 1).to_pylist()[0]
        return {name: None if value != value else value for name, value in found.items()}

    def customers_beginning(self, prefix: str, limit: int) -> Int64:
        """Rows of the first ``limit`` customers whose id begins with ``prefix``."""
        ends = [prefix.encode(), prefix.encode().ljust(self.customer_ids.itemsize, b"~")]  # ~ comes after all digits
        first, last = np.array(ends, dtype=self.customer_ids.dtype)
        start = np.searchsorted(self.customer_ids, first)
        end = np.searchsorted(self.customer_ids, last, side="right")
        return np.arange(start, min(end, start + limit), dtype=np.int64)

    @cached_property
    def kinds(self) -> dict[Kind, Int32]:
        """Rows of the customers of each kind."""
        return customers_by_segment(self.log, self._customer_table["age"].to_numpy())

    def customers(self, rows: npt.NDArray[np.integer]) -> UserContext:
        """Customers as the model knows them."""
        length = max(self._history_length, OWN_LENGTH)
        return customers_as_of(self.log, self._attributes, np.asarray(rows, dtype=np.int32), self.as_of, length)

    def visitor(
        self,
        row: int | None = None,
        attributes: Mapping[str, Any] | None = None,
        articles: Sequence[int] = (),
        days_ago: Sequence[int] = (),
    ) -> UserContext:
        """One person on a visit.

        Args:
            row: of the customer, with their purchases; None for somebody unknown.
            attributes: raw values by column of the customers' table, missing where left out; None takes the
                customer's own.
            articles: rows of what they looked at or bought, in that order, beside what the model knows.
            days_ago: of each of these, 0 for the visit under way.
        """
        known = self.customers(np.array([0 if row is None else row]))
        if row is None:
            nothing = replace(known.histories, mask=np.zeros_like(known.histories.mask))
            known = replace(known, histories=nothing, rows=None)
        if row is None or attributes is not None:
            given = {name: (attributes or {}).get(name) for name in CUSTOMER_COLUMNS}
            numbers = {name: np.float32(np.nan if given[name] is None else given[name]) for name in CUSTOMER_NUMBERS}
            codes = self._encoders.encode_customers(pd.DataFrame([given | numbers]))
            known = replace(known, attributes=codes, rows=None)
        if not len(articles):
            return known
        seen = visit(articles, days_ago, known.histories.mask.shape[1])
        return replace(known, histories=merged(seen, known.histories), rows=None)

    def encode(self, users: UserContext) -> Float32:
        """``[n, vector_dim]`` unit vectors of shoppers, on :attr:`as_of`."""
        histories = users.histories.newest(self._history_length)
        return encode_customers(self._user_tower, self._article_vectors, users.attributes, histories)

    def queries(self, users: UserContext) -> Float32:
        """``[n, d + 2]`` what the index is searched with: read for customers as they are known, else encoded."""
        if users.rows is not None and self._stored_queries is not None:
            return self._stored_queries.read(users.rows)
        return self.encoded_queries(users)

    def encoded_queries(self, users: UserContext) -> Float32:
        """The same by the user tower; to the last bit on the machine that published the model."""
        share = popularity_share(users.histories, self.scoring)
        return fold_customers(
            weight_identity(self.encode(users), self._config.total_identity_dim, self.scoring.name), share
        )

    def store_queries(self, path: Path) -> None:
        """Write everybody's :meth:`queries`, for :meth:`open` to find."""
        rows = np.arange(self.n_customers)
        starts = trange(0, len(rows), STORED_AT_ONCE, desc="customers' vectors", file=sys.stdout, delay=2, leave=False)
        write_queries(
            path, (self.encoded_queries(self.customers(rows[i : i + STORED_AT_ONCE])) for i in starts), len(rows)
        )

    def recommend(
        self,
        users: UserContext,
        top_k: int,
        excluded: npt.NDArray[np.integer] = NOTHING,
        allowed: Int32 | None = None,
    ) -> tuple[Int32, Float32]:
        """The best articles for each shopper, over the whole catalogue.

        Args:
            shoppers: from :meth:`customers` or :meth:`visitor`.
            top_k: how many articles; far above 100 the index searches exactly, which takes longer.
            excluded: rows of articles to leave out, the next best in their place.
            allowed: rows, ascending, of the only articles to choose from, by exact search; None for all.

        Returns:
            ``articles [n, top_k]`` int32 article rows, best first, -1 where there are no more, and
            ``scores [n, top_k]`` float32, on the model's scale (see hm_utils.model.scoring), falling, -inf there.
        """
        if allowed is not None:
            allowed = np.setdiff1d(allowed, excluded).astype(np.int32)
        if not len(users) or (allowed is not None and not len(allowed)):
            return np.full((len(users), top_k), -1, np.int32), np.full((len(users), top_k), -np.inf, np.float32)
        queries, related = self.queries(users), relatives(users.histories, self._variants)
        index: Searchable = self._index
        if allowed is not None:
            index = ExactIndex(self._index.vectors[allowed], allowed)
            related = related.among(allowed)

        def search(k: int) -> tuple[Int32, Float32]:
            return best(index.search, self._index.vectors, self._times, queries, related, self.scoring, k)

        found, scores = search(top_k)
        if allowed is not None or not len(excluded):
            return found, scores
        out = np.isin(found, excluded)
        deeper = 0
        while int(out.sum(axis=1).max()) > deeper:  # no deeper than it takes: a deep search is an exact one
            deeper = int(out.sum(axis=1).max())
            found, scores = search(top_k + deeper)
            out = np.isin(found, excluded)
        if deeper:
            # A stable sort by "is excluded" moves what stays to the front, in order.
            order = np.argsort(out, axis=1, kind="stable")
            found = np.take_along_axis(np.where(out, -1, found).astype(np.int32), order, axis=1)
            scores = np.take_along_axis(np.where(out, -np.inf, scores).astype(np.float32), order, axis=1)
        return found[:, :top_k], scores[:, :top_k]

    def diversify(self, articles: Int32, scores: Float32, diversity: float, top_k: int) -> tuple[Int32, Float32]:
        """``top_k`` of one shopper's candidates (``[n]``, best first), against likeness of their tastes."""
        places = maximal_marginal_relevance(scores, self._embeddings(articles), diversity, top_k)
        return articles[places], scores[places]

    def reasons(self, user: UserContext, articles: Int32, most: int = 3) -> list[list[int]]:
        """For each of the ``articles`` recommended to one shopper, the articles of their history that lift it most.

        Lifting is what its score loses when the other article is taken out of the history; only what loses counts.
        """
        newest = user.histories.newest(self._history_length)
        history = np.unique(newest.articles[newest.mask]).astype(np.int32)
        if not len(history):
            return [[] for _ in articles]
        variants = user.without(history)
        lost = self._scores(user, articles) - self._scores(variants, articles)
        order = np.argsort(-lost, axis=0, kind="stable")[:most]
        return [history[order[:, j]][lost[order[:, j], j] > 0].tolist() for j in range(len(articles))]

    def _scores(self, users: UserContext, articles: Int32) -> Float32:
        """``[n, len(articles)]`` of the same articles for every shopper."""
        wanted = np.broadcast_to(articles, (len(users), len(articles)))
        scores = scores_of(self._index.vectors, self._times, self.queries(users), wanted)
        related = relatives(users.histories, self._variants)
        same = related.articles[:, None, :] == wanted[:, :, None]
        return scores + (same * related.bonus(self.scoring)[:, None, :]).sum(axis=2)

    def similar(self, article: int, top_k: int) -> tuple[Int32, Float32]:
        """The articles whose taste is closest to that of one, best first, and their cosines."""
        query = np.zeros((1, self._index.vectors.shape[1]), dtype=np.float32)
        query[0, : self._config.total_output_dim] = self._embeddings(np.array([article]))
        found, dots = ExactIndex(self._index.vectors, self._index.ids).search(query, top_k + 1)
        length = np.linalg.norm(self._index.vectors[article, : self._config.total_output_dim])
        other = np.flatnonzero((found[0] != article) & (found[0] >= 0))[:top_k]
        return found[0, other], dots[0, other] / length

    def _embeddings(self, articles: npt.NDArray[np.integer]) -> Float32:
        """``[n, total_output_dim]`` unit vectors of what kind of articles they are, without their names."""
        embeddings = self._article_vectors[articles, : self._config.total_output_dim]
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    def golden(self, rows: Sequence[int], top_k: int = 10) -> dict[str, Any]:
        """A query and its answer, for the manifest: whoever loads the model asks it again."""
        articles, scores = self.recommend(self.customers(np.asarray(rows)), top_k)
        return {
            "customer_ids": [self.customer_ids[row].decode() for row in rows],
            "article_ids": [self.article_ids[found[found >= 0]].tolist() for found in articles],
            "scores": [found[np.isfinite(found)].tolist() for found in scores],
        }

    @classmethod
    def load(cls, path: Path, vector_store: str | None = None) -> Recommender:
        """Verify the model in ``path``, open it and ask it the golden query.

        Args:
            vector_store: address of a store to search instead of the model's own index, see hm_utils.retrieval.milvus.

        Raises:
            BundleError: a file is missing, altered or unreadable, the answer is another than the published, or the
                store has not this version, or does not answer.
        """
        folder = path.resolve()
        manifest = verify(folder)
        try:
            recommender = cls.open(folder, manifest, own_index=vector_store is None)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise BundleError(folder, f"cannot be opened ({error}): publish it again with `make run`") from error
        recommender.check_golden()
        if vector_store is not None:
            try:
                exact = load_exact(folder / "index")
                recommender._index = StoreIndex(exact, vector_store, recommender.version)
            except (VectorStoreError, ValueError, ImportError) as error:
                raise BundleError(folder, str(error)) from error
        return recommender

    @classmethod
    def open(cls, folder: Path, manifest: dict[str, Any], own_index: bool = True) -> Recommender:
        """Open the files without verifying them; arrays are memory-mapped. Without its own index, search is exact."""
        checkpoint, stored = folder / "checkpoint.pt", folder / "queries.npy"
        return cls(
            model=load_checkpoint(checkpoint),
            index=load_index(folder / "index") if own_index else load_exact(folder / "index"),
            article_vectors=np.asarray(np.load(folder / "article_vectors.npy", mmap_mode="c", allow_pickle=False)),
            catalogue=Catalogue.load(folder / "articles.parquet"),
            # Plain arrays over the mapped pages: every slice of a memmap is a new object with a file's attributes.
            customer_ids=np.asarray(np.load(folder / "customer_ids.npy", mmap_mode="r", allow_pickle=False)),
            encoders=Encoders.load(folder),
            customer_table=pa.feather.read_table(folder / "customers.arrow", memory_map=True),
            attributes=np.asarray(np.load(folder / "attributes.npy", mmap_mode="r", allow_pickle=False)),
            log=PurchaseLog.load(folder / "log"),
            history_length=int(read_checkpoint(checkpoint)["settings"]["history_length"]),
            scoring=Scoring(**json.loads((folder / "scoring.json").read_text())),
            variants=Variants.load(folder / "variants"),
            manifest=manifest,
            folder=folder,
            stored_queries=StoredQueries(stored) if stored.exists() else None,  # not yet while it is being published
            replay=read_replay(folder),
            packed_map=(folder / article_map.FILE).read_bytes(),
        )

    def check_golden(self) -> None:
        """Ask the golden query. Raises BundleError if the answer is not the one in the manifest."""
        golden = self.manifest["golden"]
        rows = self.customer_rows(golden["customer_ids"])
        folder = self._folder or Path()
        if (rows < 0).any():
            raise BundleError(folder, "the golden query's customers are unknown: publish again with `make run`")
        customers = self.customers(rows)
        if np.abs(self.queries(customers) - self.encoded_queries(customers)).max(initial=0) > GOLDEN_TOLERANCE:
            raise BundleError(folder, "queries.npy is of other towers: publish again with `make run`")
        _, scores = self.recommend(customers, max(len(ids) for ids in golden["article_ids"]))
        for found, expected in zip(scores, golden["scores"], strict=True):
            if np.abs(found[: len(expected)] - expected).max(initial=0) > GOLDEN_TOLERANCE:
                raise BundleError(folder, "answers the golden query differently: publish again with `make run`")
