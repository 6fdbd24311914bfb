"""A published model in, ranked articles out; the service and the batch command both use it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm.auto import trange

from hm_utils.arrays import Bool, Float32, Int32, Int64
from hm_utils.data.histories import Purchases
from hm_utils.data.ids import rows_of
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.segments import Segment, customers_by_segment
from hm_utils.files import follow
from hm_utils.model.encoding import encode_customers
from hm_utils.model.repurchase import Relatives
from hm_utils.model.scorer import Scorer
from hm_utils.model.scoring import Scoring
from hm_utils.model.tower_classes import TowerError
from hm_utils.retrieval.index import ExactIndex, Searchable
from hm_utils.retrieval.index_tuning import recall_at_k
from hm_utils.retrieval.milvus import StoreIndex, VectorStoreError
from hm_utils.retrieval.part import PartOfIndex
from hm_utils.serving.bundle import PUBLISH_AGAIN, BundleError, verify
from hm_utils.serving.catalogue import Catalogue
from hm_utils.serving.model_folder import USER_VECTORS, ModelContent
from hm_utils.serving.reranking import maximal_marginal_relevance
from hm_utils.serving.stock import InStock, Stock
from hm_utils.serving.stored_vectors import write_vectors
from hm_utils.serving.user_context import UserContext, customers_as_of

NOTHING = np.empty(0, dtype=np.int32)
NO_PURCHASES = Purchases(np.empty(0, dtype=np.int64), NOTHING, NOTHING, 1)

# Scores may differ from the published golden ones by another processor's rounding, and by no more.
GOLDEN_TOLERANCE = 1e-3
RECALL_CUSTOMERS, RECALL_TOLERANCE = 200, 0.01

STORED_AT_ONCE = 16_384  # customers


class Recommender:
    """A loaded model. Nothing in it changes, so threads may share it."""

    def __init__(self, content: ModelContent) -> None:
        self._content = content
        self._index: Searchable = content.index
        self.in_stock: InStock | None = None
        self._scorer = Scorer(
            scoring=content.scoring,
            vectors=content.index.vectors,
            article_vectors=content.article_vectors,
            popularity=content.popularity,
            variants=content.variants,
            rates=content.rates,
            scale=content.scale,
        )

    def with_stock(self, stock: Stock | None) -> Recommender:
        """The same model that recommends only articles in stock; None for all articles.

        Raises:
            StockError: the model knows no article of the list.
        """
        changed = copy.copy(self)
        changed.in_stock = None if stock is None else stock.of(self.catalogue, self.hm_ids)
        index = self._content.index
        changed._index = index if changed.in_stock is None else PartOfIndex(index, changed.in_stock.rows)
        return changed

    @property
    def manifest(self) -> dict[str, Any]:
        return self._content.manifest

    @property
    def version(self) -> str:
        """The version of the published model."""
        return str(self.manifest["version"])

    @property
    def folder(self) -> Path:
        """The folder that the model was loaded from; it keeps its name when a newer model is published."""
        return self._content.folder

    @property
    def catalogue(self) -> Catalogue:
        return self._content.catalogue

    @property
    def log(self) -> PurchaseLog:
        return self._content.log

    @property
    def replay(self) -> dict[str, Any] | None:
        return self._content.replay

    @property
    def card(self) -> str | None:
        """The model card, in Markdown."""
        return self._content.card

    @property
    def packed_map(self) -> bytes | None:
        return self._content.packed_map

    @property
    def is_remote(self) -> bool:
        """Whether a search waits for another process; fast requests must not wait for it."""
        return isinstance(self._content.index, StoreIndex)

    def probe(self) -> None:
        """Raises VectorStoreError if the articles are in a vector store that does not answer."""
        if isinstance(self._content.index, StoreIndex):
            self._content.index.probe()

    @property
    def article_ids(self) -> npt.NDArray[np.str_]:
        """``[n]`` article id of every article row."""
        return self.catalogue.ids

    @property
    def article_vectors(self) -> Float32:
        """``[n, vector_dim]`` embedding of every article row."""
        return self._content.article_vectors

    @property
    def customer_ids(self) -> npt.NDArray[np.bytes_]:
        """``[n]`` customer id of every customer row, ascending."""
        return self._content.customer_ids

    @property
    def hm_ids(self) -> bool:
        """Whether the ids are H&M's, see :mod:`hm_utils.data.ids`."""
        return bool(self.manifest.get("data", {}).get("hm_ids", True))

    @property
    def n_customers(self) -> int:
        return len(self.customer_ids)

    @property
    def as_of(self) -> int:
        """The day after the log's last."""
        return self.log.last_day + 1

    def customer_rows(self, ids: Sequence[str]) -> Int64:
        """``[n]`` rows of the customers with these ids, -1 where an id is unknown."""
        return rows_of(self.customer_ids, ids)

    def customer_details(self, row: int) -> dict[str, Any]:
        """The customer's row of the customers' table; None for an empty value."""
        found: dict[str, Any] = self._content.customer_table.slice(row, 1).to_pylist()[0]
        return {name: None if value != value else value for name, value in found.items()}

    def customers_beginning(self, prefix: str, limit: int) -> Int64:
        """Rows of the first ``limit`` customers whose id begins with ``prefix``."""
        start_of_id, width = prefix.encode(), self.customer_ids.itemsize
        if len(start_of_id) > width:
            return np.empty(0, dtype=np.int64)
        ends = [start_of_id, start_of_id.ljust(width, b"\xff")]  # a byte that no text in UTF-8 has
        first, last = np.array(ends, dtype=self.customer_ids.dtype)
        start = np.searchsorted(self.customer_ids, first)
        end = np.searchsorted(self.customer_ids, last, side="right")
        return np.arange(start, min(end, start + limit), dtype=np.int64)

    @cached_property
    def segments(self) -> dict[Segment, Int32]:
        """Rows of the customers of each segment."""
        return customers_by_segment(self.log, self._content.customer_table["age"].to_numpy())

    def customers(self, rows: npt.NDArray[np.integer]) -> UserContext:
        """Customers as the model knows them."""
        users = customers_as_of(self.log, self._content.attributes, np.asarray(rows, dtype=np.int32), self.as_of)
        features = self._content.customer_features
        return users if features is None else replace(users, features=np.asarray(features[rows]))

    def visitor(
        self,
        row: int | None = None,
        attributes: Mapping[str, Any] | None = None,
        articles: Sequence[int] = (),
        days_ago: Sequence[int] = (),
    ) -> UserContext:
        """The context of one visitor.

        Args:
            row: of the customer, with their purchases; None for an unknown visitor.
            attributes: raw values by column of the customers' table, missing by default. None takes the customer's
                own.
            articles: rows of viewed or bought articles in order, in addition to the model's.
            days_ago: days since each of these, 0 for the visit under way.
        """
        if row is None:
            codes = self._content.encoders.encode_customer(attributes or {})
            features = self._content.customer_features
            nothing = None if features is None else np.zeros((1, features.shape[1]), dtype=np.float32)
            return UserContext(codes, NO_PURCHASES.merged(articles, days_ago), features=nothing)
        known = self.customers(np.array([row]))
        if attributes is not None:
            known = replace(known, attributes=self._content.encoders.encode_customer(attributes), rows=None)
        if not len(articles):
            return known
        return replace(known, purchases=known.purchases.merged(articles, days_ago), rows=None)

    def vectors(self, users: UserContext) -> Float32:
        """``[n, d]`` the user tower's vectors: stored ones for customers as the model knows them, else encoded."""
        if users.rows is not None and self._content.user_vectors is not None:
            return self._content.user_vectors.read(users.rows)
        return self.encoded(users)

    def encoded(self, users: UserContext) -> Float32:
        """Vectors by the user tower; equal to stored ones to the last bit on the machine that published."""
        tower, vectors = self._content.user_tower, self._content.article_vectors
        histories = users.purchases.newest(self._content.history_length)
        return encode_customers(tower, vectors, users.attributes, histories, features=users.features)

    def queries(self, users: UserContext) -> Float32:
        """``[n, d + 2]`` vectors to search the index with."""
        return self._scorer.queries(self.vectors(users), self._relatives(users).returning)

    def _relatives(self, users: UserContext) -> Relatives:
        return self._scorer.relatives(users.purchases)

    def store_vectors(self, folder: Path) -> None:
        """Write every customer's vector into the model's folder."""
        rows = np.arange(self.n_customers)
        starts = trange(0, len(rows), STORED_AT_ONCE, desc="customers' vectors", file=sys.stdout, delay=2, leave=False)
        parts = (self.encoded(self.customers(rows[i : i + STORED_AT_ONCE])) for i in starts)
        write_vectors(folder / USER_VECTORS, parts, len(rows))

    def recommend(
        self,
        users: UserContext,
        top_k: int,
        excluded: npt.NDArray[np.integer] = NOTHING,
        allowed: Int32 | None = None,
        scoring: Scoring | None = None,
    ) -> tuple[Int32, Float32]:
        """The best articles for each user, of the whole catalogue or of those in stock.

        Args:
            users: from :meth:`customers` or :meth:`visitor`.
            top_k: number of articles; far above 100 the index searches exactly, which takes longer.
            excluded: rows of articles to exclude; the next best take their place.
            allowed: rows, ascending, of the only articles to choose from, by exact search; None for all.
            scoring: other weights than the published ones, such as ``BEST_SELLERS``, by exact search.

        Returns:
            ``articles [n, top_k]`` int32 article rows, best first and padded with -1, and ``scores [n, top_k]``
            float32, falling, -inf there (see hm_utils.model.scoring).
        """
        if allowed is not None:
            allowed = np.setdiff1d(self.among_stock(allowed), excluded).astype(np.int32)
        if not len(users) or (allowed is not None and not len(allowed)):
            return np.full((len(users), top_k), -1, np.int32), np.full((len(users), top_k), -np.inf, np.float32)
        vectors, related = self.vectors(users), self._relatives(users)
        index: Searchable = self._index
        scorer = self._weighted(scoring)
        if allowed is not None:
            index = ExactIndex(self._content.index.vectors[allowed], allowed)
            related = related.among(self._mask(allowed))
        elif scoring is not None:  # the index was tuned to the published weights
            index = ExactIndex(self._index.vectors, self._index.ids)
        if allowed is None and self.in_stock is not None:
            related = related.among(self.in_stock.mask)
        found, scores = scorer.rank(index.search, vectors, related, top_k)
        if allowed is not None or not len(excluded):
            return found, scores
        out = np.isin(found, excluded)
        deeper = 0
        while int(out.sum(axis=1).max()) > deeper:  # no deeper than needed: a deep search is an exact one
            deeper = int(out.sum(axis=1).max())
            found, scores = scorer.rank(index.search, vectors, related, top_k + deeper)
            out = np.isin(found, excluded)
        if deeper:
            # A stable sort by "is excluded" moves the others to the front, in order.
            order = np.argsort(out, axis=1, kind="stable")
            found = np.take_along_axis(np.where(out, -1, found).astype(np.int32), order, axis=1)
            scores = np.take_along_axis(np.where(out, -np.inf, scores).astype(np.float32), order, axis=1)
        return found[:, :top_k], scores[:, :top_k]

    def among_stock(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Those of the articles that are in stock."""
        return rows if self.in_stock is None else rows[self.in_stock.mask[rows]]

    def _mask(self, rows: Int32) -> Bool:
        mask = np.zeros(len(self.article_ids), dtype=bool)
        mask[rows] = True
        return mask

    def diversify(self, articles: Int32, scores: Float32, diversity: float, top_k: int) -> tuple[Int32, Float32]:
        """``top_k`` of one user's candidates (``[n]``, best first), reranked against similar embeddings."""
        places = maximal_marginal_relevance(scores, self._content.article_vectors[articles], diversity, top_k)
        return articles[places], scores[places]

    def _weighted(self, scoring: Scoring | None) -> Scorer:
        return self._scorer if scoring is None else self._scorer.with_weights(scoring)

    def reasons(
        self, user: UserContext, articles: Int32, most: int = 3, scoring: Scoring | None = None
    ) -> list[list[int]]:
        """For each of the ``articles`` recommended to one user, the articles of their history that lift it most.

        The lift is the score's loss when the other article is removed from the history. Only losses count.
        """
        newest = user.purchases.newest(self._content.history_length)
        history = np.unique(newest.articles[newest.mask]).astype(np.int32)
        if not len(history):
            return [[] for _ in articles]
        scorer = self._weighted(scoring)
        lost = self._scores(scorer, user, articles) - self._scores(scorer, user.without(history), articles)
        order = np.argsort(-lost, axis=0, kind="stable")[:most]
        return [history[order[:, j]][lost[order[:, j], j] > 0].tolist() for j in range(len(articles))]

    def _scores(self, scorer: Scorer, users: UserContext, articles: Int32) -> Float32:
        """``[n, len(articles)]`` scores of the same articles for every user."""
        wanted = np.broadcast_to(articles, (len(users), len(articles)))
        return scorer.scores(self.vectors(users), self._relatives(users), wanted)

    def similar(self, article: int, top_k: int) -> tuple[Int32, Float32]:
        """The articles with the closest embeddings to one article's, best first, and their cosines."""
        vectors = self._content.index.vectors
        query = np.zeros((1, vectors.shape[1]), dtype=np.float32)
        query[0, :-2] = self._content.article_vectors[article]  # 0 where popularity is folded in
        found, dots = ExactIndex(self._index.vectors, self._index.ids).search(query, top_k + 1)
        other = np.flatnonzero((found[0] != article) & (found[0] >= 0))[:top_k]
        return found[0, other], dots[0, other] / np.linalg.norm(vectors[article, :-2])

    def golden(self, rows: Sequence[int], top_k: int = 10) -> dict[str, Any]:
        """A query and its answer, for the manifest: loading the model asks it again."""
        articles, scores = self.recommend(self.customers(np.asarray(rows)), top_k)
        return {
            "recall": self.recall(),
            "customer_ids": [self.customer_ids[row].decode() for row in rows],
            "article_ids": [self.article_ids[found[found >= 0]].tolist() for found in articles],
            "scores": [found[np.isfinite(found)].tolist() for found in scores],
        }

    def recall(self) -> float:
        """The share of exact search's first hundred that the index finds, for some customers."""
        if isinstance(self._index, ExactIndex):
            return 1.0
        rows = np.unique(np.linspace(0, self.n_customers - 1, RECALL_CUSTOMERS).astype(np.int64))
        return recall_at_k(self._index, self.queries(self.customers(rows)))

    @classmethod
    def load(cls, path: Path, vector_store: str | None = None, tried: bool = False) -> Recommender:
        """Verify the model in ``path``, open it and ask it the golden query.

        Args:
            vector_store: address of a store to search instead of the model's own index, see hm_utils.retrieval.milvus.
            tried: :func:`hm_utils.serving.trial.try_model` did this before, so that not every value is read again.

        Raises:
            BundleError: a file is missing, altered or unreadable, the golden answer differs, the model names a tower
                class that this process was not told to use, or the store does not have this version, or does not
                answer.
        """
        folder = follow(path)
        manifest = verify(folder)
        try:
            content = ModelContent.open(folder, manifest, own_index=vector_store is None)
            if not tried:
                content.check()
            recommender = cls(content)
            recommender.check_golden()
        except BundleError:
            raise
        except TowerError as error:
            raise BundleError(folder, str(error)) from error
        except Exception as error:  # of a file that is not what it should be, any reader's
            raise BundleError(folder, f"cannot be opened ({error}): {PUBLISH_AGAIN}") from error
        if vector_store is None:
            return recommender
        assert isinstance(content.index, ExactIndex)
        try:
            index = StoreIndex(content.index, vector_store, recommender.version)
        except (VectorStoreError, ValueError, ImportError) as error:
            raise BundleError(folder, str(error)) from error
        return cls(replace(content, index=index))

    @classmethod
    def open(cls, folder: Path) -> Recommender:
        """Open a folder without verifying it."""
        return cls(ModelContent.open(folder))

    def check_golden(self) -> None:
        """Ask the golden query, and measure the index.

        Raises:
            BundleError: the answer or the recall differs from the manifest's.
        """
        golden, folder = self.manifest["golden"], self._content.folder
        rows = self.customer_rows(golden["customer_ids"])
        if (rows < 0).any():
            raise BundleError(folder, f"the golden query's customers are unknown: {PUBLISH_AGAIN}")
        customers = self.customers(rows)
        if np.abs(self.vectors(customers) - self.encoded(customers)).max(initial=0) > GOLDEN_TOLERANCE:
            raise BundleError(folder, f"{USER_VECTORS} does not belong to these towers: {PUBLISH_AGAIN}")
        articles, scores = self.recommend(customers, max(len(ids) for ids in golden["article_ids"]))
        for found, their_scores, ids, expected in zip(
            articles, scores, golden["article_ids"], golden["scores"], strict=True
        ):
            own = self.article_ids[found[: len(ids)]]
            # Articles with nearly equal scores may change places.
            swapped = [expected[place] for place in np.flatnonzero(~np.isin(ids, own))]
            if not np.abs(their_scores[: len(expected)] - expected).max(initial=0) <= GOLDEN_TOLERANCE or any(
                score > expected[-1] + 2 * GOLDEN_TOLERANCE for score in swapped
            ):
                raise BundleError(folder, f"answers the golden query differently: {PUBLISH_AGAIN}")
        recall = self.recall()
        if not recall >= golden["recall"] - RECALL_TOLERANCE:
            problem = f"the index finds {recall:.1%} of the ranking, when it was published {golden['recall']:.1%}"
            raise BundleError(folder, f"{problem}: {PUBLISH_AGAIN}")
