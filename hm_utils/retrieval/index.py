"""Nearest articles by dot product: ScaNN and exact search behind one interface.

Both return the exact float32 dot product of query and article vector. It does not depend on the index, the batch or its
size, so a ranking served to one customer equals the one in a batch file. The highest score comes first; equal scores
are in order of article row.

This module hides five traps of ScaNN 1.4.2: a NaN among the items aborts the process; a batch may find other articles
than its queries one by one; ``docids=`` is stored as a pickle; a k above the reordering count is cut silently; the
default random initialisation builds another index every time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Bool, Float32, Int32, Int64, mapped

Kind = Literal["auto", "scann", "exact"]

logger = logging.getLogger(__name__)

SCANN_FROM = 1_000  # rows; exact search of fewer is as fast, and "auto" takes it
SCANN_MINIMUM = 16  # rows; asymmetric hashing trains 16 centres a block
REORDERS = (300, 600, 1_200)  # candidates that ScaNN scores exactly, in the order that index_tuning tries
SPARE = 16  # candidates beyond k: rounding inside ScaNN then cannot decide which article is the k-th
BLOCK = 16_000_000  # float32 values (64 MB) that a search holds at once


def import_scann() -> ModuleType:
    """ScaNN's numpy interface, imported on first use because it has wheels for Linux only. Raises ImportError."""
    try:
        from scann import scann_ops_pybind
    except ImportError as error:
        raise ImportError(
            "ScaNN cannot be imported (it has wheels for Linux x86_64 and aarch64 only): "
            'install it, or build the index with kind="exact", which gives the same answers slower'
        ) from error
    return scann_ops_pybind


def _check_rows(array: npt.ArrayLike, what: str, dim: int | None = None) -> Float32:
    """``array`` as contiguous float32 ``[n, d]``; ValueError names the first row without a direction."""
    rows = np.ascontiguousarray(array, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] == 0 or (dim is not None and rows.shape[1] != dim):
        raise ValueError(f"{what} must have shape [n, {dim or 'd'}], not {list(rows.shape)}")
    squares = np.vecdot(rows, rows)
    if not all(0 < square < math.inf for square in squares.tolist()):  # for one query faster than with numpy
        bad = np.flatnonzero(~(np.isfinite(squares) & (squares > 0)))
        raise ValueError(
            f"{what}: {len(bad)} of {len(rows)} rows are zero, NaN or infinite (first: row {bad[0]}); "
            "every vector needs a direction, so check for a diverged or untrained tower"
        )
    return rows


def widened(ids: Int32, scores: Float32, k: int) -> tuple[Int32, Float32]:
    """``ids`` and ``scores`` (``[m, c]``) with k columns: -1 and -inf after the c found."""
    found = ids.shape[1]
    if found == k:  # np.pad would cost more than the search
        return ids, scores
    wide_ids = np.full((len(ids), k), -1, np.int32)
    wide_scores = np.full((len(ids), k), -np.inf, np.float32)
    wide_ids[:, :found], wide_scores[:, :found] = ids, scores
    return wide_ids, wide_scores


class Searchable(Protocol):
    """The interface that a recommender needs, in this process or in a store; :class:`ExactIndex` describes it."""

    @property
    def vectors(self) -> Float32: ...

    @property
    def ids(self) -> Int32: ...

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Int32, Float32]: ...


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """Every article scored for every query.

    Attributes:
        vectors: ``[n, d]`` float32, no row zero or NaN; may be memory-mapped.
        ids: ``[n]`` the article row of every vector, strictly ascending.
    """

    vectors: Float32
    ids: Int32

    kind = "exact"

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Int32, Float32]:
        """The k articles with the largest dot product.

        Args:
            queries: ``[m, d]`` float32.
            k: any number from 1.

        Returns:
            ``ids [m, k]`` and ``scores [m, k]``, descending; equal scores are in order of id. Where the index has
            fewer than k articles, ids are -1 and scores -inf.

        Raises:
            ValueError: if a query is zero or NaN, or k is below 1.
        """
        checked = self.check(queries, k)
        return self.answer(*self.nearest(checked, min(k, len(self))), k)

    def check(self, queries: npt.ArrayLike, k: int) -> Float32:
        """The queries as contiguous float32 ``[m, d]``. Raises ValueError as :meth:`search`."""
        if k < 1:
            raise ValueError(f"k must be 1 or more, not {k}")
        return _check_rows(queries, "queries", self.vectors.shape[1])

    def nearest(self, queries: Float32, k: int) -> tuple[Int64, Float32]:
        """Positions in ``vectors`` and scores ``[m, k]``, for checked queries and k at most n."""
        import torch  # on first use, like ScaNN

        n, dim = self.vectors.shape
        positions = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        step = max(1, BLOCK // n)
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            rough = part @ self.vectors.T
            # A generous bound on the rounding of a float32 matrix product: no candidate is lost to it.
            slack = 2 * dim * np.finfo(np.float32).eps * np.abs(rough).max()
            pool = min(n, k + 2 * SPARE)
            while True:
                # torch's is several times faster than np.argpartition.
                kept, candidates = (found.numpy() for found in torch.from_numpy(rough).topk(pool))
                if pool == n or (kept[:, -1] < kept[:, k - 1] - slack).all():
                    break
                pool = min(n, 4 * pool)  # many articles tie for the last place: include them all
            positions[start : start + step], scores[start : start + step] = self.rescore(part, candidates, k)
        return positions, scores

    def rescore(self, queries: Float32, candidates: Int64, k: int) -> tuple[Int64, Float32]:
        """The k best of the candidates by exact score.

        ``vecdot`` computes each pair by itself, so a score does not depend on the rest of the batch. A matrix product
        sums in another order for every shape and differs in the last bit.

        Args:
            candidates: ``[m, c]`` positions in ``vectors``, -1 where padded.

        Returns:
            Positions and scores, both ``[m, min(k, c)]``.
        """
        positions = np.empty((len(queries), min(k, candidates.shape[1])), np.int64)
        scores = np.empty(positions.shape, np.float32)
        step = max(1, BLOCK // max(1, candidates.shape[1] * self.vectors.shape[1]))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            score = np.vecdot(np.take(self.vectors, candidates[part], axis=0), queries[part, None, :])
            score[candidates[part] < 0] = -np.inf
            order = np.lexsort((candidates[part], -score), axis=1)[:, :k]
            rows = np.arange(len(order))[:, None]
            positions[part] = candidates[part][rows, order]
            scores[part] = score[rows, order]
        return positions, scores

    def answer(self, positions: Int64, scores: Float32, k: int) -> tuple[Int32, Float32]:
        """The ids at ``positions`` and their scores, :func:`widened` to k columns."""
        return widened(self.ids[positions], scores, k)

    def save(self, directory: Path) -> None:
        """Write ``vectors.npy``, ``ids.npy`` and ``index.json`` into ``directory`` (made if missing)."""
        _save_arrays(directory, self.vectors, self.ids, {"kind": self.kind})


@dataclass(frozen=True, eq=False)
class ScannIndex:
    """ScaNN: a tree of leaves, hashed scores within the searched leaves, exact scores for the best candidates.

    Attributes:
        vectors, ids: as in :class:`ExactIndex`.
        searcher: ScaNN's own object.
        leaves: number of leaves in the tree.
        leaves_to_search: number of leaves searched per query.
        reorder: number of the best hashed scores that are replaced by exact ones.
    """

    vectors: Float32
    ids: Int32
    searcher: Any
    leaves: int
    leaves_to_search: int
    reorder: int

    kind = "scann"

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def exact(self) -> ExactIndex:
        """The same articles, searched exactly."""
        return ExactIndex(self.vectors, self.ids)

    @property
    def depth(self) -> int:
        """The largest k that ScaNN answers; a larger one is searched exactly.

        It is half the candidates: near their end the hashed order decides which articles are included, not the score.
        """
        return self.reorder // 2

    def with_settings(self, leaves_to_search: int, reorder: int) -> ScannIndex:
        """The same index with other search settings. ScaNN takes both at query time; nothing is rebuilt."""
        return dataclasses.replace(self, leaves_to_search=leaves_to_search, reorder=reorder)

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Int32, Float32]:
        """As :meth:`ExactIndex.search`, but a share of the true k is missed (``index_tuning.recall_at_k``).

        A shorter ranking is the start of a longer one: the candidates are the same for every k up to ``depth``. A
        query whose leaves hold fewer articles than that is searched exactly.
        """
        exact = self.exact
        checked = exact.check(queries, k)
        width = min(k, len(self))
        if width > self.depth:
            return exact.search(checked, k)
        positions = np.empty((len(checked), width), np.int64)
        scores = np.empty(positions.shape, np.float32)
        # One at a time: a ScaNN batch rounds the distances to the leaves differently and may choose another leaf.
        for row, query in enumerate(checked):
            positions[row], scores[row] = self.approximate(query, width) or exact.nearest(query[None], width)
        return exact.answer(positions, scores, k)

    def approximate(
        self, query: Float32, k: int, inside: Bool | None = None, needed: int | None = None
    ) -> tuple[npt.NDArray[np.uint32], Float32] | None:
        """Positions and scores ``[k]`` from ScaNN alone, for a checked query and k at most ``depth``.

        None if fewer than ``needed`` articles are found (default: ``depth``).

        Args:
            inside: ``[n]`` the only articles that count; None for all.
        """
        wanted = min(self.depth, len(self))
        found, _ = self.searcher.search(query, wanted + SPARE, self.reorder, self.leaves_to_search)
        if inside is not None:
            found = found[inside[found]]
        if len(found) < (wanted if needed is None else needed):
            return None
        found = found[: k + SPARE]
        scores = np.vecdot(self.vectors.take(found, axis=0), query)
        if not (scores[1:] < scores[:-1]).all():  # ScaNN rounds differently, and orders equal scores its own way
            order = np.lexsort((found, -scores))
            found, scores = found[order], scores[order]
        return found[:k], scores[:k]

    def save(self, directory: Path) -> None:
        """As :meth:`ExactIndex.save`, and ScaNN's own files in ``scann/``."""
        settings = {"leaves": self.leaves, "leaves_to_search": self.leaves_to_search, "reorder": self.reorder}
        _save_arrays(directory, self.vectors, self.ids, {"kind": self.kind, **settings})
        (directory / "scann").mkdir()  # serialize does not make it
        # Absolute paths, the default, would break the index when its folder is renamed.
        self.searcher.serialize(str(directory / "scann"), relative_path=True)


Index = ExactIndex | ScannIndex


def build_index(
    vectors: npt.ArrayLike,
    kind: Kind = "auto",
    *,
    ids: npt.ArrayLike | None = None,
    leaves: int | None = None,
    leaves_to_search: int | None = None,
    reorder: int = REORDERS[0],
) -> Index:
    """Index the articles' vectors.

    Args:
        vectors: ``[n, d]`` float32.
        kind: "auto" is ScaNN where it can be imported and the catalogue has ``SCANN_FROM`` rows or more.
        ids: ``[n]`` strictly ascending ids to return; by default the row numbers.
        leaves: number of leaves in ScaNN's tree; by default the square root of n.
        leaves_to_search: by default a tenth of the leaves; ``index_tuning.choose_leaves`` measures the number needed.
        reorder: candidates scored exactly per query.

    Raises:
        ValueError: for no rows, a row that is zero or not finite, ids that do not ascend, or fewer than 16 rows with
            kind "scann".
        ImportError: for kind "scann" without ScaNN.
    """
    rows = _check_rows(vectors, "article vectors")
    if kind not in ("auto", "scann", "exact"):
        raise ValueError(f'kind must be "auto", "scann" or "exact", not {kind!r}')
    if len(rows) == 0:
        raise ValueError("article vectors: not a single row to index")
    own = np.arange(len(rows), dtype=np.int32) if ids is None else np.asarray(ids, dtype=np.int32)
    if own.shape != (len(rows),) or (np.diff(own) <= 0).any():
        raise ValueError(f"ids must be {len(rows)} strictly ascending numbers, one a vector")
    if kind == "exact" or (kind == "auto" and len(rows) < SCANN_FROM):
        return ExactIndex(rows, own)
    try:
        scann = import_scann()
    except ImportError:
        if kind == "scann":
            raise
        return ExactIndex(rows, own)
    if len(rows) < SCANN_MINIMUM:
        raise ValueError(f'ScaNN needs {SCANN_MINIMUM} rows or more, not {len(rows)}: use kind="auto"')
    leaves = max(1, round(len(rows) ** 0.5)) if leaves is None else leaves
    leaves_to_search = max(1, leaves // 10) if leaves_to_search is None else leaves_to_search
    builder = (
        scann.builder(rows, REORDERS[0], "dot_product")
        # Without random_init the tree starts from k-means++ with a fixed seed: equal vectors give equal indices.
        .tree(leaves, leaves_to_search, random_init=False)
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(reorder)
    )
    with _captured_stderr():
        searcher = builder.build()
    return ScannIndex(rows, own, searcher, leaves, leaves_to_search, reorder)


def load_index(directory: Path) -> Index:
    """Open a saved index with its vectors memory-mapped. Search is exact if ScaNN is missing.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the files do not belong together.
    """
    index, facts = load_exact(directory), json.loads((directory / "index.json").read_text())
    if facts["kind"] == "exact":
        return index
    try:
        scann = import_scann()
    except ImportError:
        logger.warning("%s was built with ScaNN, which cannot be imported here: searching exactly, slower", directory)
        return index
    if (directory / "scann" / "scann_docids.pkl").exists():
        raise ValueError(f"{directory}/scann holds a pickle (scann_docids.pkl), which is never loaded; publish again")
    if not (directory / "scann" / "scann_assets.pbtxt").exists():
        raise FileNotFoundError(f"{directory}/scann/scann_assets.pbtxt is missing; publish again")
    _check_scann_files(directory / "scann", len(index), index.vectors.shape[1], facts)
    searcher = scann.load_searcher(str(directory / "scann"), assets_backcompat_shim=False)
    if searcher.size() != len(index):
        raise ValueError(f"{directory}: ScaNN has {searcher.size()} rows, vectors.npy {len(index)}; publish again")
    return ScannIndex(index.vectors, index.ids, searcher, facts["leaves"], facts["leaves_to_search"], facts["reorder"])


def _check_scann_files(folder: Path, n: int, dim: int, facts: dict[str, Any]) -> None:
    """Raise ValueError if ScaNN's arrays do not fit the vectors: ScaNN would read beyond their ends."""
    # build_index hashes pairs of dimensions, each into a byte.
    expected = {
        "datapoint_to_token": ((n,), np.int32),
        "hashed_dataset": ((n, -(-dim // 2)), np.uint8),
        "dataset": ((n, dim), np.float32),
    }
    for name, (shape, dtype) in expected.items():
        array = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{folder.name}/{name}.npy does not fit the vectors: it has shape {list(array.shape)}")
        if name == "datapoint_to_token" and not (array.min() >= 0 and array.max() < facts["leaves"]):
            raise ValueError(f"{folder.name}/{name}.npy names leaves that the index does not have")
    if not 1 <= facts["leaves_to_search"] <= facts["leaves"] or not facts["reorder"] >= 1:
        raise ValueError(f"{folder.parent.name}/index.json has no usable settings")


def load_exact(directory: Path) -> ExactIndex:
    """Open a saved index of either kind for exact search. Raises as :func:`load_index`."""
    facts = json.loads((directory / "index.json").read_text())
    vectors = mapped(directory / "vectors.npy", "c")
    ids = np.load(directory / "ids.npy", allow_pickle=False)
    if vectors.dtype != np.float32 or list(vectors.shape) != facts["shape"] or ids.shape != vectors.shape[:1]:
        raise ValueError(f"{directory}: vectors.npy, ids.npy and index.json do not belong together; publish again")
    return ExactIndex(vectors, ids)


def _save_arrays(directory: Path, vectors: Float32, ids: Int32, facts: dict[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, array in (("vectors", vectors), ("ids", ids)):
        # Unlink first: writing into the file would change the arrays of processes that have it mapped.
        (directory / f"{name}.npy").unlink(missing_ok=True)
        np.save(directory / f"{name}.npy", array, allow_pickle=False)
    shutil.rmtree(directory / "scann", ignore_errors=True)
    (directory / "index.json").write_text(json.dumps({**facts, "shape": list(vectors.shape)}, indent=1))


@contextlib.contextmanager
def _captured_stderr() -> Iterator[None]:
    """Keep ScaNN's C++ log lines out of the output; an exception carries them as a note."""
    with tempfile.TemporaryFile() as log:
        real = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception as error:
            log.seek(0)
            error.add_note(log.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
