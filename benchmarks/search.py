"""How fast the best 100 articles are found at equal recall, one query a call on one core, by our index and others.

    python -m benchmarks.search [--model artifacts/model] [--queries 2000] [--recall 0.99] [--json out.json]

The index vectors are a published model's, the queries those of customers drawn at random. Recall is the share of the
true 100 best that an index finds; an article within 1e-6 of the 100th best score is one of them. Of every row the
cheapest setting of a query that reaches the recall on these queries is timed. Where it has two (leaves and
reordering), the cheapest of the first is found for every value of the second, and the fastest is taken.

* ours: `hm_utils.retrieval.index` with the leaves that publishing chooses. Every answer is checked, scored exactly and
  sorted.
* ScaNN: the library alone, as its documentation builds it.
* exact: PyTorch's matrix product and `topk`, faiss Flat.
* approximate: faiss IVF, faiss HNSW, hnswlib, voyager. A row is one way to build the index.

All rows share one process on one core, with one thread. After all are built they are timed in turn. Other libraries
than ours need `make bench-env`; a row whose package is missing is excluded.
"""

from __future__ import annotations

import bisect
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.measuring import Run, in_turn, machine, measured, parser, show, table
from hm_utils.arrays import Float32
from hm_utils.files import resolve
from hm_utils.retrieval.index import build_index, load_exact
from hm_utils.retrieval.index_tuning import choose_leaves
from hm_utils.serving.bundle import BundleError
from hm_utils.serving.model_folder import INDEX
from hm_utils.serving.recommender import Recommender

K = 100
TOLERANCE = 1e-6  # of a score: rounding may put it on either side of the 100th place
CUTS = (1, 2, 4)  # leaves of a tree, or lists of IVF, as multiples of the square root of the number of vectors
REORDERED = (100, 150, 200, 300, 600, 1_200)  # candidates that ScaNN scores exactly
LINKS = (16, 32)  # M of HNSW
EF_CONSTRUCTION = 200
WARM_UP = 20  # queries before a clock starts
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Ids = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Built:
    """An index: ``ask(query [d], *setting)`` finds K rows; the settings of each sweep are ordered, cheapest first."""

    ask: Callable[..., npt.ArrayLike]
    sweeps: Sequence[Sequence[tuple[int, ...]]] = (((),),)


def steps(first: int, last: int) -> list[tuple[int]]:
    """From first to last, each about 9 % more than the one before."""
    doublings = np.arange(0, np.log2(max(1, last / first)), 1 / 8)
    return [(int(step),) for step in np.unique(np.append(np.round(first * 2**doublings), max(first, last)))]


def ours(vectors: Float32, queries: Float32, target: float) -> Built:
    index = choose_leaves(build_index(vectors), queries, K, target).index
    return Built(lambda query: index.search(query[None], K)[0][0])


def scann(cut: int, vectors: Float32, queries: Float32, target: float) -> Built:
    leaves = round(cut * len(vectors) ** 0.5)
    builder = importlib.import_module("scann").scann_ops_pybind.builder(vectors, K, "dot_product").tree(leaves, 1)
    searcher = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(K).build()
    sweeps = [[(*leaf, reorder) for leaf in steps(1, leaves)] for reorder in REORDERED]
    return Built(lambda query, leaf, reorder: searcher.search(query, K, reorder, leaf)[0], sweeps)


def matmul(vectors: Float32, queries: Float32, target: float) -> Built:
    rows = torch.from_numpy(vectors)
    return Built(lambda query: torch.topk(rows @ torch.from_numpy(query), K).indices.numpy())


def faiss_of(kind: str, size: int, vectors: Float32, queries: Float32, target: float) -> Built:
    """``size`` is the cut of IVF, or M of HNSW."""
    faiss: Any = importlib.import_module("faiss")
    faiss.omp_set_num_threads(1)
    recipe = {"Flat": "Flat", "IVF": f"IVF{round(size * len(vectors) ** 0.5)},Flat", "HNSW": f"HNSW{size},Flat"}[kind]
    index = faiss.index_factory(vectors.shape[1], recipe, faiss.METRIC_INNER_PRODUCT)
    if kind == "HNSW":
        index.hnsw.efConstruction = EF_CONSTRUCTION
    index.train(vectors)
    index.add(vectors)

    def ask(query: Float32, setting: int = 0) -> Ids:
        if kind == "IVF":
            index.nprobe = setting
        elif kind == "HNSW":
            index.hnsw.efSearch = setting
        found: Ids = index.search(query[None], K)[1][0]
        return found

    if kind == "Flat":
        return Built(ask)
    return Built(ask, [steps(1, index.nlist) if kind == "IVF" else graph_steps(vectors)])


def graph_steps(vectors: Float32) -> list[tuple[int]]:
    """The candidates that an HNSW search keeps: K, the length of its answer, or more."""
    return steps(K, min(len(vectors), 4_000))


def hnswlib(links: int, vectors: Float32, queries: Float32, target: float) -> Built:
    index = importlib.import_module("hnswlib").Index(space="ip", dim=vectors.shape[1])  # unit vectors: as cosine
    index.init_index(len(vectors), M=links, ef_construction=EF_CONSTRUCTION)
    index.add_items(vectors, num_threads=1)

    def ask(query: Float32, ef: int) -> Ids:
        index.set_ef(ef)
        found: Ids = index.knn_query(query, K, num_threads=1)[0][0]
        return found

    return Built(ask, [graph_steps(vectors)])


def voyager(links: int, vectors: Float32, queries: Float32, target: float) -> Built:
    library: Any = importlib.import_module("voyager")
    # Its inner product adds a dimension, which unit vectors do not need.
    index = library.Index(library.Space.Cosine, vectors.shape[1], M=links, ef_construction=EF_CONSTRUCTION)
    index.add_items(vectors, num_threads=1)
    return Built(lambda query, ef: index.query(query, K, num_threads=1, query_ef=ef)[0], [graph_steps(vectors)])


ROWS: dict[str, Callable[[Float32, Float32, float], Built]] = {
    "ours": ours,
    **{f"ScaNN alone, {cut} √n leaves": partial(scann, cut) for cut in CUTS},
    "exact: PyTorch matmul, topk": matmul,
    "exact: faiss Flat": partial(faiss_of, "Flat", 0),
    **{f"faiss IVF, {cut} √n lists": partial(faiss_of, "IVF", cut) for cut in CUTS},
    **{f"faiss HNSW, M {links}": partial(faiss_of, "HNSW", links) for links in LINKS},
    **{f"hnswlib, M {links}": partial(hnswlib, links) for links in LINKS},
    **{f"voyager, M {links}": partial(voyager, links) for links in LINKS},
}


def recall_of(vectors: Float32, queries: Float32, k: int = K) -> Callable[[Iterable[npt.ArrayLike]], float]:
    """The mean share of each query's true k best (float64) in the rows found; a row found twice counts once."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    best = scores >= np.partition(scores, -k, axis=1)[:, -k, None] - TOLERANCE

    def recall(found: Iterable[npt.ArrayLike]) -> float:
        rows = [np.unique(np.asarray(each)[:k]) for each in found]
        return sum(int(own[each[each >= 0]].sum()) for own, each in zip(best, rows, strict=True)) / (len(best) * k)

    return recall


def microseconds(built: Built, setting: tuple[int, ...], queries: Float32) -> float:
    """A query, one a call."""
    for query in queries[:WARM_UP]:
        built.ask(query, *setting)
    start = time.perf_counter()
    for query in queries:
        built.ask(query, *setting)
    return (time.perf_counter() - start) / len(queries) * 1e6


def choose(
    built: Built, queries: Float32, target: float, recall: Callable[[Iterable[npt.ArrayLike]], float]
) -> tuple[tuple[int, ...], float]:
    """The fastest setting that reaches the target, or the best of all that were tried; and its recall."""
    tried: dict[tuple[int, ...], float] = {}

    def reaches(setting: tuple[int, ...]) -> bool:
        if setting not in tried:
            tried[setting] = recall(built.ask(query, *setting) for query in queries)
        return tried[setting] >= target

    # By bisection, as recall rises with the setting.
    places = [bisect.bisect_left(sweep, True, key=reaches) for sweep in built.sweeps]
    finalists = [sweep[place] for sweep, place in zip(built.sweeps, places, strict=True) if place < len(sweep)]
    if not finalists:
        finalists = [max(tried, key=lambda setting: tried[setting])]
    some = queries[:500]
    costs = {each: statistics.median(microseconds(built, each, some) for _ in range(3)) for each in finalists}
    fastest = min(costs, key=lambda setting: costs[setting])
    return fastest, tried[fastest]


def compare(vectors: Float32, queries: Float32, target: float, repeats: int, path: Path | None = None) -> Run:
    """Build and time every row whose package is installed, in this process."""
    report: Run = {"machine": machine("torch", "numpy"), "missing": [], "recall": target}
    report |= {"vectors": vectors.shape, "queries": len(queries)}
    recall = recall_of(vectors, queries)
    built: dict[str, Built] = {}
    facts: dict[str, Any] = {}
    for name, build in ROWS.items():
        start = time.perf_counter()
        try:
            built[name] = build(vectors, queries, target)
        except ImportError:
            report["missing"].append(name)
            continue
        took = time.perf_counter() - start
        setting, reached = choose(built[name], queries, target, recall)
        facts[name] = {"build s": took, "recall@100": reached, "setting": setting}

    def time_row(name: str) -> Run:
        took = microseconds(built[name], facts[name]["setting"], queries)
        return {"queries/s": 1e6 / took, "µs": took, **facts[name]}

    in_turn({name: partial(time_row, name) for name in built}, repeats, report, path)
    return report


def on_one_core(folder: Path, *arguments: Any) -> Run:
    """:func:`compare` on the arrays of a folder, in a fresh process."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # ScaNN trains on all cores, and has no setting for it
    torch.set_num_threads(1)
    return compare(np.load(folder / "vectors.npy"), np.load(folder / "queries.npy"), *arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("search", __doc__, model=True)
    options.add_argument("--queries", type=int, default=2_000, help="number of customers who ask (%(default)s)")
    options.add_argument("--recall", type=float, default=0.99, help="recall@100 to reach (%(default)s)")
    options.add_argument("--repeats", type=int, default=7, help="timings of every row (%(default)s)")
    chosen = options.parse_args(arguments)
    try:
        recommender = Recommender.load(resolve(chosen.model))
    except (BundleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    customers = np.random.default_rng(0).permutation(recommender.n_customers)[: chosen.queries]
    vectors = load_exact(resolve(chosen.model) / INDEX).vectors
    if len(vectors) < 2 * K:
        print(f"error: the best {K} need {2 * K} vectors or more, not {len(vectors)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as scratch, mock.patch.dict(os.environ, ONE_THREAD):
        np.save(Path(scratch) / "vectors.npy", vectors)
        np.save(Path(scratch) / "queries.npy", recommender.queries(recommender.customers(customers)))
        report = measured(on_one_core, Path(scratch), chosen.recall, chosen.repeats, chosen.json)
    for name in report["missing"]:
        print(f"{name} is excluded: its package is not installed (`make bench-env`)", file=sys.stderr)
    heading = f"{len(vectors):,} vectors of {vectors.shape[1]} dimensions, {len(customers):,} queries, one core"
    return show(heading, table(report["rows"], "queries/s", ["µs", "recall@100", "build s"]), report)


if __name__ == "__main__":
    sys.exit(main())
