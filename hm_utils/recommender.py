"""A published model in, ranked articles out; the service and the batch command both use it.

<version>/
  checkpoint.pt        the towers
  index/               the articles' vectors, popularity folded in, and ScaNN's files
  scoring.json         the weights of popularity and repurchase, see hm_utils.scoring
  siblings/            the articles of every product that were on sale
  articles.parquet     the catalogue, in order of article row
  customers.parquet    the customers, in order of customer row
  customer_ids.npy     their ids as bytes, ascending: looked up by binary search, memory-mapped
  attributes.npy       codes of the customers' attributes
  log/                 every purchase up to the model's day
  manifest.json        see hm_utils.bundle
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.bundle import BundleError, verify
from hm_utils.checkpoint import load_checkpoint, read_checkpoint
from hm_utils.index import Index, load_index
from hm_utils.inference import encode_customers
from hm_utils.purchases import Int32, Int64, PurchaseLog
from hm_utils.scoring import Scoring, Siblings, best, fold_customers, relatives, unfold_articles, weigh_names
from hm_utils.towers import TwoTower

Float32 = npt.NDArray[np.float32]

# A published list may differ from its golden copy by the rounding of another processor, not by more.
GOLDEN_TOLERANCE = 1e-3


class Recommender:
    """A loaded model. Nothing in it changes, so threads may share it."""

    def __init__(
        self,
        model: TwoTower,
        index: Index,
        article_ids: npt.NDArray[np.str_],
        customer_ids: npt.NDArray[np.bytes_],
        attributes: Int32,
        log: PurchaseLog,
        history_length: int,
        scoring: Scoring,
        siblings: Siblings,
        manifest: dict[str, Any],
        folder: Path | None = None,
    ) -> None:
        self._model = model
        self._index = index
        self.article_ids = article_ids
        self.customer_ids = customer_ids
        self._attributes = attributes
        self._log = log
        self._history_length = history_length
        self.manifest = manifest
        self._folder = folder
        self.scoring = scoring
        self._siblings = siblings
        self._scale = float(model.scale.detach())

    @property
    def version(self) -> str:
        """Of the published model."""
        return str(self.manifest["version"])

    @property
    def n_customers(self) -> int:
        return len(self.customer_ids)

    @cached_property
    def _article_rows(self) -> dict[str, int]:
        return {str(article_id): row for row, article_id in enumerate(self.article_ids)}

    @cached_property
    def articles(self) -> pd.DataFrame:
        """The catalogue's table, in order of article row; read when first asked for."""
        assert self._folder is not None
        return pd.read_parquet(self._folder / "articles.parquet")

    @cached_property
    def _article_vectors(self) -> Float32:
        """``[n_articles, vector_dim]`` unit vectors, as the user tower reads them in a history."""
        return unfold_articles(self._index.vectors)

    def customer_rows(self, ids: Sequence[str]) -> Int64:
        """``[n]`` rows of the customers with these ids, -1 where an id is unknown."""
        wanted = np.array(
            [customer_id.encode("ascii", "replace") for customer_id in ids], dtype=self.customer_ids.dtype
        )
        rows = np.minimum(np.searchsorted(self.customer_ids, wanted), len(self.customer_ids) - 1)
        # The array's fixed width would cut a longer id to one that exists.
        known = (self.customer_ids[rows] == wanted) & np.array([len(i) <= wanted.itemsize for i in ids], dtype=bool)
        return np.where(known, rows, -1).astype(np.int64)

    def encode(self, rows: npt.NDArray[np.integer]) -> Float32:
        """``[n, vector_dim]`` unit vectors of customers, as of the day after the model's last."""
        return encode_customers(
            self._model.user_tower,
            self._article_vectors,
            self._attributes,
            self._log,
            np.asarray(rows, dtype=np.int32),
            self._log.last_day + 1,
            self._history_length,
        )

    def queries(self, rows: npt.NDArray[np.integer]) -> Float32:
        """``[n, vector_dim + 2]`` what the index is searched with."""
        return fold_customers(weigh_names(self.encode(rows), self._model.config.name_dim, self.scoring.name))

    def recommend(
        self, rows: npt.NDArray[np.integer], top_k: int, exclude: Sequence[str] = ()
    ) -> tuple[Int32, Float32]:
        """The best articles for each customer, over the whole catalogue.

        Args:
            rows: ``[n]`` customer rows, from :meth:`customer_rows`.
            top_k: how many articles; far above 100 the index searches exactly, which takes longer.
            exclude: ids of articles to leave out; one that is not in the catalogue is ignored.

        Returns:
            ``articles [n, top_k]`` int32 article rows, best first, -1 where the catalogue has no more, and
            ``scores [n, top_k]`` float32, on the model's scale (see hm_utils.scoring), falling, -inf there.
        """
        excluded = np.unique([self._article_rows[i] for i in exclude if i in self._article_rows]).astype(np.int32)
        if not len(rows):
            return np.empty((0, top_k), np.int32), np.empty((0, top_k), np.float32)
        known = np.asarray(rows, dtype=np.int32)
        found, scores = self._search(known, top_k)
        out = np.isin(found, excluded)
        deeper = 0
        while int(out.sum(axis=1).max()) > deeper:  # no deeper than it takes: a deep search is an exact one
            deeper = int(out.sum(axis=1).max())
            found, scores = self._search(known, top_k + deeper)
            out = np.isin(found, excluded)
        if deeper:
            # A stable sort by "is excluded" moves what stays to the front, in order.
            order = np.argsort(out, axis=1, kind="stable")
            found = np.take_along_axis(np.where(out, -1, found).astype(np.int32), order, axis=1)
            scores = np.take_along_axis(np.where(out, -np.inf, scores).astype(np.float32), order, axis=1)
        return found[:, :top_k], scores[:, :top_k]

    def _search(self, rows: Int32, k: int) -> tuple[Int32, Float32]:
        related = relatives(self._log, rows, self._log.last_day + 1, self._siblings)
        return best(self._index.search, self._index.vectors, self._scale, self.queries(rows), related, self.scoring, k)

    def golden(self, rows: Sequence[int], top_k: int = 10) -> dict[str, Any]:
        """A query and its answer, for the manifest: whoever loads the model asks it again."""
        articles, scores = self.recommend(np.asarray(rows), top_k)
        return {
            "customer_ids": [self.customer_ids[row].decode() for row in rows],
            "article_ids": [self.article_ids[found[found >= 0]].tolist() for found in articles],
            "scores": [found[np.isfinite(found)].tolist() for found in scores],
        }

    @classmethod
    def load(cls, path: Path) -> Recommender:
        """Verify the model in ``path``, open it and ask it the golden query.

        Raises:
            BundleError: a file is missing, altered or unreadable, or the answer is another than the published.
        """
        folder = path.resolve()
        manifest = verify(folder)
        try:
            recommender = cls.open(folder, manifest)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise BundleError(folder, f"cannot be opened ({error}): publish it again with `make run`") from error
        recommender.check_golden()
        return recommender

    @classmethod
    def open(cls, folder: Path, manifest: dict[str, Any]) -> Recommender:
        """Open the files without verifying them; arrays are memory-mapped."""
        checkpoint = folder / "checkpoint.pt"
        return cls(
            model=load_checkpoint(checkpoint),
            index=load_index(folder / "index"),
            article_ids=pd.read_parquet(folder / "articles.parquet", columns=["article_id"])["article_id"].to_numpy(
                dtype="U10"
            ),
            customer_ids=np.load(folder / "customer_ids.npy", mmap_mode="r", allow_pickle=False),
            attributes=np.load(folder / "attributes.npy", mmap_mode="r", allow_pickle=False),
            log=PurchaseLog.load(folder / "log"),
            history_length=int(read_checkpoint(checkpoint)["settings"]["history_length"]),
            scoring=Scoring(**json.loads((folder / "scoring.json").read_text())),
            siblings=Siblings.load(folder / "siblings"),
            manifest=manifest,
            folder=folder,
        )

    def check_golden(self) -> None:
        """Ask the golden query. Raises BundleError if the answer is not the one in the manifest."""
        golden = self.manifest["golden"]
        rows = self.customer_rows(golden["customer_ids"])
        folder = self._folder or Path()
        if (rows < 0).any():
            raise BundleError(folder, "the golden query's customers are unknown: publish again with `make run`")
        _, scores = self.recommend(rows, max(len(ids) for ids in golden["article_ids"]))
        for found, expected in zip(scores, golden["scores"], strict=True):
            if np.abs(found[: len(expected)] - expected).max(initial=0) > GOLDEN_TOLERANCE:
                raise BundleError(folder, "answers the golden query differently: publish again with `make run`")


def write_model(
    folder: Path,
    checkpoint_path: Path,
    index: Index,
    scoring: Scoring,
    siblings: Siblings,
    articles: pd.DataFrame,
    customers: pd.DataFrame,
    attributes: Int32,
    log: PurchaseLog,
) -> None:
    """Write the files of a model into an empty ``folder`` (all but the manifest, which publishing adds)."""
    shutil.copyfile(checkpoint_path, folder / "checkpoint.pt")
    index.save(folder / "index")
    (folder / "scoring.json").write_text(json.dumps(asdict(scoring)))
    siblings.save(folder / "siblings")
    articles.to_parquet(folder / "articles.parquet", index=False)
    customers.to_parquet(folder / "customers.parquet", index=False)
    ids = customers["customer_id"].to_numpy(dtype="U64").astype("S64")
    np.save(folder / "customer_ids.npy", ids, allow_pickle=False)
    np.save(folder / "attributes.npy", attributes, allow_pickle=False)
    log.save(folder / "log")
