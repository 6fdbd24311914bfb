"""The ground truth of a sample: the probability that a piece bought by a customer on a day is a given article.

It is exact for the choice model of the sample (behaviour.py). For a visit of a customer on a day,

    P(a) = (1 - r) * sum_z P(z | customer, days away) P(a | z, week) new(a, z)  +  r * P(a | repurchase)

where r is the probability of a repurchase, given the purchases strictly before that day. With O the probability under z
of the owned articles, and T the number of tries to draw another, new(a, z) is O^T for an owned article and
1 + O + ... + O^T for any other.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from hm_utils.arrays import Bool, Float32, Int32, Int64
from hm_utils.data.histories import history_rows
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw import RawDataError, fingerprint
from hm_utils.sample import behaviour
from hm_utils.sample.assortment import week_of
from hm_utils.sample.constants import TRIES, VARIANT, Constants
from hm_utils.sample.preferences import Preferences, focus, softmax

_ARRAYS = ("traits", "attraction", "bias", "liking", "log_appeal", "product", "staple_days", "repeat_rate", "loyalty")


@dataclass(frozen=True)
class _Today:
    """The m articles on sale on a day, and the values that do not depend on the customer.

    Attributes:
        day: days since the truth's ``first_date``.
        articles: ``[m]`` article rows.
        column: ``[articles]`` position of each article in ``articles``, -1 if it is not on sale.
        chances: ``[z, m]`` probability of each article under the segments z.
        product: ``[m]`` product numbers, from 0 without gaps.
        appeal_share: ``[m]`` share of each article in the appeal of its product.
    """

    day: int
    articles: Int64
    column: Int64
    chances: Float32
    product: Int64
    appeal_share: Float32


@dataclass(frozen=True)
class _Past:
    """``owned [n, m]`` 0 or 1, ``chance [n, 1]`` of a repurchase, and ``again [n, m]`` probabilities of its article."""

    owned: Float32
    chance: Float32
    again: Float32


@dataclass(frozen=True)
class Truth:
    """The parameters of every probability. Customers and articles are rows of the sorted tables.

    Attributes:
        traits: ``[customers, t]``.
        attraction, bias, liking: see :class:`hm_utils.sample.preferences.Preferences`.
        log_appeal: ``[weeks, articles]``, minus infinity when not on sale.
        product: ``[articles]`` product numbers.
        staple_days: ``[articles]`` interval of repurchases, 0 for articles that are not staples.
        loyalty: ``[customers]`` factor of the probability of a repurchase.
        constants: those of the generator.
        first_date: date of day 0.
        days: length of the log.
    """

    traits: Float32
    attraction: Float32
    bias: Float32
    liking: Float32
    log_appeal: Float32
    product: Int32
    staple_days: Float32
    repeat_rate: Float32
    loyalty: Float32
    constants: Constants
    first_date: np.datetime64
    days: int

    @property
    def n_articles(self) -> int:
        return self.log_appeal.shape[1]

    def on_sale(self, day: int) -> Bool:
        """``[articles]`` whether each article is on sale on the day."""
        return np.isfinite(self._appeal(day))

    def probabilities(self, customers: npt.ArrayLike, day: int, log: PurchaseLog | None) -> Float32:
        """The probability of each article for a piece bought by a customer on ``day``.

        Args:
            customers: ``[n]`` customer rows.
            day: days since the truth's ``first_date``.
            log: the source of the histories, of which only purchases strictly before ``day`` are used. Its own day 0
                may be another date. None means without histories: by preference alone.

        Returns:
            ``[n, articles]``, rows sum to 1.

        Raises:
            ValueError: if the day is outside the sample.
        """
        customers, today = np.asarray(customers), self._today(day)
        result = np.zeros((len(customers), self.n_articles), dtype=np.float32)
        result[:, today.articles] = self._chances(customers, today, log)
        return result

    def _chances(self, customers: npt.NDArray, today: _Today, log: PurchaseLog | None) -> Float32:
        """``[n, m]`` :meth:`probabilities` of the articles on sale; those of other articles are 0."""
        away = np.full(len(customers), np.inf)
        if log is not None:
            day = today.day - int((log.first_date - self.first_date).astype(int))
            ends = log.history_ends(customers, day)
            ever = ends > log.offsets[customers]
            away[ever] = day - log.day[ends[ever] - 1].astype(np.int64)
        preferences = Preferences(self.attraction, self.bias, self.liking)
        segments = preferences.segments(self.traits[customers], focus(away, self.constants))
        if log is None:
            return segments @ today.chances
        past = self._past(customers, today, log, day)
        known = np.minimum(past.owned @ today.chances.T, 1.0)  # [n, z]
        last = known**TRIES
        tries = sum((known**i for i in range(1, TRIES)), start=np.ones_like(known))
        new = ((segments * tries) @ today.chances) * (1 - past.owned) + (segments * last) @ today.chances
        return (1 - past.chance) * new + past.chance * past.again

    def _today(self, day: int) -> _Today:
        appeal = self._appeal(day)
        articles = np.flatnonzero(np.isfinite(appeal))
        column = np.full(self.n_articles, -1)
        column[articles] = np.arange(len(articles))
        product = np.unique(self.product[articles], return_inverse=True)[1]
        appeal_share = np.exp(appeal[articles], dtype=np.float64)
        appeal_share /= np.bincount(product, appeal_share)[product]
        chances = softmax(self.liking[:, articles] + appeal[articles])
        return _Today(day, articles, column, chances, product, appeal_share.astype(np.float32))

    def _appeal(self, day: int) -> Float32:
        if not 0 <= day < self.days:
            raise ValueError(f"day {day} is outside the sample, which has days 0 to {self.days - 1}")
        return self.log_appeal[int(week_of(day, self.days))]

    def _past(self, customers: npt.NDArray, today: _Today, log: PurchaseLog, day: int) -> _Past:
        """The effect of the purchases before ``day`` of the log, which is today."""
        n, m = len(customers), len(today.articles)
        customer, rows = history_rows(log, customers, day)
        bought = today.column[log.article[rows]]
        on_sale = bought >= 0
        rows, customer, bought = rows[on_sale], customer[on_sale], bought[on_sale]
        owned = np.zeros((n, m), dtype=np.float32)
        owned[customer, bought] = 1

        age = day - log.day[rows].astype(np.int64)
        article = log.article[rows]
        weight = behaviour.recall(age, self.repeat_rate[article], self.staple_days[article], self.constants)
        total = np.bincount(customer, weight, minlength=n)
        chance = behaviour.repurchase_chance(total, self.loyalty[customers], self.constants)
        weight /= np.maximum(total, 1e-300)[customer]
        itself = np.bincount(customer * m + bought, weight, minlength=n * m).reshape(n, m)
        n_products = int(today.product.max(initial=-1)) + 1
        of_product = np.bincount(customer * n_products + today.product[bought], weight, minlength=n * n_products)
        variants = of_product.astype(np.float32).reshape(n, n_products)[:, today.product] * today.appeal_share
        again = (1 - VARIANT) * itself.astype(np.float32) + np.float32(VARIANT) * variants
        return _Past(owned, chance.astype(np.float32)[:, None], again.astype(np.float32))

    def save(self, directory: Path) -> None:
        """Write ``truth/`` into the sample's folder: one ``.npy`` per array, and ``truth.json``."""
        directory = directory / "truth"
        directory.mkdir(parents=True)
        for name in _ARRAYS:
            np.save(directory / f"{name}.npy", getattr(self, name), allow_pickle=False)
        facts = {"first_date": str(self.first_date), "days": self.days, "constants": asdict(self.constants)}
        (directory / "truth.json").write_text(json.dumps(facts, indent=2))

    @classmethod
    def load(cls, directory: Path) -> Truth:
        """Read the truth that :meth:`save` wrote into the sample's folder.

        Raises:
            FileNotFoundError: if the folder has no truth (real data has none), or that of another version.
        """
        if not (directory / "truth" / "truth.json").exists():
            raise FileNotFoundError(f"no ground truth in {directory}: only a generated sample has one")
        try:
            facts = json.loads((directory / "truth" / "truth.json").read_text())
            arrays = {name: np.load(directory / "truth" / f"{name}.npy", allow_pickle=False) for name in _ARRAYS}
            shared = tuple(facts["constants"].pop("shared"))
            constants = Constants(**facts["constants"], shared=shared)
        except (FileNotFoundError, KeyError, TypeError) as error:
            raise FileNotFoundError(f"the truth in {directory} is of another version: make the sample again") from error
        first_date = np.datetime64(facts["first_date"])
        return cls(**arrays, constants=constants, first_date=first_date, days=facts["days"])


class NoTruthError(RuntimeError):
    """The data has no ground truth; the message gives the reason in one line."""


def truth_of(data_dir: Path, raw_fingerprint: str) -> Truth:
    """The truth of the sample in ``data_dir``, if its tables are the ones that were preprocessed.

    Args:
        data_dir: folder of the raw tables.
        raw_fingerprint: fingerprint of the preprocessed tables, from the manifest of the preprocessed folder.

    Raises:
        NoTruthError: if the folder has no truth (real data has none), or has other tables.
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
    """The best possible ranking of purchases on day ``as_of``, and nearly the best for the days after it.

    Args:
        truth: ground truth of the sample.
        log: purchases, of which only those strictly before ``as_of`` are used.
        customers: ``[n]`` customer rows.
        as_of: days since the *log's* first date.
        k: length of the ranking.

    Returns:
        ``[n, k]`` article rows, best first, padded with -1 if fewer than ``k`` are on sale.
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
