"""The articles' vectors in Milvus, for catalogues that one process should not index, behind the index's interface.

    python -m hm_utils.retrieval.milvus --model artifacts/model --uri http://milvus:19530 [--index SCANN]

loads the vectors of a published model as a collection that carries its version, verifies the count and what is found,
and then moves the alias ``hm_articles`` to it: whoever asks for the alias gets the old articles or the new ones. A
load that fails leaves the alias where it was. The service (``HM_VECTOR_STORE``) and :meth:`Recommender.load
<hm_utils.serving.recommender.Recommender.load>` ask for the collection of their own model's version, never for another.

The store says which articles are candidates. Their scores are exact float32 dot products with the model's own vectors,
memory-mapped and read for the candidates alone: a list is the one of :class:`~.index.ExactIndex` to the last
bit wherever the store finds the same candidates. Filters and similar articles are searched exactly in these, too.

``uri`` is the address of a server, or a file ending in ``.db``: Milvus Lite, in the process and for one process.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from tqdm.auto import trange

from hm_utils.arrays import Float32, Int32
from hm_utils.retrieval.index import SPARE, ExactIndex, _check_queries, _padded, _rescore, load_exact
from hm_utils.retrieval.index_tuning import recall_at_k
from hm_utils.serving.bundle import BundleError, verify

Kind = Literal["FLAT", "HNSW", "SCANN"]

logger = logging.getLogger(__name__)

ALIAS = "hm_articles"
PREFIX = "hm_articles_"
QUERIES = 32  # of a search; a batch of a thousand would take longer than SECONDS
AT_ONCE = 10_000  # rows of an insert; a message to Milvus may have 64 MB
SECONDS = 2.0  # that a search may take
LOADING_SECONDS = 600.0  # that a step of loading a collection may take
DEEPEST = 16_384  # articles that Milvus answers a query with at most; deeper lists are searched exactly
CANDIDATES = 600  # that an approximate index scores a query
ASKED, DEPTH = 50, 100  # queries, and articles each, with which a collection is verified
TARGET = 0.99  # recall@100 of exact search, as publishing asks of the index


class VectorStoreError(Exception):
    """The store does not answer, or not with what was asked for; the message has no address in it."""


class StoreIndex:
    """One version's articles in a store, searched as :class:`~.index.ExactIndex` is; threads may share it.

    Attributes:
        exact: the same articles, searched exactly.
        vectors, ids: as in ExactIndex, memory-mapped.
        collection: the store's name of this version's articles.
    """

    kind = "store"

    def __init__(self, exact: ExactIndex, uri: str, version: str) -> None:
        """Connect, and look whether the store has this version whole.

        Raises:
            VectorStoreError: it does not answer.
            ValueError: it has not this version, or not all of it, and what to do.
        """
        self.exact, self.vectors, self.ids = exact, exact.vectors, exact.ids
        self.collection = collection_of(version)
        self._client = connect(uri)
        self._index = self._opened()

    def __len__(self) -> int:
        return len(self.vectors)

    def _opened(self) -> dict[str, Any]:
        """Check that the collection is whole; what the store says of its index."""
        try:
            there = self._client.has_collection(self.collection, timeout=SECONDS)
            if there:
                self._client.load_collection(self.collection, timeout=LOADING_SECONDS)
                count = count_of(self._client, self.collection)
                index: dict[str, Any] = self._client.describe_index(self.collection, "vector", timeout=SECONDS)
            else:
                other = current(self._client)
        except Exception as error:
            raise _silent(error) from error
        command = "load it with `python -m hm_utils.retrieval.milvus`"
        if not there:
            raise ValueError(f"the vector store has {other or 'nothing'}, and not {self.collection}: {command}")
        if count != len(self):
            raise ValueError(f"the vector store has {count} of {len(self)} articles in {self.collection}: {command}")
        return index

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Int32, Float32]:
        """As :meth:`ExactIndex.search`, missing what the store's index misses (nothing where that is FLAT).

        Raises:
            VectorStoreError: the store does not answer within ``SECONDS``, or not with articles.
        """
        checked = _check_queries(queries, self.vectors, k)
        width, wanted = min(k, len(self)), min(k + SPARE, len(self))
        if wanted > DEEPEST:
            return self.exact.search(checked, k)
        candidates = np.full((len(checked), wanted), -1, np.int64)
        for row, hits in enumerate(self._found(checked, wanted)):
            candidates[row, : len(hits)] = [hit["row"] for hit in hits]
        positions, scores = _rescore(self.vectors, checked, candidates, width)
        short = positions[:, -1] < 0  # the leaves that were searched hold too few
        if short.any():
            positions[short], scores[short] = self.exact._nearest(checked[short], width)
        return _padded(self.ids, positions, scores, k)

    def probe(self) -> None:
        """Ask for one article. Raises VectorStoreError if the store does not answer."""
        list(self._found(self.vectors[:1], 1))

    def _found(self, queries: Float32, k: int) -> Iterator[list[dict[str, Any]]]:
        """The hits of each query."""
        params = {"metric_type": "IP", "params": search_params(self._index["index_type"], len(self), k)}
        for start in range(0, len(queries), QUERIES):
            part = list(queries[start : start + QUERIES])
            try:
                found = self._client.search(
                    self.collection, part, limit=k, anns_field="vector", search_params=params, timeout=SECONDS
                )
            except Exception as error:  # of pymilvus, or of gRPC below it
                logger.error("vector store: a search in %s failed: %s", self.collection, error)
                raise _silent(error) from error
            if len(found) != len(part) or not all(found):
                logger.error("vector store: %s answered without articles", self.collection)
                raise VectorStoreError("the vector store answered without articles")
            yield from found


def connect(uri: str) -> Any:
    """A client of the store. Raises VectorStoreError if nobody answers there, ImportError without pymilvus."""
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise ImportError("a vector store needs pymilvus: install it with `make cluster-env`") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs a trace for what is raised, too
    try:
        return MilvusClient(uri, timeout=SECONDS)
    except Exception as error:
        raise _silent(error) from error


def load(folder: Path, uri: str, kind: Kind = "FLAT", keep: int = 2) -> float:
    """Load the model in ``folder`` into the store, verify it and move the alias to it.

    Args:
        folder: of a published version.
        uri: of the store.
        kind: Milvus' index. FLAT is exact; SCANN is a server's alone.
        keep: versions that stay, the newest and this; a service still at an older one loses it.

    Returns:
        recall@100 against exact search, of customers' queries; 1 for FLAT.

    Raises:
        BundleError: the model is not whole.
        VectorStoreError: the store does not answer, or finds less than ``TARGET``; the alias is then where it was.
    """
    if kind == "SCANN" and uri.endswith(".db"):
        raise VectorStoreError("Milvus Lite has no SCANN: take FLAT or HNSW, or a server's address")
    version = str(verify(folder)["version"])
    exact = load_exact(folder / "index")
    stored = np.load(folder / "queries.npy", mmap_mode="r", allow_pickle=False)
    asked = np.sort(np.random.default_rng(0).choice(len(stored), min(ASKED, len(stored)), replace=False))
    name = collection_of(version)
    client = connect(uri)
    try:
        # What a load that was killed left behind is no use; the collection that the alias leads to is whole.
        if client.has_collection(name, timeout=SECONDS) and current(client) != name:
            client.drop_collection(name, timeout=LOADING_SECONDS)
        if not client.has_collection(name, timeout=SECONDS):
            write(client, name, exact.vectors, kind)
        index = StoreIndex(exact, uri, version)
        recall = recall_at_k(index, exact.vectors, np.asarray(stored[asked]), DEPTH)
        if recall < TARGET:
            client.drop_collection(name, timeout=LOADING_SECONDS)
            raise VectorStoreError(f"{kind} finds {recall:.1%} of exact search's best: load it with another --index")
        point(client, name)
        for old in sorted(other for other in client.list_collections() if other.startswith(PREFIX))[:-keep]:
            if old != name:
                client.drop_collection(old, timeout=LOADING_SECONDS)
    except VectorStoreError:
        raise
    except Exception as error:
        raise VectorStoreError(f"{name} was not loaded ({error}); {ALIAS} leads where it led") from error
    finally:
        client.close()
    return recall


def write(client: Any, name: str, vectors: Float32, kind: Kind) -> None:
    """Make the collection and insert ``vectors [n, d]``; the key of a row is its place."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
    index = client.prepare_index_params()
    index.add_index("vector", index_type=kind, metric_type="IP", params=build_params(kind, len(vectors)))
    client.create_collection(name, schema=schema, index_params=index, timeout=LOADING_SECONDS)
    for start in trange(0, len(vectors), AT_ONCE, desc="loading articles", delay=2, file=sys.stderr):
        rows = [{"row": start + i, "vector": vector} for i, vector in enumerate(vectors[start : start + AT_ONCE])]
        client.insert(name, rows, timeout=LOADING_SECONDS)
    client.flush(name, timeout=LOADING_SECONDS)
    client.load_collection(name, timeout=LOADING_SECONDS)


def build_params(kind: Kind, n: int) -> dict[str, Any]:
    """Of the index: leaves are the square root of the articles, as in hm_utils.retrieval.index."""
    leaves = max(1, round(n**0.5))
    return {
        "FLAT": {},
        "SCANN": {"nlist": leaves, "with_raw_data": True},
        "HNSW": {"M": 32, "efConstruction": 200},
    }[kind]


def search_params(kind: str, n: int, k: int) -> dict[str, Any]:
    """Of a search for k of n articles."""
    probes, candidates = max(1, round(n**0.5) // 5), max(CANDIDATES, k)
    of_kind = {"SCANN": {"nprobe": probes, "reorder_k": candidates}, "HNSW": {"ef": candidates}}
    return of_kind.get(kind, {})


def point(client: Any, name: str) -> None:
    """Make the alias lead to the collection; Milvus moves it in one step."""
    moved = client.alter_alias if current(client) else client.create_alias
    moved(name, ALIAS, timeout=SECONDS)


def current(client: Any) -> str | None:
    """The collection that the alias leads to; None where nothing has been loaded."""
    if not client.has_collection(ALIAS, timeout=SECONDS):
        return None
    return str(client.describe_alias(ALIAS, timeout=SECONDS)["collection_name"])


def count_of(client: Any, name: str) -> int:
    return int(client.query(name, output_fields=["count(*)"], timeout=SECONDS)[0]["count(*)"])


def collection_of(version: str) -> str:
    """The collection's name; Milvus takes letters, digits and underscores, and the newest sorts last."""
    return PREFIX + "".join(letter if letter.isalnum() else "_" for letter in version)


def _silent(error: Exception) -> VectorStoreError:
    """What to tell a client; the error itself may have the store's address in it."""
    return VectorStoreError(f"the vector store does not answer ({type(error).__name__}): is it running?")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hm_utils.retrieval.milvus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=Path("artifacts/model"), help="published model (%(default)s)")
    parser.add_argument("--uri", required=True, help="http://host:19530, or a file ending in .db (Milvus Lite)")
    parser.add_argument("--index", choices=get_args(Kind), default="FLAT", help="Milvus' index (%(default)s)")
    parser.add_argument("--keep", type=int, default=2, help="versions that stay in the store (%(default)s)")
    options = parser.parse_args(arguments)
    if options.keep < 1:
        parser.error(f"--keep must be 1 or more, not {options.keep}")
    folder = options.model.resolve()
    try:
        recall = load(folder, options.uri, options.index, options.keep)
    except (BundleError, VectorStoreError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{collection_of(folder.name)}: {options.index}, recall@{DEPTH} {recall:.4f}; {ALIAS} leads to it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
