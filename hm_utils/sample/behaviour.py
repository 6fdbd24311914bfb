"""What customers choose: the choice model of the sample.

Taste. A visit is in the mood of a segment z, drawn from the customer's (tastes.py). An anchor is drawn from what z
likes among the articles on sale this week; each further line is drawn from what z likes *among the articles that share
something with the anchor*: the product, the type, the department ... or nothing (``SHARED``). What is shared is drawn
independently of the anchor, so every line, not only the anchor, has the probabilities of z: over the blocks B of
articles that share it, sum of P(B) P(a | B) = P(a), and the step away from the anchor itself (``_Draws.draw_like``)
keeps them too. That is what makes the truth simple (truth.py).

Owned. A line that falls on an article that the customer bought before this day is drawn again, from all that z likes,
up to ``TRIES`` times: people look for something new, and mostly find it.

Repurchases. Then each line may be replaced by something bought before this day. A past purchase ``delta`` days old has

    recall = (1 + delta / RECALL_DAYS) ** -RECALL_POWER      if its article is still on sale, else 0,

and with R the sum of the recalls of all past pieces, a line is a repurchase with probability
``REPURCHASE * R / (R + RECALL_HALF)``: of a past piece drawn in proportion to its recall or, once in a while
(``VARIANT``), of a variant of its product that is on sale, drawn by appeal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from hm_utils.arrays import Float64, Int32, Int64
from hm_utils.sample.assortment import week_of
from hm_utils.sample.catalogue import Catalogue
from hm_utils.sample.customers import Customers
from hm_utils.sample.preferences import Preferences, softmax
from hm_utils.sample.visits import Visits, spans

# What a further line of a basket shares with the anchor, and how often; otherwise nothing.
SHARED: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.10, ("product_code",)),
    (0.12, ("product_type_no",)),
    (0.22, ("colour_group_code",)),
    (0.10, ("department_name", "index_group_no")),
    (0.11, ("section_no",)),
    (0.05, ("garment_group_no",)),
    (0.06, ("product_group_name",)),
    (0.05, ("index_group_no",)),
)
TRIES = 3
GOLDEN = 0.6180339887498949  # steps of the golden ratio, modulo 1, fill the unit interval evenly
REPURCHASE, RECALL_DAYS, RECALL_POWER, RECALL_HALF, VARIANT = 0.16, 1.5, 1.2, 1.0, 0.1


class _Draws:
    """Draws from one week's table of probabilities, within blocks of articles, by inverting the cumulative."""

    def __init__(self, chance: Float64, on_sale: Int64, codes: npt.NDArray) -> None:
        """``chance [z, n]`` of the articles ``on_sale [n]``; ``codes [all articles]`` say which block each is in."""
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
        # Row z lies between z and z + 1, so one search over all of it finds row and column.
        upto += np.arange(len(upto))[:, None]
        self.upto = upto.reshape(-1)

    def draw(self, segment: Int64, u: Float64) -> Int64:
        """An article for each, by the probabilities of ``segment``; ``u`` is uniform from 0 to 1."""
        at = np.searchsorted(self.upto, segment + u, side="right") - segment * self.width
        return self.article[np.clip(at, 0, self.width - 1)]

    def draw_like(self, segment: Int64, like: Int64, u: Float64, rng: np.random.Generator) -> Int64:
        """An article for each from the block that ``like`` is in, another one than ``like`` where that can be.

        If ``like`` has the probabilities P of the segment, so has what is drawn. It would have if drawn from the block
        by P, but then often be ``like`` itself. Drawing b among the others by P, and taking it with probability
        ``min(1, (1 - P(like)) / (1 - P(b)))``, leaves P as it is too (Liu's Metropolised Gibbs step).
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
    rng: np.random.Generator,
    progress: bool = False,
) -> Int32:
    """``[lines]`` the article of every line. A week at a time by taste, and then its days, one after another, because
    what is bought on one day is owned on the next."""
    week = week_of(visits.day, catalogue.days)
    by_day = np.argsort(visits.day, kind="stable")
    weeks = len(catalogue.log_appeal)
    starts = np.searchsorted(week[by_day], np.arange(weeks + 1))
    table = catalogue.table
    everything = np.zeros(len(table), dtype=np.int8)
    codes = [table.groupby(list(columns), sort=False).ngroup().to_numpy() for _, columns in SHARED]
    upto = np.cumsum([share for share, _ in SHARED])

    article = np.zeros(visits.lines[-1], dtype=np.int32)
    past = _Past(visits, article, catalogue)
    for w in tqdm(range(weeks), desc="weeks", unit="week", disable=not progress):
        here = by_day[starts[w] : starts[w + 1]]
        if not len(here):
            continue
        on_sale = np.flatnonzero(np.isfinite(catalogue.log_appeal[w]))
        chance = softmax(preferences.liking[:, on_sale] + catalogue.log_appeal[w, on_sale]).astype(np.float64)
        anything = _Draws(chance, on_sale, everything)
        segment = _draw_rows(preferences.segments(customers.traits[visits.customer[here]]), rng)

        lengths = np.diff(visits.lines)[here]
        lines = spans(visits.lines[here], lengths)
        mood = np.repeat(segment, lengths)
        # Each line's u is uniform, but within a basket they keep apart: so a basket seldom has one article twice. The
        # steps away from the anchor have their own, because they must not depend on what drew the anchor.
        step = lines - np.repeat(visits.lines[here], lengths)
        u, u_like = (np.repeat(rng.random((2, len(here))), lengths, axis=1) + step * GOLDEN) % 1.0
        chosen = anything.draw(mood, u)
        like = chosen[np.repeat(np.cumsum(lengths) - lengths, lengths)]  # the anchor: the first line
        kind = np.searchsorted(upto, rng.random(len(lines)), side="right")
        kind[step == 0] = len(codes)
        for number, blocks in enumerate(codes):
            of_kind = np.flatnonzero(kind == number)
            draws = _Draws(chance, on_sale, blocks)
            chosen[of_kind] = draws.draw_like(mood[of_kind], like[of_kind], u_like[of_kind], rng)
        article[lines] = chosen

        first = np.flatnonzero(np.diff(visits.day[here], prepend=-1))
        offsets = np.append(0, np.cumsum(lengths))
        for begin, end in zip(first, np.append(first[1:], len(here)), strict=True):
            today = slice(offsets[begin], offsets[end])
            past.revise(here[begin:end], lines[today], mood[today], anything, w, rng)
    return article


def _draw_rows(chances: npt.NDArray[np.float32], rng: np.random.Generator) -> Int64:
    """``[n]`` one column drawn from each row of ``chances`` (``[n, k]``, rows add up to 1)."""
    upto = np.cumsum(chances, axis=1, dtype=np.float64)
    draw = rng.random(len(chances)) * upto[:, -1]
    return (upto <= draw[:, None]).sum(axis=1).clip(max=chances.shape[1] - 1)


def recall(age_days: npt.NDArray) -> Float64:
    """How well a purchase of so many days ago is remembered."""
    return (1.0 + age_days / RECALL_DAYS) ** -RECALL_POWER


class _Past:
    """What customers bought before, and what it changes: new things wanted, old ones bought again."""

    def __init__(self, visits: Visits, article: Int32, catalogue: Catalogue) -> None:
        self.visits, self.article, self.catalogue = visits, article, catalogue
        self.line_day = np.repeat(visits.day, np.diff(visits.lines))
        first_visit = np.searchsorted(visits.customer, visits.customer, side="left")
        self.first_line = visits.lines[first_visit]  # of the customer of each visit

    def revise(
        self, today: Int64, lines: Int64, mood: Int64, anything: _Draws, week: int, rng: np.random.Generator
    ) -> None:
        """Revise the ``lines`` (of the visits ``today``, all of one day) in the light of the days before, in place."""
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
        doubtful = np.arange(len(lines))
        for _ in range(TRIES):
            key = which[doubtful] * n_articles + article[lines[doubtful]]
            doubtful = doubtful[owned[np.minimum(np.searchsorted(owned, key), len(owned) - 1)] == key]
            article[lines[doubtful]] = anything.draw(mood[doubtful], rng.random(len(doubtful)))

        appeal = self.catalogue.log_appeal[week]
        age = visits.day[today[0]] - self.line_day[past]
        weight = np.where(np.isfinite(appeal[bought]), recall(age) * visits.quantity[past], 0.0)
        upto = np.append(0.0, np.cumsum(weight))
        stop = np.cumsum(length)
        start = stop - length
        remembered = upto[stop] - upto[start]
        chance = REPURCHASE * remembered / (remembered + RECALL_HALF)
        again = np.flatnonzero(rng.random(len(lines)) < chance[which])
        whose = which[again]
        target = upto[start[whose]] + rng.random(len(again)) * remembered[whose]
        at = np.clip(np.searchsorted(upto, target, side="right") - 1, start[whose], stop[whose] - 1)
        same = bought[at]
        variant = rng.random(len(again)) < VARIANT
        same[variant] = _variants(same[variant], product, appeal, rng)
        article[lines[again]] = same


def _variants(bought: Int32, product: Int32, appeal: npt.NDArray, rng: np.random.Generator) -> Int32:
    """For each article a variant of its product that is on sale, drawn by appeal (perhaps the article itself)."""
    # Products are neighbours in the table, because articles are sorted by id and the id begins with the product.
    upto = np.cumsum(np.exp(appeal, dtype=np.float64))
    begin = np.searchsorted(product, product[bought])
    end = np.searchsorted(product, product[bought], side="right")
    low = np.where(begin > 0, upto[begin - 1], 0.0)
    at = np.searchsorted(upto, low + rng.random(len(bought)) * (upto[end - 1] - low), side="right")
    return np.clip(at, begin, end - 1).astype(np.int32)
