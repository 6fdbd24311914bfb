"""The sample's own truth: the probability that what a customer buys on a day is each article.

It is exact for the model that made the sample (behaviour.py). On a day, for a customer who comes,

    P(a) = (1 - r) * sum_z P(z | customer) P(a | z, week) new(a, z)  +  r * P(a is what they buy again)

where r is the chance of a repurchase, given what they bought strictly before that day. With O the probability under z
of the articles they own, and T the tries at finding another, new(a, z) is O^T for an article that they own, and
1 + O + ... + O^T for any other.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from hm_utils.arrays import Float32, Int32, Int64
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw import RawDataError, fingerprint
from hm_utils.sample import behaviour
from hm_utils.sample.assortment import week_of
from hm_utils.sample.preferences import Preferences, softmax
from hm_utils.sample.visits import spans

_ARRAYS = ("traits", "attraction", "bias", "liking", "log_appeal", "product")


@dataclass(frozen=True)
class _Today:
    """What is on sale on a day: m articles, and what does not depend on who comes.

    Attributes:
        day: days since the truth's ``first_date``.
        articles: ``[m]`` article rows.
        column: ``[articles]`` place of each article among these, -1 where it is not on sale.
        chances: ``[z, m]`` of each under the moods z.
        product: ``[m]`` numbers of their products, from 0 without a gap.
        pull: ``[m]`` each article's share of its product's appeal.
    """

    day: int
    articles: Int64
    column: Int64
    chances: Float32
    product: Int64
    pull: Float32


@dataclass(frozen=True)
class _Past:
    """``owned [n, m]`` 0 or 1; ``chance [n, 1]`` of a repurchase, and ``again [n, m]`` of what, of those on sale."""

    owned: Float32
    chance: Float32
    again: Float32


@dataclass(frozen=True)
class Truth:
    """What it takes to know every probability. Customers and articles are rows of the sorted tables.

    Attributes:
        traits: ``[customers, t]``.
        attraction, bias, liking: see :class:`hm_utils.sample.preferences.Preferences`.
        log_appeal: ``[weeks, articles]``, minus infinity when not on sale.
        product: ``[articles]``.
        first_date: date of day 0.
        days: length of the log.
    """

    traits: Float32
    attraction: Float32
    bias: Float32
    liking: Float32
    log_appeal: Float32
    product: Int32
    first_date: np.datetime64
    days: int

    @property
    def n_articles(self) -> int:
        return self.log_appeal.shape[1]

    def on_sale(self, day: int) -> npt.NDArray[np.bool_]:
        """``[articles]`` whether each article is on sale on the day."""
        return np.isfinite(self._appeal(day))

    def probabilities(self, customers: npt.ArrayLike, day: int, log: PurchaseLog | None) -> Float32:
        """The probability of each article being what a customer buys, if they come on ``day``.

        Args:
            customers: ``[n]`` customer rows.
            day: days since the truth's ``first_date``.
            log: the purchases that histories are read from, strictly before ``day``; its own day 0 may be another
                date. None for customers without any: taste alone.

        Returns:
            ``[n, articles]`` float32, rows adding up to 1.
        """
        customers, today = np.asarray(customers), self._today(day)
        result = np.zeros((len(customers), self.n_articles), dtype=np.float32)
        result[:, today.articles] = self._chances(customers, today, log)
        return result

    def _chances(self, customers: npt.NDArray, today: _Today, log: PurchaseLog | None) -> Float32:
        """``[n, m]`` :meth:`probabilities` of what is on sale; the others are 0."""
        moods = Preferences(self.attraction, self.bias, self.liking).segments(self.traits[customers])
        if log is None:
            return moods @ today.chances
        past = self._past(customers, today, log)
        known = np.minimum(past.owned @ today.chances.T, 1.0)  # [n, z]
        last = known**behaviour.TRIES
        tries = sum((known**i for i in range(1, behaviour.TRIES)), start=np.ones_like(known))
        new = ((moods * tries) @ today.chances) * (1 - past.owned) + (moods * last) @ today.chances
        return (1 - past.chance) * new + past.chance * past.again

    def _today(self, day: int) -> _Today:
        appeal = self._appeal(day)
        articles = np.flatnonzero(np.isfinite(appeal))
        column = np.full(self.n_articles, -1)
        column[articles] = np.arange(len(articles))
        product = np.unique(self.product[articles], return_inverse=True)[1]
        pull = np.exp(appeal[articles], dtype=np.float64)
        pull /= np.bincount(product, pull)[product]
        chances = softmax(self.liking[:, articles] + appeal[articles])
        return _Today(day, articles, column, chances, product, pull.astype(np.float32))

    def _appeal(self, day: int) -> Float32:
        if not 0 <= day < self.days:
            raise ValueError(f"day {day} is outside the sample, which has days 0 to {self.days - 1}")
        return self.log_appeal[int(week_of(day, self.days))]

    def _past(self, customers: npt.NDArray, today: _Today, log: PurchaseLog) -> _Past:
        """What the purchases before the day say."""
        n, m = len(customers), len(today.articles)
        day = today.day - int((log.first_date - self.first_date).astype(int))
        begin = log.offsets[customers]
        length = log.history_ends(customers, day) - begin
        rows = spans(begin, length)
        who, bought = np.repeat(np.arange(n), length), today.column[log.article[rows]]
        there = bought >= 0
        rows, who, bought = rows[there], who[there], bought[there]
        owned = np.zeros((n, m), dtype=np.float32)
        owned[who, bought] = 1

        weight = behaviour.recall(day - log.day[rows].astype(np.int64))
        total = np.bincount(who, weight, minlength=n)
        chance = behaviour.REPURCHASE * total / (total + behaviour.RECALL_HALF)
        weight /= np.maximum(total, 1e-300)[who]
        itself = np.bincount(who * m + bought, weight, minlength=n * m).reshape(n, m)
        n_products = int(today.product.max(initial=-1)) + 1
        family = np.bincount(who * n_products + today.product[bought], weight, minlength=n * n_products)
        variants = family.astype(np.float32).reshape(n, n_products)[:, today.product] * today.pull
        again = (1 - behaviour.VARIANT) * itself.astype(np.float32) + np.float32(behaviour.VARIANT) * variants
        return _Past(owned, chance.astype(np.float32)[:, None], again.astype(np.float32))

    def save(self, directory: Path) -> None:
        """Write one ``.npy`` an array and ``truth.json``."""
        directory.mkdir(parents=True, exist_ok=True)
        for name in _ARRAYS:
            np.save(directory / f"{name}.npy", getattr(self, name), allow_pickle=False)
        facts = {"first_date": str(self.first_date), "days": self.days}
        (directory / "truth.json").write_text(json.dumps(facts, indent=2))

    @classmethod
    def load(cls, directory: Path) -> Truth:
        """Read what :meth:`save` wrote; ``directory`` is the ``truth`` folder, or the sample's that holds it.

        Raises:
            FileNotFoundError: if there is no truth there (real data has none).
        """
        directory = Path(directory)
        if (directory / "truth" / "truth.json").exists():
            directory = directory / "truth"
        if not (directory / "truth.json").exists():
            raise FileNotFoundError(f"no ground truth in {directory}: only a generated sample has one")
        facts = json.loads((directory / "truth.json").read_text())
        arrays = {name: np.load(directory / f"{name}.npy", allow_pickle=False) for name in _ARRAYS}
        return cls(**arrays, first_date=np.datetime64(facts["first_date"]), days=facts["days"])


class NoTruthError(RuntimeError):
    """There is no ground truth of this data; the message says why, in one line."""


def truth_of(data_dir: Path, raw_fingerprint: str) -> Truth:
    """The truth beside the raw tables, if these are the ones that the preprocessed data was made from.

    Args:
        data_dir: folder of the raw tables.
        raw_fingerprint: of the tables that were preprocessed, from the preprocessed folder's manifest.

    Raises:
        NoTruthError: no truth there (real data has none), or it is that of other tables.
    """
    try:
        truth = Truth.load(data_dir)
        found = fingerprint(data_dir)
    except (FileNotFoundError, RawDataError) as error:
        raise NoTruthError(str(error)) from error
    if found != raw_fingerprint:
        raise NoTruthError(f"the tables in {data_dir} are not those that were preprocessed, so its truth is not theirs")
    return truth


def oracle_ranking(truth: Truth, log: PurchaseLog, customers: npt.ArrayLike, as_of: int, k: int) -> Int32:
    """The best ranking there is of what customers buy on day ``as_of`` (and, nearly, in the days after it).

    Args:
        truth: the sample's truth.
        log: the purchases; only those strictly before ``as_of`` are used.
        customers: ``[n]`` customer rows.
        as_of: days since the *log's* first date.
        k: length of the ranking.

    Returns:
        ``[n, k]`` article rows, best first, padded with -1 where fewer are on sale.
    """
    customers = np.asarray(customers)
    today = truth._today(as_of + int((log.first_date - truth.first_date).astype(int)))
    ranking = np.full((len(customers), k), -1, dtype=np.int32)
    top = min(k, len(today.articles))
    chunk = max(1, 4_000_000 // max(1, len(today.articles)))
    starts = tqdm(range(0, len(customers), chunk), "oracle", file=sys.stdout, delay=2, leave=False)
    for start in starts:
        chances = truth._chances(customers[start : start + chunk], today, log)
        best = np.argpartition(-chances, top - 1, axis=1)[:, :top]
        values = np.take_along_axis(chances, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        best, values = np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)
        ranking[start : start + chunk, :top] = np.where(values > 0, today.articles[best], -1)
    return ranking
