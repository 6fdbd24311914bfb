"""Training examples as of a day, and the pairs sampled as negatives.

An example is one article that a customer bought on a day. Its history is what they bought strictly before that day.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Bool, Int32, Int64, mapped
from hm_utils.data.purchases import PurchaseLog, distinct

UInt64 = npt.NDArray[np.uint64]

# Sampling probabilities and popularity are counted over blocks of this many days.
DAYS_PER_BLOCK = 7


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
            return mapped(path) if path.exists() else None

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
    """A customer bought the whole catalogue, which leaves no negative for them."""


def on_sale_by_week(log: PurchaseLog, start: int, before: int) -> dict[int, Bool]:
    """``[n_articles]`` whether each article sold in a week-long block of days, by the block's number.

    The blocks cover the days ``start <= day < before``. Only purchases before ``before`` count.
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

    The draw is uniform over the articles on sale around the example: sold in its week-long block of training days.
    Only purchases before day ``before`` (the end of training) decide which articles were bought and on sale. An
    example's draw depends on the seed and the example alone, not on the other examples.

    Args:
        on_sale: from :func:`on_sale_by_week` of the whole log, where ``log`` holds only some customers; None computes
            it from ``log``.

    Raises:
        NoNegativesError: if a customer bought the whole catalogue.
    """
    if on_sale is None:
        on_sale = on_sale_by_week(log, int(examples.day.min(initial=before)), before)
    # Only purchases of the examples' customers matter: the last weeks' buyers are a small part of two years.
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
        # Redraw bought articles. After 20 attempts the pool becomes the whole catalogue.
        bad = np.flatnonzero(_contains(bought, base + draws))
        for attempt in range(1_000):
            if not len(bad):
                break
            pool = sold if attempt < 20 else np.arange(log.n_articles)
            draws[bad] = _drawn(pool, streams[bad], numbers[bad] + (attempt + 1) * per_positive)
            bad = bad[_contains(bought, base[bad] + draws[bad])]
        else:
            raise NoNegativesError("a customer bought the whole catalogue: no negative is left to draw for them")
        negatives[members] = draws.reshape(len(members), per_positive)
    return negatives


def _streams(log: PurchaseLog, examples: Examples, members: Int64, seed: int) -> UInt64:
    """``[m]`` the start of each example's random stream; the streams are far apart."""
    day = examples.day[members].astype(np.int64)
    key = (day * log.n_customers + examples.customer[members]) * log.n_articles + examples.article[members]
    return _split_mix(_split_mix(np.array([seed]).astype(np.uint64), 0) + key.astype(np.uint64), 0)


def _drawn(pool: Int64, streams: UInt64, numbers: Int64) -> Int64:
    """``[m]`` uniform draws from ``pool``: the upper half of random number ``numbers[i]`` of each stream decides."""
    return pool[
        ((_split_mix(streams, numbers) >> np.uint64(32)) * np.uint64(len(pool)) >> np.uint64(32)).astype(np.int64)
    ]


def _split_mix(streams: UInt64, number: int | Int64) -> UInt64:
    """``[m]`` random number ``number`` of each stream, by SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).

    Any number of any stream is computed without its predecessors. numpy's generators cannot do that for many streams.
    """
    mixed = streams + (np.asarray(number).astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _contains(sorted_keys: Int64, keys: Int64) -> Bool:
    place = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return sorted_keys[place] == keys
