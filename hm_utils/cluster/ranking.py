"""Recommendations and rankings for many customers on a cluster: Ray Data's ``map_batches``, one loaded model a worker.

The workers get the customers in the chunks of the local engine, and the results come back in order. A matrix product
of another shape would round differently, so equal chunks make the results bit-identical. A worker that dies is
restarted with its chunk.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from hm_utils.arrays import Int32, Int64
from hm_utils.cluster import connected
from hm_utils.cluster.shards import shard_of
from hm_utils.data.preprocessing import TrainingData
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.side_features import NO_SIDE_FEATURES
from hm_utils.model.scoring import Scoring
from hm_utils.model.snapshot import RANKED_AT_ONCE, Snapshot
from hm_utils.serving.batch import CHUNK, Recommended
from hm_utils.serving.recommender import Recommender
from hm_utils.serving.stock import Stock

Batch = dict[str, np.ndarray]


class RecommendingWorker:
    """A loaded published model, from a folder on a file system that all workers share."""

    def __init__(self, model: Path, stock: Stock | None, top_k: int) -> None:
        self._recommender, self._top_k = Recommender.load(model).with_stock(stock), top_k

    def __call__(self, batch: Batch) -> Batch:
        articles, scores = self._recommender.recommend(self._recommender.customers(batch["data"]), self._top_k)
        return {"data": batch["data"], "articles": articles, "scores": scores}


def recommend_in_chunks(recommender: Recommender, rows: Int64, top_k: int, num_workers: int) -> Recommended:
    """:func:`hm_utils.serving.batch.recommend_in_chunks` by ``num_workers`` workers that each load the model.

    Raises:
        ClusterError: if Ray cannot be used.
    """
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    with (
        connected(num_workers),
        tqdm(total=len(rows), unit="customer", unit_scale=True, desc="recommending") as bar,
    ):
        stock = recommender.in_stock and recommender.in_stock.stock
        for batch in _mapped(chunks, RecommendingWorker, (recommender.folder, stock, top_k), num_workers):
            yield batch["data"], batch["articles"], batch["scores"]
            bar.update(len(batch["data"]))


class RankingWorker:
    """A model as of a day; the log and the attributes are memory-mapped from the preprocessed folder."""

    def __init__(self, snapshot: Snapshot, directory: Path, scoring: Scoring, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)  # as on the driver: a product of few rows rounds by the number of threads
        data = TrainingData.load(directory / "training")
        log = PurchaseLog.load(directory / "log")
        mapped = replace(snapshot, log=log, attributes=data.attributes, side=data.side)
        self._rank = mapped.ranker(scoring=scoring)

    def __call__(self, batch: Batch) -> Batch:
        return {"articles": self._rank(batch["data"])[0]}


def rank(snapshot: Snapshot, rows: Int32, scoring: Scoring, directory: Path, num_workers: int) -> Int32:
    """``[n, 100]`` the rankings of :meth:`hm_utils.model.snapshot.Snapshot.rank`, by ``num_workers`` workers.

    They are bit-identical where the model is on a CPU; a GPU rounds differently.

    Args:
        directory: the preprocessed folder of the snapshot's log, on a file system that all workers share.

    Raises:
        ClusterError: if Ray cannot be used.
    """
    import torch

    if not len(rows):
        return snapshot.rank(rows, scoring=scoring)
    chunks = [rows[start : start + RANKED_AT_ONCE] for start in range(0, len(rows), RANKED_AT_ONCE)]
    # Workers map the log and the attributes from the folder, and use a CPU core each.
    model = copy.deepcopy(snapshot.model).cpu()
    log, attributes = shard_of(snapshot.log, (0, 0)), snapshot.attributes[:0]
    light = replace(snapshot, model=model, log=log, attributes=attributes, side=NO_SIDE_FEATURES)
    arguments = (light, directory.resolve(), scoring, torch.get_num_threads())
    with connected(num_workers):
        return np.concatenate([batch["articles"] for batch in _mapped(chunks, RankingWorker, arguments, num_workers)])


def _mapped(
    chunks: list[Any], worker: Callable[..., Any], arguments: tuple[Any, ...], num_workers: int
) -> Iterator[Batch]:
    """The workers' results for each chunk of customers, in order."""
    if not chunks:
        return
    import ray

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    with ray.data.DataContext.current(context):
        # Each array is one block, and each block one batch.
        results = ray.data.from_numpy(chunks).map_batches(
            worker,
            fn_constructor_args=arguments,
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=min(num_workers, len(chunks))),
            num_cpus=1,
        )
        for batch in results.iter_batches(batch_size=None, batch_format="numpy"):
            yield cast(Batch, batch)
