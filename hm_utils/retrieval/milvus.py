"""The articles' vectors in Milvus, for catalogues too large for an index in every process.

:mod:`hm_utils.serving.load_vector_store` writes one collection per published version and moves the alias
``hm_articles`` to it. A service searches the collection of its own model's version, never another.

The store only selects candidates. Their scores are exact float32 dot products with the model's own memory-mapped
vectors, so a ranking equals that of :class:`~.index.ExactIndex` to the last bit if the store finds the same candidates.

``uri`` is the address of a server, or a file ending in ``.db``: Milvus Lite, in this process and for one process.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tqdm.auto import trange

from hm_utils.arrays import Float32, Int32
from hm_utils.retrieval.index import SPARE, ExactIndex

Kind = Literal["FLAT", "HNSW", "SCANN"]

logger = logging.getLogger(__name__)

ALIAS = "hm_articles"
PREFIX = "hm_articles_"
QUERIES_PER_SEARCH = 32  # a search of a thousand would take longer than SECONDS
ROWS_PER_INSERT = 10_000  # Milvus limits a message to 64 MB
SECONDS = 2.0  # time limit of a search
LOADING_SECONDS = 600.0  # time limit of each step of loading a collection
DEEPEST = 16_384  # the largest number of articles that Milvus returns per query; more are searched exactly
CANDIDATES = 600  # that an approximate index scores per query


class VectorStoreError(Exception):
    """The store does not answer, or not with the articles asked for; the message contains no address."""


class StoreIndex:
    """One version's articles in a store, searched like :class:`~.index.ExactIndex`; threads may share it.

    Attributes:
        exact: the same articles, searched exactly.
        vectors, ids: as in ExactIndex, memory-mapped.
        collection: the store's name for this version's articles.
    """

    kind = "store"

    def __init__(self, exact: ExactIndex, uri: str, version: str) -> None:
        """Connect, and check that the store has this version whole.

        Raises:
            VectorStoreError: if the store does not answer.
            ValueError: if it lacks this version or part of it; the message says what to do.
            ImportError: without pymilvus.
        """
        self.exact, self.vectors, self.ids = exact, exact.vectors, exact.ids
        self.collection = collection_of(version)
        self._client = connect(uri)
        self._index = self._opened()

    def __len__(self) -> int:
        return len(self.vectors)

    def _opened(self) -> dict[str, Any]:
        """Load the collection, check that it is whole, and return the store's description of its index."""
        try:
            exists = self._client.has_collection(self.collection, timeout=SECONDS)
            if exists:
                self._client.load_collection(self.collection, timeout=LOADING_SECONDS)
                count = count_of(self._client, self.collection)
                index: dict[str, Any] = self._client.describe_index(self.collection, "vector", timeout=SECONDS)
            else:
                other = current(self._client)
        except Exception as error:
            raise _without_address(error) from error
        command = "load it with `python -m hm_utils.serving.load_vector_store`"
        if not exists:
            raise ValueError(f"the vector store has {other or 'nothing'}, and not {self.collection}: {command}")
        if count != len(self):
            raise ValueError(f"the vector store has {count} of {len(self)} articles in {self.collection}: {command}")
        return index

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Int32, Float32]:
        """As :meth:`ExactIndex.search`, but the articles that the store's index misses are missing; FLAT misses none.

        Raises:
            VectorStoreError: if the store does not answer within ``SECONDS``, or answers without articles.
        """
        checked = self.exact.check(queries, k)
        width, wanted = min(k, len(self)), min(k + SPARE, len(self))
        if wanted > DEEPEST:
            return self.exact.search(checked, k)
        candidates = np.full((len(checked), wanted), -1, np.int64)
        for row, hits in enumerate(self._found(checked, wanted)):
            candidates[row, : len(hits)] = [hit["row"] for hit in hits]
        positions, scores = self.exact.rescore(checked, candidates, width)
        short = positions[:, -1] < 0  # the searched leaves hold too few articles
        if short.any():
            positions[short], scores[short] = self.exact.nearest(checked[short], width)
        return self.exact.answer(positions, scores, k)

    def probe(self) -> None:
        """Ask for one article. Raises VectorStoreError if the store does not answer."""
        list(self._found(self.vectors[:1], 1))

    def _found(self, queries: Float32, k: int) -> Iterator[list[dict[str, Any]]]:
        """The hits of each query."""
        params = {"metric_type": "IP", "params": search_params(self._index["index_type"], len(self), k)}
        for start in range(0, len(queries), QUERIES_PER_SEARCH):
            part = list(queries[start : start + QUERIES_PER_SEARCH])
            try:
                found = self._client.search(
                    self.collection, part, limit=k, anns_field="vector", search_params=params, timeout=SECONDS
                )
            except Exception as error:  # from pymilvus or from gRPC below it
                logger.error("vector store: a search in %s failed: %s", self.collection, error)
                raise _without_address(error) from error
            if len(found) != len(part) or not all(found):
                logger.error("vector store: %s answered without articles", self.collection)
                raise VectorStoreError("the vector store answered without articles")
            yield from found


def connect(uri: str) -> Any:
    """A client of the store. Raises VectorStoreError if the store does not answer, ImportError without pymilvus."""
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise ImportError("a vector store needs pymilvus: install it with `make cluster-env`") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it also logs a traceback of each error that it raises
    try:
        return MilvusClient(uri, timeout=SECONDS)
    except Exception as error:
        raise _without_address(error) from error


def write(client: Any, name: str, vectors: Float32, kind: Kind) -> None:
    """Make the collection and insert ``vectors [n, d]``; the key of each is its row number."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
    index = client.prepare_index_params()
    index.add_index("vector", index_type=kind, metric_type="IP", params=build_params(kind, len(vectors)))
    client.create_collection(name, schema=schema, index_params=index, timeout=LOADING_SECONDS)
    for start in trange(0, len(vectors), ROWS_PER_INSERT, desc="loading articles", delay=2, file=sys.stderr):
        part = vectors[start : start + ROWS_PER_INSERT]
        rows = [{"row": start + i, "vector": vector} for i, vector in enumerate(part)]
        client.insert(name, rows, timeout=LOADING_SECONDS)
    client.flush(name, timeout=LOADING_SECONDS)
    client.load_collection(name, timeout=LOADING_SECONDS)


def build_params(kind: Kind, n: int) -> dict[str, Any]:
    """Build parameters of an index of n articles, with √n leaves as in :mod:`hm_utils.retrieval.index`."""
    leaves = max(1, round(n**0.5))
    return {
        "FLAT": {},
        "SCANN": {"nlist": leaves, "with_raw_data": True},
        "HNSW": {"M": 32, "efConstruction": 200},
    }[kind]


def search_params(kind: str, n: int, k: int) -> dict[str, Any]:
    """Parameters of a search for k of n articles."""
    probes, candidates = max(1, round(n**0.5) // 5), max(CANDIDATES, k)
    params = {"SCANN": {"nprobe": probes, "reorder_k": candidates}, "HNSW": {"ef": candidates}}
    return params.get(kind, {})


def point(client: Any, name: str) -> None:
    """Move the alias to the collection; Milvus does this in one step."""
    move = client.alter_alias if current(client) else client.create_alias
    move(name, ALIAS, timeout=SECONDS)


def current(client: Any) -> str | None:
    """The collection that the alias leads to; None if nothing has been loaded."""
    if not client.has_collection(ALIAS, timeout=SECONDS):
        return None
    return str(client.describe_alias(ALIAS, timeout=SECONDS)["collection_name"])


def count_of(client: Any, name: str) -> int:
    """Number of rows in a collection."""
    return int(client.query(name, output_fields=["count(*)"], timeout=SECONDS)[0]["count(*)"])


def collection_of(version: str) -> str:
    """The collection's name. Milvus takes letters, digits and underscores; the newest version sorts last."""
    return PREFIX + "".join(letter if letter.isalnum() else "_" for letter in version)


def _without_address(error: Exception) -> VectorStoreError:
    """An error for clients; the original may contain the store's address."""
    return VectorStoreError(f"the vector store does not answer ({type(error).__name__}): is it running?")
