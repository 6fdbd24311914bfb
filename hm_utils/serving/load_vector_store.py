"""Load the vectors of a published model into Milvus.

    python -m hm_utils.serving.load_vector_store --model artifacts/model --uri http://milvus:19530 [--index SCANN]

The vectors become a collection that carries the model's version. Its count and its recall are verified before the alias
``hm_articles`` moves to it, so that readers of the alias get either the old articles or the new ones. A load that fails
leaves the alias unchanged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from hm_utils.files import follow
from hm_utils.retrieval import milvus
from hm_utils.retrieval.index import load_exact
from hm_utils.retrieval.index_tuning import TARGET, recall_at_k
from hm_utils.retrieval.milvus import ALIAS, PREFIX, Kind, StoreIndex, VectorStoreError, collection_of, current
from hm_utils.serving.bundle import BundleError, verify
from hm_utils.serving.model_folder import INDEX
from hm_utils.serving.recommender import Recommender

CHECKED, DEPTH = 50, 100  # customers' queries, and articles for each, that verify a collection


def load(folder: Path, uri: str, kind: Kind = "FLAT", keep: int = 2) -> float:
    """Load the model in ``folder`` into the store, verify it, and move the alias to it.

    Args:
        folder: a published version.
        uri: the store; see :mod:`hm_utils.retrieval.milvus`.
        kind: Milvus' index. FLAT is exact; only a server has SCANN.
        keep: number of the newest versions that stay, this one included. A service at an older version loses it.

    Returns:
        recall@100 against exact search on customers' queries; 1 for FLAT.

    Raises:
        BundleError: if the model is not whole.
        VectorStoreError: if the store does not answer or finds less than ``TARGET``; the alias is then unchanged.
        ImportError: without pymilvus.
    """
    if kind == "SCANN" and uri.endswith(".db"):
        raise VectorStoreError("Milvus Lite has no SCANN: take FLAT or HNSW, or a server's address")
    version = str(verify(folder)["version"])
    exact = load_exact(folder / INDEX)
    recommender = Recommender.open(folder)
    n = recommender.n_customers
    rows = np.sort(np.random.default_rng(0).choice(n, min(CHECKED, n), replace=False))
    queries = recommender.queries(recommender.customers(rows))
    name = collection_of(version)
    client = milvus.connect(uri)
    seconds = milvus.LOADING_SECONDS
    try:
        exists = client.has_collection(name, timeout=milvus.SECONDS)
        if exists and current(client) != name:  # perhaps the rest of a load that was killed
            client.drop_collection(name, timeout=seconds)
            exists = False
        if not exists:
            milvus.write(client, name, exact.vectors, kind)
        recall = recall_at_k(StoreIndex(exact, uri, version), queries, DEPTH)
        if recall < TARGET:
            client.drop_collection(name, timeout=seconds)
            raise VectorStoreError(f"{kind} finds {recall:.1%} of exact search's best: load it with another --index")
        milvus.point(client, name)
        for old in sorted(other for other in client.list_collections() if other.startswith(PREFIX))[:-keep]:
            if old != name:
                client.drop_collection(old, timeout=seconds)
    except VectorStoreError:
        raise
    except Exception as error:
        raise VectorStoreError(f"{name} was not loaded ({error}); {ALIAS} is unchanged") from error
    finally:
        client.close()
    return recall


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hm_utils.serving.load_vector_store",
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
    folder = follow(options.model)
    try:
        recall = load(folder, options.uri, options.index, options.keep)
    except (BundleError, VectorStoreError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{collection_of(folder.name)}: {options.index}, recall@{DEPTH} {recall:.4f}; {ALIAS} leads to it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
