"""Training examples as of a day, and the batches made of them.

An example is one article that a customer bought on a day; its history is what they bought strictly
before that day. Nothing is copied out of the log: a batch is an array of row numbers, and the
histories of all its examples are gathered at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Bool, Int32, Int64
from hm_utils.data.popularity import log_popularity
from hm_utils.data.purchases import PurchaseLog, distinct

# Random numbers in [0, 1) by example, its first axis: [n], [n, 2 x history_length], [n, 1] and [n, 1].
Draws = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]
UInt64 = npt.NDArray[np.uint64]

# Sampling probabilities and popularity are counted over this many days around a batch.
DAYS_PER_BLOCK = 7


@dataclass(frozen=True)
class Histories:
    """The last purchases of n customers, newest first, padded to one length.

    Attributes:
        articles: ``[n, length]`` article rows, 0 where padded.
        days_since: ``[n, length]`` days from the purchase to the day of the example, 0 where padded.
        mask: ``[n, length]`` false where padded.
    """

    articles: Int32
    days_since: Int32
    mask: Bool

    def newest(self, length: int) -> Histories:
        """The last ``length`` purchases of each customer."""
        return Histories(self.articles[:, :length], self.days_since[:, :length], self.mask[:, :length])


def gather_histories(log: PurchaseLog, customers: Int32, ends: Int64, days: npt.ArrayLike, length: int) -> Histories:
    """The ``length`` purchases before log row ``ends`` of each customer, seen on ``days`` (``[n]`` or one)."""
    rows = ends[:, None] - 1 - np.arange(length)
    mask = rows >= log.offsets[customers][:, None]
    rows = np.where(mask, rows, 0)
    days_since = np.broadcast_to(days, len(ends))[:, None].astype(np.int32) - log.day[rows]
    return Histories(
        articles=np.where(mask, log.article[rows], 0).astype(np.int32),
        days_since=np.where(mask, days_since, 0).astype(np.int32),
        mask=mask,
    )


def histories_as_of(log: PurchaseLog, customers: Int32, as_of: int, length: int) -> Histories:
    """What each customer had bought strictly before day ``as_of``, the last ``length`` purchases."""
    return gather_histories(log, customers, log.history_ends(customers, as_of), as_of, length)


@dataclass(frozen=True)
class Examples:
    """Positive examples in order of day, then customer: customer, the article bought, the day.

    Attributes:
        customer, article: ``[n]`` rows.
        day: ``[n]`` day numbers, ascending.
        negatives: ``[n, k]`` article rows the customer never bought, or None where none were sampled.
    """

    customer: Int32
    article: Int32
    day: npt.NDArray[np.int16]
    negatives: Int32 | None = None

    def __len__(self) -> int:
        return len(self.customer)

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("customer", "article", "day", "negatives"):
            column = getattr(self, name)
            if column is not None:
                np.save(directory / f"example_{name}.npy", column, allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> Examples:
        def column(name: str) -> Any:
            path = directory / f"example_{name}.npy"
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)) if path.exists() else None

        return cls(column("customer"), column("article"), column("day"), column("negatives"))


def make_examples(log: PurchaseLog, start: int, end: int) -> Examples:
    """One example for each distinct (customer, article) of each day ``start <= day < end``."""
    rows = log.rows_between(start, end)
    day = log.day[rows].astype(np.int64)
    baskets, article = np.divmod(
        distinct((day * log.n_customers + log.customer[rows]) * log.n_articles + log.article[rows]), log.n_articles
    )
    day, customer = np.divmod(baskets, log.n_customers)
    return Examples(customer.astype(np.int32), article.astype(np.int32), day.astype(np.int16))


class NoNegativesError(ValueError):
    """Somebody bought every article there is, so there is nothing that they never bought."""


def on_sale_by_week(log: PurchaseLog, start: int, before: int) -> dict[int, Bool]:
    """``[n_articles]`` whether each article sold in a week-long block of days, by number of the block.

    The blocks are those of the days ``start <= day < before``; only purchases before ``before`` count.
    """
    weeks = range(start // DAYS_PER_BLOCK, -(-before // DAYS_PER_BLOCK))
    edges = {week: (week * DAYS_PER_BLOCK, min((week + 1) * DAYS_PER_BLOCK, before)) for week in weeks}
    return {week: log.sales_between(*days) > 0 for week, days in edges.items()}


def sample_negatives(
    log: PurchaseLog,
    examples: Examples,
    before: int,
    per_positive: int,
    seed: int,
    on_sale: dict[int, Bool] | None = None,
) -> Int32:
    """``[n, per_positive]`` articles drawn for each example, none of which the customer bought.

    Drawn uniformly from the articles that were on sale around the example: sold in its week-long
    block of training days. Only purchases before day ``before`` (the end of training) decide what was
    bought and what was on sale. What is drawn for an example depends on the seed and the example, and not on
    which other examples there are.

    Args:
        on_sale: from :func:`on_sale_by_week`, where ``log`` is some customers' part of a log; None: of ``log``.

    Raises:
        NoNegativesError: if a customer bought the whole catalogue.
    """
    if on_sale is None:
        on_sale = on_sale_by_week(log, int(examples.day.min(initial=before)), before)
    # Only what the examples' customers bought matters: two years of a log are far more than its last weeks' buyers.
    has_examples = np.zeros(log.n_customers, dtype=bool)
    has_examples[examples.customer] = True
    rows = np.flatnonzero((log.day < before) & has_examples[log.customer])
    bought = distinct(log.customer[rows].astype(np.int64) * log.n_articles + log.article[rows])
    negatives = np.empty((len(examples), per_positive), dtype=np.int32)
    blocks = examples.day // DAYS_PER_BLOCK
    for block in np.unique(blocks):
        members = np.flatnonzero(blocks == block)
        members = members[np.argsort(examples.customer[members], kind="stable")]  # neighbours in ``bought``, too
        base = np.repeat(examples.customer[members].astype(np.int64) * log.n_articles, per_positive)
        streams = np.repeat(_streams(log, examples, members, seed), per_positive)
        numbers = np.tile(np.arange(per_positive), len(members))
        sold = np.flatnonzero(on_sale[int(block)])
        draws = _drawn(sold, streams, numbers)
        # Redraw what was bought. Customers who bought nearly all that was on sale get any other article.
        bad = np.flatnonzero(_contains(bought, base + draws))
        for attempt in range(1_000):
            if not len(bad):
                break
            pool = sold if attempt < 20 else np.arange(log.n_articles)
            draws[bad] = _drawn(pool, streams[bad], numbers[bad] + (attempt + 1) * per_positive)
            bad = bad[_contains(bought, base[bad] + draws[bad])]
        else:
            raise NoNegativesError("some customer bought the whole catalogue: there is no negative to draw for them")
        negatives[members] = draws.reshape(len(members), per_positive)
    return negatives


def _streams(log: PurchaseLog, examples: Examples, members: Int64, seed: int) -> UInt64:
    """``[m]`` where the random numbers of each example begin, far from one another."""
    day = examples.day[members].astype(np.int64)
    key = (day * log.n_customers + examples.customer[members]) * log.n_articles + examples.article[members]
    return _split_mix(_split_mix(np.array([seed]).astype(np.uint64), 0) + key.astype(np.uint64), 0)


def _drawn(pool: Int64, streams: UInt64, numbers: Int64) -> Int64:
    """``[m]`` of ``pool``, uniformly: by the upper half of random number ``numbers[i]`` of each stream."""
    return pool[
        ((_split_mix(streams, numbers) >> np.uint64(32)) * np.uint64(len(pool)) >> np.uint64(32)).astype(np.int64)
    ]


def _split_mix(streams: UInt64, number: int | Int64) -> UInt64:
    """``[m]`` random number ``number`` of each stream, by SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).

    Any number of any stream is made without those before it, which numpy's generators cannot do for many at once.
    """
    mixed = streams + (np.asarray(number).astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _contains(sorted_keys: Int64, keys: Int64) -> Bool:
    place = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return sorted_keys[place] == keys


@dataclass(frozen=True)
class Batch:
    """What one training step reads; every article in it is encoded once.

    Attributes:
        day: the catalogue's state is as of this day, the earliest of the batch.
        items: ``[u]`` distinct article rows of the batch.
        popularity: ``[u]`` their ``popularity.log_popularity`` among the examples of these weeks.
        customers: ``[n]`` customer rows.
        positives: ``[n]`` places in ``items``.
        negatives: ``[m]`` places in ``items`` shared by all examples, or ``[n, k]`` of their own.
        log_expected_count: ``[m]`` see ``losses.sampled_softmax_loss``; None with negatives of their own.
        collisions: ``[n, m]``; None with negatives of their own.
        history: ``[n, length]`` places in ``items``.
        days_since: ``[n, length]`` days from the purchase to the example.
        mask: ``[n, length]``.
    """

    day: int
    items: Int32
    popularity: npt.NDArray[np.float32]
    customers: Int32
    positives: Int64
    negatives: Int64
    log_expected_count: npt.NDArray[np.float32] | None
    collisions: Bool | None
    history: Int64
    days_since: Int32
    mask: Bool

    def __len__(self) -> int:
        return len(self.customers)


@dataclass(frozen=True)
class BatchMaker:
    """Cuts examples into batches of neighbours in time, so that in-batch negatives were on sale together.

    Attributes:
        log: the purchase log, no later than the end of training.
        examples: in order of day, then customer.
        batch_size: examples a batch.
        history_length: purchases of history an example sees at most.
        use_in_batch_negatives: the other examples' articles are the negatives; false uses
            ``examples.negatives``.
        context_share: share of the examples that also see other articles of the same basket, with 0 days since:
            what goes together goes together in both directions, and most customers have few purchases. A
            deliberate exception to "strictly before the day", in training alone.
        history_dropout: share of the examples whose history is hidden, so that the towers also learn
            from attributes alone what a customer without purchases may like.
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

        A basket stays together: its examples share a history, whose articles are encoded once a batch. Of ``parts``
        calls with generators of the same state, one each ``part``, every call makes its share of the batches.
        """
        n = len(self.examples)
        # Sorting by day plus a noise of the basket shuffles within each day and leaves the days in order.
        noise = rng.random(self._baskets[-1] + 1)[self._baskets]
        order = np.argsort(self.examples.day + noise, kind="stable")
        starts = np.arange(0, n, self.batch_size)
        for start in rng.permutation(starts)[part::parts]:
            yield self.make(order[start : start + self.batch_size], rng)

    def make(self, chosen: Int64, rng: np.random.Generator) -> Batch:
        """The batch of the examples with the given numbers."""
        customers, articles = self.examples.customer[chosen], self.examples.article[chosen]
        days = self.examples.day[chosen]
        histories = self.histories(customers, articles, days, self.draws(len(chosen), rng))
        share, popularity = self.share_and_popularity(days)
        if self.use_in_batch_negatives:
            negatives = articles
            expected = (len(chosen) - 1) * share[articles]
            log_expected_count = np.log(np.maximum(expected, 1e-9)).astype(np.float32)
            collisions = (articles[None, :] == articles[:, None]) | (customers[None, :] == customers[:, None])
        else:
            assert self.examples.negatives is not None
            negatives, log_expected_count, collisions = self.examples.negatives[chosen], None, None
        parts = (articles, negatives.ravel(), histories.articles.ravel())
        items, places = self.numbered(np.concatenate(parts))
        cut = np.cumsum([len(part) for part in parts])[:-1]
        positive_places, negative_places, history_places = np.split(places, cut)
        return Batch(
            day=int(days.min()),
            items=items,
            popularity=popularity[items],
            customers=customers,
            positives=positive_places,
            negatives=negative_places.reshape(negatives.shape),
            log_expected_count=log_expected_count,
            collisions=collisions,
            history=history_places.reshape(histories.articles.shape),
            days_since=histories.days_since,
            mask=histories.mask,
        )

    def draws(self, n: int, rng: np.random.Generator) -> Draws:
        """What ``n`` examples are made with."""
        length = 2 * self.history_length
        return rng.random(n), rng.random((n, length)), rng.random((n, 1)), rng.random((n, 1))

    def histories(self, customers: Int32, articles: Int32, days: np.ndarray, draws: Draws) -> Histories:
        """Histories strictly before the day; for ``context_share`` of the examples, some of the basket too."""
        for_context, for_article, for_basket, for_history = draws
        context = for_context < self.context_share
        ends = self.log.history_ends(customers, days + context)
        # Twice the length: what is hidden of a basket takes no place in the history.
        histories = gather_histories(self.log, customers, ends, days, 2 * self.history_length)
        # Of the basket, a random part is seen, and never the article to be predicted.
        basket = (histories.days_since == 0) & histories.mask
        hidden = basket & ((histories.articles == articles[:, None]) | (for_article < for_basket))
        seen = histories.mask & ~hidden & (for_history >= self.history_dropout)
        order = np.argsort(~seen, axis=1, kind="stable")[:, : self.history_length]  # what is seen comes first
        mask = np.take_along_axis(seen, order, axis=1)
        return Histories(
            articles=np.where(mask, np.take_along_axis(histories.articles, order, axis=1), 0),
            days_since=np.where(mask, np.take_along_axis(histories.days_since, order, axis=1), 0),
            mask=mask,
        )

    @cached_property
    def _baskets(self) -> Int64:
        """``[n]`` number of each example's basket: what one customer bought on one day."""
        examples = self.examples
        first = (np.diff(examples.customer, prepend=-1) != 0) | (np.diff(examples.day, prepend=-1) != 0)
        return np.cumsum(first) - 1

    def numbered(self, articles: Int32) -> tuple[Int32, Int64]:
        """The distinct articles, ascending, and the place of each of ``articles`` among them."""
        there = np.zeros(self.log.n_articles, dtype=bool)
        there[articles] = True
        items = np.flatnonzero(there)  # several times quicker than np.unique, which sorts
        place = np.empty(self.log.n_articles, dtype=np.int64)
        place[items] = np.arange(len(items))
        return items.astype(np.int32), place[articles]

    def share_and_popularity(
        self, days: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """Each article's share of the examples in the week-long blocks that ``days`` fall in, ``[n_articles]``, and
        the ``popularity.log_popularity`` of these shares.

        The blocks end with the last example's day, so that the newest is a whole week. An example's own
        purchase is in its week's share.
        """
        blocks, counts = np.unique((int(self.examples.day[-1]) - days) // DAYS_PER_BLOCK, return_counts=True)
        if len(blocks) == 1:
            return self._block(blocks.item())
        weights = zip(blocks.tolist(), (counts / len(days)).tolist(), strict=True)
        share = sum(weight * self._block(block)[0] for block, weight in weights)
        return share, log_popularity(share)

    def _block(self, block: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        if block not in self._blocks:
            end = int(self.examples.day[-1]) + 1 - block * DAYS_PER_BLOCK
            low, high = np.searchsorted(self.examples.day, [end - DAYS_PER_BLOCK, end])
            counts = np.bincount(self.examples.article[low:high], minlength=self.log.n_articles)
            share = counts / max(counts.sum(), 1)
            self._blocks[block] = share, log_popularity(share)
        return self._blocks[block]

    @cached_property
    def _blocks(self) -> dict[int, tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]]:
        return {}
