"""Batches of neighbours in time, so that in-batch negatives were on sale together.

Nothing is copied out of the log: a batch is an array of row numbers, and the histories of all its examples are
gathered at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Float32, Float64, Int32, Int64
from hm_utils.data.examples import DAYS_PER_BLOCK, Examples
from hm_utils.data.histories import Histories, gather_histories
from hm_utils.data.popularity import log_popularity
from hm_utils.data.purchases import PurchaseLog
from hm_utils.training.negatives import InBatchNegatives, Negatives, SampledPairs

# Random numbers in [0, 1) by example, its first axis: [n], [n, 2 x history_length], [n, 1] and [n, 1].
Draws = tuple[Float64, ...]


@dataclass(frozen=True)
class SharedVectors:
    """Item vectors that the workers of one training send to each other, a block of ``slots`` for each worker.

    Attributes:
        rows: ``[workers x slots]`` article rows, -1 where a block has no more.
        sent: ``[k]`` places in the batch's ``items`` of the articles that this worker sends.
        slots: the number of articles that any worker sends at most.
        distinct: number of distinct articles in the batches of all workers.
    """

    rows: Int32
    sent: Int64
    slots: int
    distinct: int


@dataclass(frozen=True)
class Batch:
    """The input of one training step; every article in it is encoded once.

    In distributed training it is one worker's part of a batch. The item vectors are then those of ``items``, followed
    by the ``shared`` ones.

    Attributes:
        size: examples of the whole batch.
        day: the catalogue's state is as of this day, the earliest of the whole batch.
        items: ``[u]`` distinct article rows.
        popularity: ``[u + shared]`` :func:`log_popularity` of the item vectors' articles in these weeks.
        customers: ``[n]`` customer rows.
        positives: ``[n]`` places in ``items``.
        negatives: the articles that the positives are compared with.
        histories: of the n examples; their ``articles`` are places in ``items``.
        shared: vectors of other workers; None on one machine.
    """

    size: int
    day: int
    items: Int32
    popularity: Float32
    customers: Int32
    positives: Int64
    negatives: Negatives
    histories: Histories
    shared: SharedVectors | None = None

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True)
class BatchMaker:
    """Cuts examples into batches.

    Attributes:
        log: the purchase log, no later than the end of training.
        examples: in order of day, then customer.
        batch_size: examples a batch.
        history_length: purchases of history that an example sees at most.
        use_in_batch_negatives: the negatives are the other examples' articles; false takes ``examples.negatives``.
        context_share: share of the examples that also see other articles of the same basket, with 0 days since.
            Articles bought together predict each other in both directions, and most customers have few purchases. It
            is a deliberate exception to "strictly before the day", in training alone.
        history_dropout: share of the examples whose history is hidden, so that the towers also learn from attributes
            alone what a customer without purchases may like.
    """

    log: PurchaseLog
    examples: Examples
    batch_size: int
    history_length: int
    use_in_batch_negatives: bool = True
    context_share: float = 0.75
    history_dropout: float = 0.3

    def __post_init__(self) -> None:
        if not len(self.examples):
            raise ValueError("there are no training examples: lower val_days and test_days, or raise train_weeks")
        if not self.use_in_batch_negatives and self.examples.negatives is None:
            raise ValueError(
                "use_in_batch_negatives=False needs sampled negatives, and preprocessing saved none (its log says "
                "why): set use_in_batch_negatives=True, or run notebook 02_preprocessing again on a larger catalogue"
            )

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def epoch(self, rng: np.random.Generator, part: int = 0, parts: int = 1) -> Iterator[Batch]:
        """All examples once, the baskets in random order within a day, the batches in random order.

        A basket stays together: its examples share a history, whose articles are encoded once a batch. With ``parts``
        above 1 only every ``parts``-th batch is made. Generators of the same state give disjoint parts.
        """
        n = len(self.examples)
        # Sorting by day plus a noise of the basket shuffles within each day and leaves the days in order.
        noise = rng.random(self._baskets[-1] + 1)[self._baskets]
        order = np.argsort(self.examples.day + noise, kind="stable")
        starts = np.arange(0, n, self.batch_size)
        for start in rng.permutation(starts)[part::parts]:
            yield self.make(order[start : start + self.batch_size], rng)

    def make(self, chosen: Int64, rng: np.random.Generator) -> Batch:
        """The batch of the examples with the given numbers; of a worker, its own part, which may be empty."""
        examples = self.examples
        customers, articles, days = examples.customer[chosen], examples.article[chosen], examples.day[chosen]
        own = self.own(customers)
        # Drawn for the whole batch: an example's history hides the same purchases with any number of workers.
        draws = tuple(draw[own] for draw in self._draws(len(chosen), rng))
        histories = self._histories(customers[own], articles[own], days[own], draws)
        share, popularity = self._share_and_popularity(days)
        parts: list[Int32 | Int64] = [articles[own], histories.articles]
        if not self.use_in_batch_negatives:
            assert examples.negatives is not None
            parts.append(examples.negatives[chosen[own]])
        items, (positives, history, *sampled) = self._numbered(parts)
        shared = None
        negatives: Negatives
        if sampled:
            negatives = SampledPairs(sampled[0])
        else:
            places, shared = self.negative_places(articles, customers, items, positives)
            negatives = InBatchNegatives.of(places, articles, customers, own, share)
        scored = items if shared is None else np.concatenate([items, shared.rows])
        return Batch(
            size=len(chosen),
            day=int(days.min()),
            items=items,
            popularity=popularity[scored],
            customers=customers[own],
            positives=positives,
            negatives=negatives,
            histories=replace(histories, articles=history),
            shared=shared,
        )

    def own(self, customers: Int32) -> slice | Int64:
        """Which examples of a batch, given by their customers, this maker makes: all of them on one machine."""
        return slice(None)

    def negative_places(
        self, articles: Int32, customers: Int32, items: Int32, positives: Int64
    ) -> tuple[Int64, SharedVectors | None]:
        """``[m]`` the place of every example's article among the batch's item vectors, and the vectors to exchange."""
        return positives, None

    def _draws(self, n: int, rng: np.random.Generator) -> Draws:
        length = 2 * self.history_length
        return rng.random(n), rng.random((n, length)), rng.random((n, 1)), rng.random((n, 1))

    def _histories(self, customers: Int32, articles: Int32, days: npt.NDArray, draws: Draws) -> Histories:
        """Purchases strictly before the day; for ``context_share`` of the examples, some of the same basket too."""
        for_context, for_article, for_basket, for_history = draws
        ends = self.log.history_ends(customers, days + (for_context < self.context_share))
        # Twice the length: hidden articles of a basket take no place in the history.
        histories = gather_histories(self.log, customers, ends, days, 2 * self.history_length)
        # A random part of the basket is seen, and never the article to be predicted.
        basket = (histories.days_since == 0) & histories.mask
        hidden = basket & ((histories.articles == articles[:, None]) | (for_article < for_basket))
        seen = histories.mask & ~hidden & (for_history >= self.history_dropout)
        seen_first = np.argsort(~seen, axis=1, kind="stable")
        return histories.reordered(seen_first[:, : self.history_length], seen)

    @cached_property
    def _baskets(self) -> Int64:
        """``[n]`` number of each example's basket: the purchases of one customer on one day."""
        examples = self.examples
        first = (np.diff(examples.customer, prepend=-1) != 0) | (np.diff(examples.day, prepend=-1) != 0)
        return np.cumsum(first) - 1

    def _numbered(self, parts: list[Int32 | Int64]) -> tuple[Int32, list[Int64]]:
        """The distinct articles of all parts, ascending, and the place of each article among them."""
        present = np.zeros(self.log.n_articles, dtype=bool)
        for part in parts:
            present[part] = True
        items = np.flatnonzero(present)  # several times faster than np.unique, which sorts
        place = np.empty(self.log.n_articles, dtype=np.int64)
        place[items] = np.arange(len(items))
        return items.astype(np.int32), [place[part] for part in parts]

    def _share_and_popularity(self, days: npt.NDArray[np.integer]) -> tuple[Float64, Float32]:
        """``[n_articles]`` each article's share of the examples in the week-long blocks of ``days``, and the
        :func:`log_popularity` of these shares.

        The last block ends with the last example's day, so that the newest block is a whole week. An example's own
        purchase counts in its week's share.
        """
        blocks, counts = np.unique((int(self.examples.day[-1]) - days) // DAYS_PER_BLOCK, return_counts=True)
        if len(blocks) == 1:
            return self._block(blocks.item())
        weights = zip(blocks.tolist(), (counts / len(days)).tolist(), strict=True)
        share = sum(weight * self._block(block)[0] for block, weight in weights)
        return share, log_popularity(share)

    def _block(self, block: int) -> tuple[Float64, Float32]:
        if block not in self._blocks:
            end = int(self.examples.day[-1]) + 1 - block * DAYS_PER_BLOCK
            low, high = np.searchsorted(self.examples.day, [end - DAYS_PER_BLOCK, end])
            counts = np.bincount(self.examples.article[low:high], minlength=self.log.n_articles)
            share = counts / max(counts.sum(), 1)
            self._blocks[block] = share, log_popularity(share)
        return self._blocks[block]

    @cached_property
    def _blocks(self) -> dict[int, tuple[Float64, Float32]]:
        return {}
