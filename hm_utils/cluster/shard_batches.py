"""A worker's part of every batch.

All workers go through the same batches, those of one machine with the same seed, in the same order. Of each, a worker
makes the examples of its own customers: its shard is a contiguous range of customer rows, so that of the memory-mapped
log it reads the histories of no one else. What a batch is about (who bought what, on which days) everybody knows from
the examples; only vectors have to be exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Int32, Int64
from hm_utils.data.examples import Batch, BatchMaker


def shard_edges(customers: Int32, n_customers: int, workers: int) -> Int64:
    """``[workers - 1]`` customer rows where a new shard begins, so that all have about as many examples.

    Args:
        customers: ``[n]`` customer of every example.
    """
    examples = np.cumsum(np.bincount(customers, minlength=n_customers))
    return np.searchsorted(examples, len(customers) * np.arange(1, workers) / workers) + 1


@dataclass(frozen=True)
class ShardBatch(Batch):
    """One worker's part of a batch: n of ``whole`` examples, with the m = ``whole`` negatives of the whole batch.

    ``items`` and what points into it are as in :class:`Batch`, of the own examples alone, save for
    ``negatives`` and ``popularity``: these are of the ``u`` items and after them the shared ones, ``slots`` of each
    worker in turn. ``day`` is the whole batch's.

    Attributes:
        sent: ``[k]`` places in ``items`` of the articles that this worker shares; each article of the batch is shared
            by one worker. Empty with negatives of their own.
        slots: places of a worker among the shared, the most that any of them needs.
        shared: distinct articles of the whole batch.
        whole: examples of the whole batch.
    """

    sent: Int64
    slots: int
    shared: int
    whole: int

    def __len__(self) -> int:
        return self.whole


@dataclass(frozen=True)
class ShardMaker(BatchMaker):
    """Makes one worker's parts of the batches that a :class:`~hm_utils.data.examples.BatchMaker` makes.

    Attributes:
        rank: which worker, of 0 to ``workers - 1``.
        workers: how many there are.
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

    def make(self, chosen: Int64, rng: np.random.Generator) -> ShardBatch:
        """The own part of the batch of the examples with the given numbers; it may be empty."""
        customers, articles = self.examples.customer[chosen], self.examples.article[chosen]
        days = self.examples.day[chosen]
        worker = np.searchsorted(self.edges, customers, side="right")
        own = np.flatnonzero(worker == self.rank)
        # Drawn for the whole batch: an example's history hides the same purchases, however many workers there are.
        for_context, for_article, for_basket, for_history = self.draws(len(chosen), rng)
        draws = for_context[own], for_article[own], for_basket[own], for_history[own]
        histories = self.histories(customers[own], articles[own], days[own], draws)
        share, popularity = self.share_and_popularity(days)
        parts = [articles[own], histories.articles.ravel()]
        sampled = None if self.use_in_batch_negatives else self.examples.negatives
        if sampled is not None:
            parts.append(sampled[chosen[own]].ravel())
        items, places = self.numbered(np.concatenate(parts))
        positives, history, *negatives = np.split(places, np.cumsum([len(part) for part in parts])[:-1])
        common: dict[str, Any] = {
            "day": int(days.min()),
            "items": items,
            "customers": customers[own],
            "positives": positives,
            "history": history.reshape(histories.articles.shape),
            "days_since": histories.days_since,
            "mask": histories.mask,
            "whole": len(chosen),
        }
        if sampled is not None:
            return ShardBatch(
                **common,
                popularity=popularity[items],
                negatives=negatives[0].reshape(len(own), sampled.shape[1]),
                log_expected_count=None,
                collisions=None,
                sent=np.empty(0, dtype=np.int64),
                slots=0,
                shared=0,
            )
        distinct, place, slots = self._shared(articles, worker)
        shared_popularity = np.zeros(self.workers * slots, dtype=np.float32)
        shared_popularity[place] = popularity[distinct]
        mine = distinct[place // slots == self.rank]
        expected = (len(chosen) - 1) * share[articles]
        return ShardBatch(
            **common,
            popularity=np.concatenate([popularity[items], shared_popularity]),
            negatives=len(items) + place[np.searchsorted(distinct, articles)],
            log_expected_count=np.log(np.maximum(expected, 1e-9)).astype(np.float32),
            collisions=(articles == articles[own, None]) | (customers == customers[own, None]),
            sent=np.searchsorted(items, mine),
            slots=slots,
            shared=len(distinct),
        )

    def _shared(self, articles: Int32, worker: npt.NDArray[np.integer]) -> tuple[Int32, Int64, int]:
        """The distinct articles of a batch, ascending; the place of each among the shared ones; the slots of a worker.

        An article is shared by the first worker that has it.
        """
        owner = np.full(self.log.n_articles, self.workers)
        np.minimum.at(owner, articles, worker)
        distinct = np.flatnonzero(owner < self.workers).astype(np.int32)
        owner = owner[distinct]
        order, sizes = np.argsort(owner, kind="stable"), np.bincount(owner, minlength=self.workers)
        slots = int(sizes.max())
        within = np.empty(len(distinct), dtype=np.int64)
        within[order] = np.arange(len(distinct)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return distinct, owner * slots + within, slots
