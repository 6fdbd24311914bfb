"""Nearest articles by dot product: ScaNN, and exact search behind the same interface.

Both kinds answer with the exact float32 dot product of query and article vector, computed the same way
whatever the kind, the batch or its size, so a list served to one customer equals the one that a batch
command writes. Best first; equal scores in order of the article's row.

ScaNN 1.4.2, as measured: a NaN among the items aborts the process, a batch may find other articles than its queries
one by one, ``docids=`` is stored as a pickle, k above the reordering count is clipped without a word, and the
default random initialisation gives another index at every build. None of it reaches a caller of this module.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Float32, Int32, Int64

Kind = Literal["auto", "scann", "exact"]

logger = logging.getLogger(__name__)

SCANN_FROM = 1_000  # rows; below, exact search is as quick and "auto" takes it
SCANN_MINIMUM = 16  # rows; asymmetric hashing has 16 centres a block and refuses to train on fewer
REORDERS = (300, 600, 1_200)  # candidates that ScaNN scores exactly, in the order that index_tuning tries
SPARE = 16  # candidates beyond k, so that rounding inside ScaNN cannot decide what the k-th is
BLOCK = 16_000_000  # float32 values (64 MB) that a search holds at once


def _import_scann() -> ModuleType:
    """ScaNN's numpy interface, imported when first needed: there are wheels for Linux alone."""
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as error:
        raise ImportError(
            "ScaNN cannot be imported (there are wheels for Linux x86_64 and aarch64 only): "
            'install it, or build the index with kind="exact", which gives the same answers slower'
        ) from error
    return scann_ops_pybind


def _check_rows(array: npt.ArrayLike, what: str, dim: int | None = None) -> Float32:
    """``array`` as contiguous float32 ``[n, d]``; ValueError names the first row that has no direction."""
    rows = np.ascontiguousarray(array, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] == 0 or (dim is not None and rows.shape[1] != dim):
        raise ValueError(f"{what} must have shape [n, {dim or 'd'}], not {list(rows.shape)}")
    squares = np.vecdot(rows, rows)
    if not (np.isfinite(squares) & (squares > 0)).all():
        bad = np.flatnonzero(~(np.isfinite(squares) & (squares > 0)))
        raise ValueError(
            f"{what}: {len(bad)} of {len(rows)} rows are zero, NaN or infinite (first: row {bad[0]}); "
            "every vector needs a direction, so look for a diverged or untrained tower"
        )
    return rows


def _rescore(vectors: Float32, queries: Float32, candidates: Int64, k: int) -> tuple[Int64, Float32]:
    """Exact scores of ``candidates`` ``[m, c]`` (rows of ``vectors``, -1 padding) and the k best of them.

    ``vecdot`` is one dot product a pair, so a score does not depend on what else is in the batch; a matrix
    product sums in another order for every shape, and differs in the last bit.
    """
    positions = np.empty((len(queries), min(k, candidates.shape[1])), np.int64)
    scores = np.empty(positions.shape, np.float32)
    step = max(1, BLOCK // max(1, candidates.shape[1] * vectors.shape[1]))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        score = np.vecdot(np.take(vectors, candidates[part], axis=0), queries[part, None, :])
        score[candidates[part] < 0] = -np.inf
        order = np.lexsort((candidates[part], -score), axis=1)[:, :k]
        rows = np.arange(len(order))[:, None]
        positions[part] = candidates[part][rows, order]
        scores[part] = score[rows, order]
    return positions, scores


class Searchable(Protocol):
    """What a recommender asks of an index, wherever it is: see :class:`ExactIndex` for each."""

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
        ids: ``[n]`` int32, the article row of every vector, strictly ascending.
    """

    vectors: Float32
    ids: Int32

    kind = "exact"

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Int32, Float32]:
        """The k articles with the largest dot product.

        Args:
            queries: ``[m, d]`` float32, no row zero or NaN (ValueError).
            k: how many; any number from 1.

        Returns:
            ``ids [m, k]`` int32, -1 where the index has fewer than k articles, and ``scores [m, k]`` float32,
            falling, -inf there. Equal scores are in order of id.
        """
        checked = _check_queries(queries, self.vectors, k)
        return _padded(self.ids, *self._nearest(checked, min(k, len(self))), k)

    def _nearest(self, queries: Float32, k: int) -> tuple[Int64, Float32]:
        """Positions and scores ``[m, k]`` for checked queries and k at most n."""
        import torch  # when first needed, as ScaNN

        n, dim = self.vectors.shape
        positions = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        step = max(1, BLOCK // n)
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            rough = part @ self.vectors.T
            # What a matrix product in float32 may be off by, generously: no candidate is lost to rounding.
            slack = 2 * dim * np.finfo(np.float32).eps * np.abs(rough).max()
            pool = min(n, k + 2 * SPARE)
            while True:
                # torch's is several times quicker than np.argpartition.
                kept, candidates = (found.numpy() for found in torch.from_numpy(rough).topk(pool))
                if pool == n or (kept[:, -1] < kept[:, k - 1] - slack).all():
                    break
                pool = min(n, 4 * pool)  # many articles tie for the last place: look at all of them
            found = _rescore(self.vectors, part, candidates, k)
            positions[start : start + step], scores[start : start + step] = found
        return positions, scores

    def save(self, directory: Path) -> None:
        """Write ``vectors.npy``, ``ids.npy`` and ``index.json`` into ``directory`` (made if missing)."""
        _save_arrays(directory, self.vectors, self.ids, {"kind": self.kind})


@dataclass(frozen=True, eq=False)
class ScannIndex:
    """ScaNN: a tree of leaves, hashed scores within the leaves searched, exact scores for the best.

    Attributes:
        vectors, ids: as in :class:`ExactIndex`.
        searcher: ScaNN's own object.
        leaves: leaves of the tree.
        leaves_to_search: how many of them a query looks into.
        reorder: how many of the best hashed scores are replaced by exact ones.
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

    @property
    def exact(self) -> ExactIndex:
        """The same articles, searched exactly."""
        return ExactIndex(self.vectors, self.ids)

    @property
    def depth(self) -> int:
        """The largest k that ScaNN answers; deeper lists are searched exactly.

        Half the candidates: near their end the hashed order, not the score, decides who is among them.
        """
        return self.reorder // 2

    def with_settings(self, leaves_to_search: int, reorder: int) -> ScannIndex:
        """The same index searched otherwise; ScaNN takes both numbers at query time, nothing is rebuilt."""
        return dataclasses.replace(self, leaves_to_search=leaves_to_search, reorder=reorder)

    def search(self, queries: npt.ArrayLike, k: int) -> tuple[Int32, Float32]:
        """As :meth:`ExactIndex.search`, missing a measured share of the true k (``index_tuning.recall_at_k``).

        A shorter list begins a longer one: the candidates are the same for every k up to ``depth``, and a query
        whose leaves hold fewer than that is searched exactly.
        """
        checked = _check_queries(queries, self.vectors, k)
        width = min(k, len(self))
        if width > self.depth:
            return self.exact.search(checked, k)
        positions, scores = self._approximate(checked, width)
        short = positions[:, 0] < 0
        if short.any():
            positions[short], scores[short] = self.exact._nearest(checked[short], width)
        return _padded(self.ids, positions, scores, k)

    def _approximate(self, queries: Float32, k: int) -> tuple[Int64, Float32]:
        """ScaNN's own answer ``[m, k]``, k at most ``depth``; -1 all along a row short of candidates."""
        wanted = min(self.depth, len(self))
        candidates = np.full((len(queries), k + SPARE), -1, np.int64)
        # One at a time: a batch of ScaNN's own rounds the distances to the leaves otherwise, and may enter another.
        for row, query in enumerate(queries):
            found, _ = self.searcher.search(query, wanted + SPARE, self.reorder, self.leaves_to_search)
            if len(found) >= wanted:
                candidates[row, : len(found)] = found[: k + SPARE]
        return _rescore(self.vectors, queries, candidates, k)

    def save(self, directory: Path) -> None:
        """As :meth:`ExactIndex.save`, and ScaNN's own files in ``scann/``."""
        settings = {"leaves": self.leaves, "leaves_to_search": self.leaves_to_search, "reorder": self.reorder}
        _save_arrays(directory, self.vectors, self.ids, {"kind": self.kind, **settings})
        (directory / "scann").mkdir()  # serialize does not make it
        # Absolute paths, the default, would break the index as soon as its folder is renamed.
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
        ids: ``[n]`` strictly ascending ids to answer with; by default the row numbers.
        leaves: of ScaNN's tree; by default the square root of n.
        leaves_to_search: by default a tenth of the leaves; ``index_tuning.choose_leaves`` measures what it takes.
        reorder: candidates scored exactly a query.

    Raises:
        ValueError: no rows, a row that is zero or not finite, ids that are not ascending, fewer than 16 rows
            for kind "scann".
        ImportError: kind "scann" where there is no ScaNN.
    """
    rows = _check_rows(vectors, "article vectors")
    if kind not in ("auto", "scann", "exact"):
        raise ValueError(f'kind must be "auto", "scann" or "exact", not {kind!r}')
    if len(rows) == 0:
        raise ValueError("article vectors: there is not a single row to index")
    own = np.arange(len(rows), dtype=np.int32) if ids is None else np.asarray(ids, dtype=np.int32)
    if own.shape != (len(rows),) or (np.diff(own) <= 0).any():
        raise ValueError(f"ids must be {len(rows)} strictly ascending numbers, one a vector")
    if kind == "exact" or (kind == "auto" and len(rows) < SCANN_FROM):
        return ExactIndex(rows, own)
    try:
        scann = _import_scann()
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
        # Without random_init the tree starts from k-means++ with a fixed seed: the same vectors, the same index.
        .tree(leaves, leaves_to_search, random_init=False)
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(reorder)
    )
    with _captured_stderr():
        searcher = builder.build()
    return ScannIndex(rows, own, searcher, leaves, leaves_to_search, reorder)


def load_index(directory: Path) -> Index:
    """Open what ``save`` wrote; the vectors are memory-mapped. Where ScaNN is missing, search is exact.

    Raises:
        FileNotFoundError: a file is missing. ValueError: the files do not fit together.
    """
    index, facts = load_exact(directory), json.loads((directory / "index.json").read_text())
    if facts["kind"] == "exact":
        return index
    try:
        scann = _import_scann()
    except ImportError:
        logger.warning("%s was built with ScaNN, which cannot be imported here: searching exactly, slower", directory)
        return index
    if (directory / "scann" / "scann_docids.pkl").exists():
        raise ValueError(f"{directory}/scann holds a pickle (scann_docids.pkl), which is never loaded; publish again")
    if not (directory / "scann" / "scann_assets.pbtxt").exists():
        raise FileNotFoundError(f"{directory}/scann/scann_assets.pbtxt is missing; publish again")
    searcher = scann.load_searcher(str(directory / "scann"), assets_backcompat_shim=False)
    if searcher.size() != len(index):
        raise ValueError(f"{directory}: ScaNN has {searcher.size()} rows, vectors.npy {len(index)}; publish again")
    return ScannIndex(index.vectors, index.ids, searcher, facts["leaves"], facts["leaves_to_search"], facts["reorder"])


def load_exact(directory: Path) -> ExactIndex:
    """Open what ``save`` wrote to search exactly, whatever it was built as. Raises as :func:`load_index`."""
    facts = json.loads((directory / "index.json").read_text())
    # asarray: still the mapped pages, without memmap's cost at every slice. Copy-on-write: nobody writes
    # into them, but torch wants arrays that it could.
    vectors = np.asarray(np.load(directory / "vectors.npy", mmap_mode="c", allow_pickle=False))
    ids = np.load(directory / "ids.npy", allow_pickle=False)
    if vectors.dtype != np.float32 or list(vectors.shape) != facts["shape"] or ids.shape != vectors.shape[:1]:
        raise ValueError(f"{directory}: vectors.npy, ids.npy and index.json do not belong together; publish again")
    return ExactIndex(vectors, ids)


def _check_queries(queries: npt.ArrayLike, vectors: Float32, k: int) -> Float32:
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
    return _check_rows(queries, "queries", vectors.shape[1])


def _padded(ids: Int32, positions: Int64, scores: Float32, k: int) -> tuple[Int32, Float32]:
    """Positions as ids, widened to k columns with -1 and -inf where the index holds fewer articles."""
    found = positions.shape[1]
    if found == k:  # np.pad would cost more than the search
        return ids[positions], scores
    wide_ids, wide_scores = (
        np.full((len(positions), k), -1, np.int32),
        np.full((len(positions), k), -np.inf, np.float32),
    )
    wide_ids[:, :found], wide_scores[:, :found] = ids[positions], scores
    return wide_ids, wide_scores


def _save_arrays(directory: Path, vectors: Float32, ids: Int32, facts: dict[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, array in (("vectors", vectors), ("ids", ids)):
        # Unlink first: writing into a file that somebody has memory-mapped would pull it from under them.
        (directory / f"{name}.npy").unlink(missing_ok=True)
        np.save(directory / f"{name}.npy", array, allow_pickle=False)
    shutil.rmtree(directory / "scann", ignore_errors=True)
    (directory / "index.json").write_text(json.dumps({**facts, "shape": list(vectors.shape)}, indent=1))


@contextlib.contextmanager
def _captured_stderr() -> Iterator[None]:
    """Keep ScaNN's C++ log lines out of notebooks and terminals; an exception carries them as a note."""
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
