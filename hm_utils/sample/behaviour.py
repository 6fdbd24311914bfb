"""The story of a basket: visit, mood, anchor, basket, again.

Visit. A customer comes on a day (visits.py). Articles are on sale for some months, with an appeal of the week
(assortment.py).

Mood. The visit draws a segment z from the customer's segments (preferences.py): a style, a price level, an age. After
a long time away the draw depends less on the customer.

Anchor. The first line of the basket is drawn by the probabilities of z over the articles on sale this week. New
articles are liked for their style and price, from their first day.

Basket. Each further line is drawn by the probabilities of z *among the articles that share an attribute with the
anchor*: product, type, department and so on, or none (:data:`SHARED`). The attribute is drawn independently of the
anchor, so that every line has the probabilities of z: over the blocks B of articles with the same value, sum of
P(B) P(a | B) = P(a). The step away from the anchor (``_Draws.draw_like``) keeps them too. This keeps the truth simple
(truth.py). A line with an article that the customer owns is drawn again by the probabilities of z, up to ``TRIES``
times.

Again. Then each line may be replaced by an earlier purchase: the same article within days (another size, a second
piece), a staple that is due, or another colour. A purchase ``age`` days before this day has

    recall = rate of the product * ((1 + age / RECALL_DAYS) ** -recall_power + staples * x * exp(1 - x))

with ``x = age / days until the staple is due`` (no second term for other articles), and 0 if the article is no longer
on sale. With R the sum of the recalls of all past pieces, a line is a repurchase with probability
``repurchase * loyalty of the customer * R / (R + recall_half)``. The past piece is drawn in proportion to its recall.
With probability ``VARIANT`` it is replaced by a variant of its product that is on sale, drawn by appeal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from hm_utils.arrays import Float32, Float64, Int32, Int64
from hm_utils.sample.assortment import week_of
from hm_utils.sample.catalogue import Catalogue
from hm_utils.sample.constants import HIGHEST, RECALL_DAYS, TRIES, VARIANT, Constants
from hm_utils.sample.customers import Customers
from hm_utils.sample.preferences import Preferences, focus, softmax
from hm_utils.sample.visits import Visits, spans

# The attributes that a further line of a basket shares with the anchor, with the probabilities Constants.shared.
SHARED: tuple[tuple[str, ...], ...] = (
    ("product_code",),
    ("product_type_no",),
    ("colour_group_code",),
    ("department_name", "index_group_no"),
    ("section_no",),
    ("garment_group_no",),
    ("product_group_name",),
    ("index_group_no",),
)
GOLDEN = 0.6180339887498949  # multiples of the golden ratio, modulo 1, fill the unit interval evenly


class _Draws:
    """Draws from one week's table of probabilities, within blocks of articles, by inverse transform sampling."""

    def __init__(self, chance: Float64, on_sale: Int64, codes: npt.NDArray) -> None:
        """``chance [z, n]`` of the articles ``on_sale [n]``; ``codes [all articles]`` is the block of each article."""
        order = np.argsort(codes[on_sale], kind="stable")
        self.article = on_sale[order]
        self.codes = codes
        self.place = np.empty(len(codes), dtype=np.int64)
        self.place[self.article] = np.arange(len(order))
        self.sorted_codes = codes[self.article]
        upto = np.take(chance, order, axis=1)
        np.cumsum(upto, axis=1, out=upto)
        upto /= upto[:, -1:].copy()
        self.width = len(on_sale)
        # The values of row z lie between z and z + 1, so one search over all rows finds row and column.
        upto += np.arange(len(upto))[:, None]
        self.upto = upto.reshape(-1)

    def draw(self, segment: Int64, u: Float64) -> Int64:
        """``[n]`` articles by the probabilities of ``segment [n]``; ``u [n]`` is uniform from 0 to 1."""
        at = np.searchsorted(self.upto, segment + u, side="right") - segment * self.width
        return self.article[np.clip(at, 0, self.width - 1)]

    def draw_like(self, segment: Int64, like: Int64, u: Float64, rng: np.random.Generator) -> Int64:
        """``[n]`` articles from the blocks of ``like [n]``, different from ``like`` where the block has another.

        If ``like`` has the probabilities P of the segment, so has the result. A draw by P from the block would have
        them too, but would often be ``like`` itself. This draws b among the others by P and accepts it with probability
        ``min(1, (1 - P(like)) / (1 - P(b)))``, which keeps P (Liu's Metropolised Gibbs step).
        """
        begin = np.searchsorted(self.sorted_codes, self.codes[like], side="left")
        end = np.searchsorted(self.sorted_codes, self.codes[like], side="right")
        row = segment * self.width
        own = self.place[like]
        low, low_own = self._below(row, begin, segment), self._below(row, own, segment)
        p_own = self.upto[row + own] - low_own
        others = np.maximum(self.upto[row + end - 1] - low - p_own, 0.0)
        target = low + u * others
        target += np.where(target >= low_own, p_own, 0.0)
        at = np.clip(np.searchsorted(self.upto, target, side="right") - row, begin, end - 1)
        p_drawn = self.upto[row + at] - self._below(row, at, segment)
        taken = rng.random(len(row)) * (others + p_own - p_drawn) < others
        return np.where(taken & (others > 0), self.article[at], like)

    def _below(self, row: Int64, at: Int64, segment: Int64) -> Float64:
        return np.where(at > 0, self.upto[row + np.maximum(at, 1) - 1], segment)


def choose_articles(
    visits: Visits,
    catalogue: Catalogue,
    preferences: Preferences,
    customers: Customers,
    constants: Constants,
    rng: np.random.Generator,
    progress: bool = False,
) -> Int32:
    """``[lines]`` the article of every line.

    Preferences are drawn a week at a time. Then the days of the week follow in order, because a purchase of one day is
    owned on the next.
    """
    week = week_of(visits.day, catalogue.days)
    by_day = np.argsort(visits.day, kind="stable")
    weeks = len(catalogue.log_appeal)
    starts = np.searchsorted(week[by_day], np.arange(weeks + 1))
    table = catalogue.table
    one_block = np.zeros(len(table), dtype=np.int8)
    codes = [table.groupby(list(columns), sort=False).ngroup().to_numpy() for columns in SHARED]
    upto = np.cumsum(constants.shared)

    returns = visits.customer == np.roll(visits.customer, 1)
    returns[:1] = False
    focused = focus(np.where(returns, np.diff(visits.day.astype(float), prepend=0.0), np.inf), constants)
    article = np.zeros(visits.lines[-1], dtype=np.int32)
    past = _Past(visits, article, catalogue, customers.loyalty, constants)
    for w in tqdm(range(weeks), desc="weeks", unit="week", disable=not progress):
        here = by_day[starts[w] : starts[w + 1]]
        if not len(here):
            continue
        on_sale = np.flatnonzero(np.isfinite(catalogue.log_appeal[w]))
        chance = softmax(preferences.liking[:, on_sale] + catalogue.log_appeal[w, on_sale]).astype(np.float64)
        draws_all = _Draws(chance, on_sale, one_block)
        segment = _draw_rows(preferences.segments(customers.traits[visits.customer[here]], focused[here]), rng)

        lengths = np.diff(visits.lines)[here]
        lines = spans(visits.lines[here], lengths)
        line_segment = np.repeat(segment, lengths)
        # Each line's u is uniform, but spread out within a basket, so that a basket seldom has an article twice. Steps
        # away from the anchor have their own u, because they must not depend on the draw of the anchor.
        step = lines - np.repeat(visits.lines[here], lengths)
        u, u_like = (np.repeat(rng.random((2, len(here))), lengths, axis=1) + step * GOLDEN) % 1.0
        chosen = draws_all.draw(line_segment, u)
        like = chosen[np.repeat(np.cumsum(lengths) - lengths, lengths)]  # the anchor: the first line
        attribute = np.searchsorted(upto, rng.random(len(lines)), side="right")
        attribute[step == 0] = len(codes)
        for number, blocks in enumerate(codes):
            rows = np.flatnonzero(attribute == number)
            draws = _Draws(chance, on_sale, blocks)
            chosen[rows] = draws.draw_like(line_segment[rows], like[rows], u_like[rows], rng)
        article[lines] = chosen

        first = np.flatnonzero(np.diff(visits.day[here], prepend=-1))
        offsets = np.append(0, np.cumsum(lengths))
        for begin, end in zip(first, np.append(first[1:], len(here)), strict=True):
            today = slice(offsets[begin], offsets[end])
            past.revise(here[begin:end], lines[today], line_segment[today], draws_all, w, rng)
    return article


def _draw_rows(chances: Float32, rng: np.random.Generator) -> Int64:
    """``[n]`` one column drawn from each row of ``chances [n, k]``, whose rows sum to 1."""
    upto = np.cumsum(chances, axis=1, dtype=np.float64)
    draw = rng.random(len(chances)) * upto[:, -1]
    return (upto <= draw[:, None]).sum(axis=1).clip(max=chances.shape[1] - 1)


def recall(age_days: npt.NDArray, rate: Float32, staple_days: Float32, constants: Constants) -> Float64:
    """``[n]`` the recall of purchases ``age_days`` ago (``staple_days`` 0: not a staple)."""
    fading = (1.0 + age_days / RECALL_DAYS) ** -constants.recall_power
    due = np.divide(age_days, staple_days, out=np.zeros(len(age_days)), where=staple_days > 0)
    return rate * (fading + constants.staples * due * np.exp(1 - due))


def repurchase_chance(remembered: npt.NDArray, loyalty: npt.NDArray, constants: Constants) -> Float64:
    """The probability that a line is a repurchase, given the sum of the recalls."""
    return np.minimum(HIGHEST, constants.repurchase * loyalty) * remembered / (remembered + constants.recall_half)


class _Past:
    """Earlier purchases and their effect: owned articles are drawn again, and some are repurchased."""

    def __init__(
        self, visits: Visits, article: Int32, catalogue: Catalogue, loyalty: Float32, constants: Constants
    ) -> None:
        self.visits, self.article, self.catalogue = visits, article, catalogue
        self.loyalty, self.constants = loyalty, constants
        self.line_day = np.repeat(visits.day, np.diff(visits.lines))
        first_visit = np.searchsorted(visits.customer, visits.customer, side="left")
        self.first_line = visits.lines[first_visit]  # first line of each visit's customer

    def revise(
        self, today: Int64, lines: Int64, line_segment: Int64, draws_all: _Draws, week: int, rng: np.random.Generator
    ) -> None:
        """Revise in place the ``lines`` of the visits ``today``, all of one day, by purchases of earlier days."""
        article, product, visits = self.article, self.catalogue.product, self.visits
        begin = self.first_line[today]
        length = visits.lines[today] - begin
        past = spans(begin, length)
        if not len(past):
            return
        which = np.repeat(np.arange(len(today)), np.diff(visits.lines)[today])
        bought = article[past]

        n_articles = len(product)
        owned = np.sort(np.repeat(np.arange(len(today)), length) * n_articles + bought)
        pending = np.arange(len(lines))
        for _ in range(TRIES):
            key = which[pending] * n_articles + article[lines[pending]]
            pending = pending[owned[np.minimum(np.searchsorted(owned, key), len(owned) - 1)] == key]
            article[lines[pending]] = draws_all.draw(line_segment[pending], rng.random(len(pending)))

        appeal = self.catalogue.log_appeal[week]
        age = visits.day[today[0]] - self.line_day[past]
        weight = np.where(
            np.isfinite(appeal[bought]),
            visits.quantity[past]
            * recall(age, self.catalogue.repeat_rate[bought], self.catalogue.staple_days[bought], self.constants),
            0.0,
        )
        upto = np.append(0.0, np.cumsum(weight))
        stop = np.cumsum(length)
        start = stop - length
        remembered = upto[stop] - upto[start]
        chance = repurchase_chance(remembered, self.loyalty[visits.customer[today]], self.constants)
        again = np.flatnonzero(rng.random(len(lines)) < chance[which])
        visit = which[again]
        target = upto[start[visit]] + rng.random(len(again)) * remembered[visit]
        at = np.clip(np.searchsorted(upto, target, side="right") - 1, start[visit], stop[visit] - 1)
        same = bought[at]
        variant = rng.random(len(again)) < VARIANT
        same[variant] = _variants(same[variant], product, appeal, rng)
        article[lines[again]] = same


def _variants(bought: Int32, product: Int32, appeal: npt.NDArray, rng: np.random.Generator) -> Int32:
    """``[n]`` a variant of each product that is on sale, drawn by appeal; it may be the article itself."""
    # The variants of a product are adjacent, because articles are sorted by id and the id begins with the product.
    upto = np.cumsum(np.exp(appeal, dtype=np.float64))
    begin = np.searchsorted(product, product[bought])
    end = np.searchsorted(product, product[bought], side="right")
    low = np.where(begin > 0, upto[begin - 1], 0.0)
    at = np.searchsorted(upto, low + rng.random(len(bought)) * (upto[end - 1] - low), side="right")
    return np.clip(at, begin, end - 1).astype(np.int32)
