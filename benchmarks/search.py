"""How quickly the best 100 articles are found, at equal recall and on one core, by our index and by other libraries.

    python -m benchmarks.search [--model artifacts/model] [--queries 2000] [--recall 0.99] [--json out.json]
    python -m benchmarks.search --vectors 105542       # clustered vectors instead of a model's: a quick try

What is searched is a published model's index vectors, and the queries are the vectors of customers drawn at random.
Recall is the share of the true 100 best that an index finds; an article within 1e-6 of the 100th best score is one
of them. Of every index the cheapest setting that reaches the recall on these queries is measured:

* ours: `retrieval.index` with the leaves that `retrieval.index_tuning` chooses, as publishing does. Every
  answer is checked, scored exactly and put in order.
* ScaNN: the library alone, as its documentation builds it, with more ways to cut the tree and to reorder.
* exact: PyTorch's matrix product and `topk`, our `ExactIndex`, faiss Flat.
* approximate: faiss IVF, faiss IVF with 4-bit product quantization (fast scan) and exact reordering, which is the
  nearest that faiss has to ScaNN; faiss HNSW, hnswlib, voyager.

A row is one way to build an index. Where a query has two settings (leaves and reordering), the cheapest of the first
is found for every value of the second, and the quickest in a batch is taken. HNSW's ``M`` and IVF's ``nlist`` are rows
of their own. What others than ours sweep is in steps of 9 %, and found by bisection; `index_tuning` steps by 19 %.

All rows are in one process that runs on one core, with every library told to use one thread. After all are built they
are timed in turn, one query a call and all queries in one call, and again for every further repeat; the table shows
medians. "CPU share" below 1 says that other processes took the rest of the core while the row was timed: such figures
compare nothing. MiB is what the index takes on disk, the vectors with it. Other libraries than ours need
`make bench-env`; a row whose package is missing is left out.
"""

from __future__ import annotations

import argparse
import bisect
import importlib
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from benchmarks.measuring import machine, measured, save
from hm_utils.arrays import Float32
from hm_utils.files import resolve
from hm_utils.model.scoring import fold_articles, fold_customers
from hm_utils.retrieval.index import ExactIndex, Index, ScannIndex, _captured_stderr, build_index, load_index
from hm_utils.retrieval.index_tuning import choose_leaves
from hm_utils.serving.bundle import BundleError
from hm_utils.serving.recommender import Recommender

logger = logging.getLogger(__name__)

K = 100
TOLERANCE = 1e-6  # of a score: what rounding may put on either side of the 100th place
PACKAGES = ("torch", "numpy", "scann", "faiss-cpu", "hnswlib", "voyager")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

CUTS = (1, 2, 4)  # leaves of a tree, or lists of IVF, as multiples of the square root of the number of vectors
REORDERED = (100, 150, 200, 300, 600, 1_200)  # candidates that are scored exactly
LINKS = (16, 32)  # M of HNSW
EF_CONSTRUCTION = 200
MOST_EF = 4_000
WARM_UP = 20  # queries before a clock starts
FULL_SHARE = 0.95  # of the core: with less, a row's figures are doubtful
SINGLE = 500  # queries at most that are asked one at a time, in each repeat
QUICK_REPEATS = 3  # for the choice between settings of one row

ONE, BATCH = "one at a time", "in a batch"

Ids = npt.NDArray[np.integer]
Setting = Mapping[str, int]
Row = dict[str, Any]


# ---- recall --------------------------------------------------------------------------------------


def kth_scores(vectors: Float32, queries: Float32, k: int = K) -> npt.NDArray[np.float64]:
    """``[m]`` the k-th best score for each query, by comparing every vector in float64."""
    rows = vectors.astype(np.float64).T
    blocks = np.array_split(queries.astype(np.float64), max(1, len(queries) // 50))
    return np.concatenate([np.partition(block @ rows, -k, axis=1)[:, -k] for block in blocks])


def recall(vectors: Float32, queries: Float32, found: npt.ArrayLike, kth: npt.NDArray[np.float64], k: int = K) -> float:
    """The mean share of the true k best that was found.

    Args:
        vectors: ``[n, d]`` that were searched.
        queries: ``[m, d]``.
        found: ``[m, at least k]`` rows of vectors; only the first k count. One out of range (padding) or listed twice
            is not one more found.
        kth: from :func:`kth_scores`.
    """
    ids = np.sort(np.asarray(found)[:, :k].astype(np.int64), axis=1)
    valid = (ids >= 0) & (ids < len(vectors))
    valid[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    candidates = np.take(vectors, np.where(valid, ids, 0), axis=0).astype(np.float64)
    scores = np.vecdot(candidates, queries.astype(np.float64)[:, None, :])
    return float((valid & (scores >= kth[:, None] - TOLERANCE)).sum() / (len(queries) * k))


# ---- the rows ------------------------------------------------------------------------------------


def steps(first: int, last: int) -> list[int]:
    """From first to last, each about 9 % more than the one before."""
    doublings = np.arange(0, np.log2(max(1, last / first)), 1 / 8)
    return [int(step) for step in np.unique(np.append(np.round(first * 2**doublings), max(first, last)))]


class Candidate:
    """One way to build an index, and how it is asked. ``build`` comes first, then ``use``, then the queries."""

    needs: ClassVar[str]  # the module to import

    def __init__(self, name: str) -> None:
        self.name = name

    def library(self) -> ModuleType:
        """Its module, told to use one thread. Raises ImportError."""
        return importlib.import_module(self.needs)

    def build(self, vectors: Float32) -> None:
        """Index ``[n, d]`` unit vectors."""
        raise NotImplementedError

    def sweeps(self) -> list[list[Setting]]:
        """Settings of a query, in each list the cheapest first."""
        return [[{}]]

    def use(self, setting: Setting) -> None:
        """Search with this setting from now on."""

    def batch(self, queries: Float32) -> Ids:
        """``[m, K]`` rows of the best vectors for ``[m, d]`` queries, in one call."""
        raise NotImplementedError

    def one(self, query: Float32) -> Ids:
        """The same for one query ``[d]``, as quickly as the library answers one."""
        return self.batch(query[None])

    def write(self, folder: Path) -> None:
        """Save the index into an empty folder."""
        raise NotImplementedError


class Ours(Candidate):
    """`hm_utils.retrieval.index`: ScaNN, or exact search where there is no ScaNN or the vectors are few."""

    needs = "hm_utils.retrieval.index"
    index: Index

    def build(self, vectors: Float32) -> None:
        self.index = build_index(vectors)

    def tune(self, queries: Float32, target: float) -> Setting:
        """What publishing does: the setting is chosen by `hm_utils.retrieval.index_tuning`."""
        self.index = choose_leaves(self.index, queries, K, target).index
        if not isinstance(self.index, ScannIndex):
            return {}
        names = ("leaves", "leaves_to_search", "reorder")
        return {name: getattr(self.index, name) for name in names}

    def batch(self, queries: Float32) -> Ids:
        return self.index.search(queries, K)[0]

    def write(self, folder: Path) -> None:
        self.index.save(folder)


class OurExact(Ours):
    def build(self, vectors: Float32) -> None:
        self.index = build_index(vectors, "exact")
        assert isinstance(self.index, ExactIndex)


class Torch(Candidate):
    """A matrix product and `topk`, for as many queries at once as is quickest."""

    needs = "torch"
    vectors: torch.Tensor
    block = 1

    def library(self) -> ModuleType:
        torch.set_num_threads(1)
        return torch

    def build(self, vectors: Float32) -> None:
        self.vectors = torch.from_numpy(vectors).T

    def sweeps(self) -> list[list[Setting]]:
        return [[{"block": block}] for block in (16, 64, 256)]

    def use(self, setting: Setting) -> None:
        self.block = setting["block"]

    def batch(self, queries: Float32) -> Ids:
        with torch.inference_mode():
            blocks = torch.from_numpy(queries).split(self.block)
            found: Ids = torch.cat([torch.topk(block @ self.vectors, K).indices for block in blocks]).numpy()
        return found

    def write(self, folder: Path) -> None:
        np.save(folder / "vectors.npy", self.vectors.T.numpy())


class Scann(Candidate):
    """ScaNN without our index around it."""

    needs = "scann.scann_ops.py.scann_ops_pybind"
    searcher: Any

    def __init__(self, cut: int) -> None:
        super().__init__(f"ScaNN alone, {cut} √n leaves")
        self.cut = cut
        self.leaves, self.query = 1, (-1, -1)

    def build(self, vectors: Float32) -> None:
        self.leaves = round(self.cut * len(vectors) ** 0.5)
        builder = self.library().builder(vectors, K, "dot_product").tree(self.leaves, 1)
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(K)
        with _captured_stderr():
            self.searcher = builder.build()

    def sweeps(self) -> list[list[Setting]]:
        return [
            [{"leaves_to_search": leaves, "reorder": reorder} for leaves in steps(1, self.leaves)]
            for reorder in REORDERED
        ]

    def use(self, setting: Setting) -> None:
        self.query = setting["reorder"], setting["leaves_to_search"]

    def batch(self, queries: Float32) -> Ids:
        found, distances = self.searcher.search_batched(queries, K, *self.query)
        # What it did not find is padded with row 0 and NaN.
        return np.where(np.isnan(distances), -1, found.astype(np.int64))

    def one(self, query: Float32) -> Ids:
        found: Ids = self.searcher.search(query, K, *self.query)[0]
        return found

    def write(self, folder: Path) -> None:
        self.searcher.serialize(str(folder))


class Faiss(Candidate):
    """What faiss's indexes have in common; this one is Flat."""

    needs = "faiss"
    index: Any

    def library(self) -> ModuleType:
        faiss = super().library()
        faiss.omp_set_num_threads(1)
        return faiss

    def make(self, faiss: ModuleType, count: int, width: int) -> Any:
        """An untrained index for ``count`` vectors of ``width`` dimensions."""
        return faiss.IndexFlatIP(width)

    def build(self, vectors: Float32) -> None:
        self.index = self.make(self.library(), *vectors.shape)
        self.index.train(vectors)
        self.index.add(vectors)

    def batch(self, queries: Float32) -> Ids:
        found: Ids = self.index.search(queries, K)[1]
        return found

    def write(self, folder: Path) -> None:
        self.library().write_index(self.index, str(folder / "index"))


class FaissIVF(Faiss):
    """Lists of vectors, of which the nearest are compared in full."""

    def __init__(self, cut: int, kind: str = "IVF") -> None:
        super().__init__(f"faiss {kind}, {cut} √n lists")
        self.cut = cut

    def lists(self, count: int) -> int:
        return round(self.cut * count**0.5)

    def make(self, faiss: ModuleType, count: int, width: int) -> Any:
        quantizer = faiss.IndexFlatIP(width)
        index = faiss.IndexIVFFlat(quantizer, width, self.lists(count), faiss.METRIC_INNER_PRODUCT)
        index.own_fields = True
        quantizer.this.disown()  # the index frees it
        return index

    def sweeps(self) -> list[list[Setting]]:
        return [[{"nprobe": probes} for probes in steps(1, self.index.nlist)]]

    def use(self, setting: Setting) -> None:
        self.index.nprobe = setting["nprobe"]


class FaissFastScan(FaissIVF):
    """Lists of 4-bit codes, two dimensions a code as in ScaNN, and exact scores for the best."""

    def __init__(self, cut: int) -> None:
        super().__init__(cut, "IVF-PQ fast scan, reordered")

    def make(self, faiss: ModuleType, count: int, width: int) -> Any:
        codes = next(codes for codes in range(width // 2, 0, -1) if width % codes == 0)
        recipe = f"IVF{self.lists(count)},PQ{codes}x4fs,RFlat"
        return faiss.index_factory(width, recipe, faiss.METRIC_INNER_PRODUCT)

    def sweeps(self) -> list[list[Setting]]:
        lists = self.library().extract_index_ivf(self.index).nlist
        return [[{"nprobe": probes, "reorder": count} for probes in steps(1, lists)] for count in REORDERED]

    def use(self, setting: Setting) -> None:
        self.library().extract_index_ivf(self.index).nprobe = setting["nprobe"]
        self.index.k_factor = setting["reorder"] / K


def graph_sweep(count: int) -> list[list[Setting]]:
    """How many candidates an HNSW search keeps: as many as it shall answer, or more."""
    return [[{"ef": ef} for ef in steps(K, min(count, MOST_EF))]]


class FaissHNSW(Faiss):
    def __init__(self, links: int) -> None:
        super().__init__(f"faiss HNSW, M {links}")
        self.links = links

    def make(self, faiss: ModuleType, count: int, width: int) -> Any:
        index = faiss.IndexHNSWFlat(width, self.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        return index

    def sweeps(self) -> list[list[Setting]]:
        return graph_sweep(self.index.ntotal)

    def use(self, setting: Setting) -> None:
        self.index.hnsw.efSearch = setting["ef"]


class Hnswlib(Candidate):
    needs = "hnswlib"
    index: Any

    def __init__(self, links: int) -> None:
        super().__init__(f"hnswlib, M {links}")
        self.links = links

    def build(self, vectors: Float32) -> None:
        self.index = self.library().Index(space="ip", dim=vectors.shape[1])  # unit vectors: as cosine, less work
        self.index.init_index(len(vectors), M=self.links, ef_construction=EF_CONSTRUCTION)
        self.index.set_num_threads(1)
        self.index.add_items(vectors, num_threads=1)

    def sweeps(self) -> list[list[Setting]]:
        return graph_sweep(self.index.element_count)

    def use(self, setting: Setting) -> None:
        self.index.set_ef(setting["ef"])

    def batch(self, queries: Float32) -> Ids:
        found: Ids = self.index.knn_query(queries, K, num_threads=1)[0]
        return found

    def write(self, folder: Path) -> None:
        self.index.save_index(str(folder / "index"))


class Voyager(Candidate):
    needs = "voyager"
    index: Any
    ef = K

    def __init__(self, links: int) -> None:
        super().__init__(f"voyager, M {links}")
        self.links = links

    def build(self, vectors: Float32) -> None:
        voyager = self.library()
        # Its inner product adds a dimension, which unit vectors do not need.
        self.index = voyager.Index(
            voyager.Space.Cosine, vectors.shape[1], M=self.links, ef_construction=EF_CONSTRUCTION
        )
        self.index.add_items(vectors, num_threads=1)

    def sweeps(self) -> list[list[Setting]]:
        return graph_sweep(len(self.index))

    def use(self, setting: Setting) -> None:
        self.ef = setting["ef"]

    def batch(self, queries: Float32) -> Ids:
        found: Ids = self.index.query(queries, K, num_threads=1, query_ef=self.ef)[0]
        return found

    def one(self, query: Float32) -> Ids:
        return self.batch(query)

    def write(self, folder: Path) -> None:
        self.index.save(str(folder / "index"))


OURS = "ours"


def candidates() -> list[Candidate]:
    """Every row, in order of the table."""
    return [
        Ours(OURS),
        *(Scann(cut) for cut in CUTS),
        Torch("exact: PyTorch matmul, topk"),
        OurExact("exact: our ExactIndex"),
        Faiss("exact: faiss Flat"),
        *(FaissIVF(cut) for cut in CUTS),
        *(FaissFastScan(cut) for cut in CUTS),
        *(FaissHNSW(links) for links in LINKS),
        *(Hnswlib(links) for links in LINKS),
        *(Voyager(links) for links in LINKS),
    ]


# ---- measuring -----------------------------------------------------------------------------------


def swept(
    sweep: Sequence[Setting], candidate: Candidate, queries: Float32, target: float, recall_of: Callable[[Ids], float]
) -> tuple[Row | None, list[Row]]:
    """The cheapest of the settings that reaches the target, or None, and every setting that was tried.

    It is found by bisection, as recall rises with the setting. The dearest is tried if none reaches the target.
    """
    tried: dict[int, Row] = {}

    def reaches(position: int) -> bool:
        candidate.use(sweep[position])
        try:
            reached = recall_of(candidate.batch(queries))
        except RuntimeError:  # hnswlib and voyager refuse to answer fewer than K
            reached = 0.0
        tried[position] = {"setting": dict(sweep[position]), "recall": reached}
        return reached >= target

    return tried.get(bisect.bisect_left(range(len(sweep)), True, key=reaches)), list(tried.values())


def choose(candidate: Candidate, queries: Float32, target: float, recall_of: Callable[[Ids], float]) -> Row:
    """``setting``, ``recall@100`` and whether that is ``reached``: the quickest in a batch of those that reach it.

    Where none does, the one that finds most. ``sweep`` is everything that was tried.
    """
    finalists: list[Row] = []
    tried: list[Row] = []
    if isinstance(candidate, Ours):
        setting = candidate.tune(queries, target)
        tried.append({"setting": setting, "recall": recall_of(candidate.batch(queries))})
    else:
        for sweep in candidate.sweeps():
            found, settings = swept(sweep, candidate, queries, target, recall_of)
            finalists += [found] if found else []
            tried += settings
    if not finalists:
        finalists = [max(tried, key=lambda each: float(each["recall"]))]
    costs = []
    for each in finalists if len(finalists) > 1 else ():
        candidate.use(each["setting"])
        candidate.batch(queries[:WARM_UP])
        # So few timings, and one after the other: other processes must not decide.
        costs.append(
            statistics.median(timed_batch(candidate, queries, time.process_time) for _ in range(QUICK_REPEATS))
        )
    best = finalists[int(np.argmin(costs))] if costs else finalists[0]
    candidate.use(best["setting"])
    return {
        "setting": best["setting"],
        "recall@100": best["recall"],
        "reached": best["recall"] >= target,
        "sweep": tried,
    }


def timed_batch(candidate: Candidate, queries: Float32, clock: Callable[[], float] = time.perf_counter) -> float:
    """Microseconds a query, all in one call."""
    start = clock()
    candidate.batch(queries)
    return (clock() - start) / len(queries) * 1e6


def timed_one(candidate: Candidate, queries: Float32) -> float:
    """Microseconds a query, one a call."""
    start = time.perf_counter()
    for query in queries:
        candidate.one(query)
    return (time.perf_counter() - start) / len(queries) * 1e6


def mebibytes(candidate: Candidate) -> float:
    """What the saved index takes."""
    with tempfile.TemporaryDirectory() as scratch:
        candidate.write(Path(scratch))
        return sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file()) / 2**20


def compare(
    vectors: Float32,
    queries: Float32,
    wanted: Sequence[Candidate],
    target: float = 0.99,
    repeats: int = 5,
    progress: Callable[[dict[str, Row], dict[str, str]], None] = lambda rows, missing: None,
) -> tuple[dict[str, Row], dict[str, str]]:
    """Build and time every candidate, in this process.

    Args:
        vectors: ``[n, d]`` unit vectors, K or more.
        queries: ``[m, d]``.
        target: recall@100 that settings have to reach.
        repeats: timings of every row, of which the median is taken.
        progress: called with what there is so far, after every candidate and every repeat.

    Returns:
        The rows by name; of the candidates that are not among them, why.
    """
    kth = kth_scores(vectors, queries)
    rows: dict[str, Row] = {}
    missing: dict[str, str] = {}
    built: list[Candidate] = []
    for candidate in wanted:
        try:
            candidate.library()
        except ImportError:
            package = candidate.needs.partition(".")[0]
            missing[candidate.name] = f"{package} is not installed: run `make bench-env`"
            continue
        start = time.perf_counter()
        candidate.build(vectors)
        row = {"build s": time.perf_counter() - start}
        row |= choose(candidate, queries, target, lambda found: recall(vectors, queries, found, kth))
        if row["recall@100"] == 0:
            missing[candidate.name] = "no setting of it answers these queries"
            continue
        rows[candidate.name] = {**row, "MiB": mebibytes(candidate), "runs": {ONE: [], BATCH: [], "CPU share": []}}
        built.append(candidate)
        logger.info(
            "%s: built in %.1f s, recall %.4f with %s",
            candidate.name,
            row["build s"],
            row["recall@100"],
            row["setting"],
        )
        progress(rows, missing)
    single = queries[:SINGLE]
    for repeat in range(repeats):
        for candidate in built:
            runs = rows[candidate.name]["runs"]
            timed_one(candidate, single[:WARM_UP])
            cpu, start = time.process_time(), time.perf_counter()
            runs[ONE].append(timed_one(candidate, single))
            runs[BATCH].append(timed_batch(candidate, queries))
            runs["CPU share"].append((time.process_time() - cpu) / (time.perf_counter() - start))
        summarise(rows)
        logger.info("repeat %d of %d", repeat + 1, repeats)
        progress(rows, missing)
    return rows, missing


def summarise(rows: Mapping[str, Row]) -> None:
    """Put the medians of the ``runs`` so far into every row, and how many times our queries a second they are."""
    for row in rows.values():
        row["CPU share"] = statistics.median(row["runs"]["CPU share"])
        for way in (ONE, BATCH):
            row[f"µs, {way}"] = statistics.median(row["runs"][way])
            row[f"queries/s, {way}"] = 1e6 / row[f"µs, {way}"]
    for row in rows.values():
        for way in (ONE, BATCH):
            row[f"× ours, {way}"] = row[f"queries/s, {way}"] / rows[OURS][f"queries/s, {way}"]


def on_one_core(folder: Path, facts: dict[str, Any], output: Path | None) -> dict[str, Any]:
    """:func:`compare` all candidates on ``vectors.npy`` and ``queries.npy`` of a folder, for a fresh process.

    Args:
        facts: ``recall`` and ``repeats``, and what else the JSON shall say.
        output: the JSON, which is written again and again.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it says which of its libraries it tries
    if hasattr(os, "sched_setaffinity"):
        # ScaNN trains on all cores and has no setting for it that our index would pass on.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    vectors, queries = np.load(folder / "vectors.npy"), np.load(folder / "queries.npy")

    def progress(rows: dict[str, Row], missing: dict[str, str]) -> None:
        save(output, {**facts, "rows": rows, "missing": missing})

    rows, missing = compare(vectors, queries, candidates(), facts["recall"], facts["repeats"], progress)
    return {"rows": rows, "missing": missing}


# ---- what is searched ----------------------------------------------------------------------------


def of_model(path: Path, count: int) -> tuple[Float32, Float32]:
    """A published model's index vectors ``[n, d]``, and ``[count, d]`` queries of customers drawn at random.

    Raises:
        BundleError, OSError: there is no such model, or it is damaged.
    """
    recommender = Recommender.load(path)
    customers = np.random.default_rng(0).permutation(recommender.n_customers)[:count]
    return load_index(path / "index").vectors, recommender.queries(recommender.customers(customers))


def clustered(articles: int, count: int) -> tuple[Float32, Float32]:
    """Vectors ``[articles, 66]`` in clusters, with popularity folded in as a model's, and ``[count, 66]`` queries.

    As in a trained model, a few directions make most of the difference; without that, no index is much quicker than
    comparing everything.
    """
    rng = np.random.default_rng(0)
    spread = np.arange(1, 65) ** -0.5

    def unit(array: npt.NDArray[np.float64]) -> Float32:
        return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)

    centres = rng.normal(size=(max(1, articles // 100), 64)) * spread
    own = rng.normal(size=(articles, 64)) * spread
    vectors = unit(centres[rng.integers(len(centres), size=articles)] + 0.5 * own)
    near = rng.normal(size=(count, 64)) * spread
    queries = unit(vectors[rng.integers(articles, size=count)] + 0.2 * near)
    log_popularity = rng.normal(size=articles).astype(np.float32)
    return fold_articles(vectors, log_popularity, scale=15.0), fold_customers(queries)


# ---- the table -----------------------------------------------------------------------------------


def table(rows: Mapping[str, Row]) -> pd.DataFrame:
    """A line a row; a recall below the target is marked."""
    frame = pd.DataFrame.from_dict(dict(rows), orient="index")
    columns = ["build s", "MiB", "recall@100"]
    columns += [f"{what} {way}" for way in (ONE, BATCH) for what in ("µs,", "queries/s,", "× ours,")]
    shown = frame[columns].map("{:,.2f}".format)
    shown["recall@100"] = [f"{row['recall@100']:.4f}{'' if row['reached'] else ' (too low)'}" for row in rows.values()]
    for way in (ONE, BATCH):
        shown[f"µs, {way}"] = frame[f"µs, {way}"].map("{:,.1f}".format)
        shown[f"queries/s, {way}"] = frame[f"queries/s, {way}"].map("{:,.0f}".format)
    shown["CPU share"] = frame["CPU share"].map("{:.2f}".format)
    shown["setting"] = [", ".join(f"{name} {value}" for name, value in row["setting"].items()) for row in rows.values()]
    return shown


def winners(rows: Mapping[str, Row]) -> dict[str, str]:
    """For either way of asking, the row with most queries a second of those that reach the recall."""
    reached = [name for name, row in rows.items() if row["reached"]]
    return {
        way: max(reached, key=lambda name: float(rows[name][f"queries/s, {way}"])) for way in (ONE, BATCH) if reached
    }


def installed() -> list[str]:
    """Of the compared packages, those with a version to report."""
    found = []
    for package in PACKAGES:
        try:
            version(package)
        except PackageNotFoundError:
            continue
        found.append(package)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="artifacts/model", help="folder of a published model (%(default)s)")
    parser.add_argument("--vectors", type=int, help="search so many clustered vectors instead of a model's")
    parser.add_argument("--queries", type=int, default=2_000, help="how many customers ask (%(default)s)")
    parser.add_argument("--recall", type=float, default=0.99, help="recall@100 that is to be reached (%(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="timings of every row (%(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    if options.queries < 1 or options.repeats < 1 or not 0 < options.recall <= 1:
        parser.error("--queries and --repeats are 1 or more, and --recall is above 0 and at most 1")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        source = f"{options.vectors:,} clustered vectors" if options.vectors else str(options.model)
        if options.vectors:
            vectors, queries = clustered(options.vectors, options.queries)
        else:
            vectors, queries = of_model(resolve(options.model), options.queries)
    except (BundleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if len(vectors) < 2 * K:
        print(
            f"error: {2 * K} vectors or more are needed to look for the best {K}, not {len(vectors)}", file=sys.stderr
        )
        return 1
    measure(source, vectors, queries, options)
    return 0


def measure(source: str, vectors: Float32, queries: Float32, options: argparse.Namespace) -> None:
    """Compare in a fresh process, print the table and write the JSON."""
    facts = {
        **machine(*installed()),
        "source": source,
        "vectors": list(vectors.shape),
        "queries": len(queries),
        "recall": options.recall,
        "repeats": options.repeats,
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name, array in (("vectors", vectors), ("queries", queries)):
            np.save(Path(scratch) / f"{name}.npy", array, allow_pickle=False)
        with mock.patch.dict(os.environ, ONE_THREAD):
            found = measured(on_one_core, Path(scratch), facts, options.json)
    rows, missing = found["rows"], found["missing"]
    best = winners(rows)
    save(options.json, {**facts, "rows": rows, "missing": missing, "winners": best})
    print(
        f"\n{source}: {len(vectors):,} vectors of {vectors.shape[1]} dimensions, {len(queries):,} queries, one core; "
        f"the median of {options.repeats} timings.\n"
    )
    print(table(rows).to_string())
    if missing:
        print()
    for name, why in missing.items():
        print(f"{name} is left out: {why}.")
    disturbed = [name for name, row in rows.items() if row["CPU share"] < FULL_SHARE]
    if disturbed:
        print(f"\nOther processes took part of the core, so run this again when it is idle: {', '.join(disturbed)}.")
    for way, name in best.items():
        row = rows[name]
        print(
            f"\nMost queries a second {way}, of those that reach recall {options.recall:g}: {name}, "
            f"{row[f'queries/s, {way}']:,.0f}, {row[f'× ours, {way}']:.2f} × ours."
        )


if __name__ == "__main__":
    sys.exit(main())
