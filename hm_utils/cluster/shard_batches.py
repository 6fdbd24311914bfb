"""A worker's part of every batch.

All workers go through the batches that one machine makes with the same seed, in the same order. A worker makes the
examples of its own customers. Its shard is a contiguous range of customer rows, so it reads only their histories from
the memory-mapped log. Every worker can derive a batch's customers, articles and days from the shared examples. Only
vectors are exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from hm_utils.arrays import Int32, Int64
from hm_utils.training.batches import BatchMaker, SharedVectors


def shard_edges(customers: Int32, n_customers: int, workers: int) -> Int64:
    """``[workers - 1]`` customer rows where a new shard begins; all shards have about the same number of examples.

    Args:
        customers: ``[n]`` customer of every example.
    """
    examples = np.cumsum(np.bincount(customers, minlength=n_customers))
    return np.searchsorted(examples, len(customers) * np.arange(1, workers) / workers) + 1


@dataclass(frozen=True)
class ShardMaker(BatchMaker):
    """Makes one worker's parts of the batches that a :class:`BatchMaker` makes.

    Attributes:
        rank: number of the worker, 0 to ``workers - 1``.
        workers: number of workers.
    """

    rank: int = 0
    workers: int = 1

    @classmethod
    def of(cls, batches: BatchMaker, rank: int, workers: int) -> ShardMaker:
        return cls(
            **{each.name: getattr(batches, each.name) for each in fields(BatchMaker)}, rank=rank, workers=workers
        )

    @cached_property
    def edges(self) -> Int64:
        return shard_edges(self.examples.customer, self.log.n_customers, self.workers)

    def _workers_of(self, customers: Int32) -> Int64:
        return np.searchsorted(self.edges, customers, side="right")

    def own(self, customers: Int32) -> Int64:
        return np.flatnonzero(self._workers_of(customers) == self.rank)

    def negative_places(
        self, articles: Int32, customers: Int32, items: Int32, positives: Int64
    ) -> tuple[Int64, SharedVectors]:
        """The places are among the shared vectors, which follow ``items``.

        The first worker that has an article sends it, so that each is sent once.
        """
        sender = np.full(self.log.n_articles, self.workers)
        np.minimum.at(sender, articles, self._workers_of(customers))
        distinct = np.flatnonzero(sender < self.workers).astype(np.int32)
        sender = sender[distinct]
        order, sizes = np.argsort(sender, kind="stable"), np.bincount(sender, minlength=self.workers)
        slots = int(sizes.max())
        within = np.empty(len(distinct), dtype=np.int64)
        within[order] = np.arange(len(distinct)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        place = sender * slots + within
        rows = np.full(self.workers * slots, -1, dtype=np.int32)
        rows[place] = distinct
        sent = np.searchsorted(items, distinct[sender == self.rank])
        return len(items) + place[np.searchsorted(distinct, articles)], SharedVectors(rows, sent, slots, len(distinct))
