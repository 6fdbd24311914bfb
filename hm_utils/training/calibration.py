"""The weights of a score, fitted on the validation days and shrunk towards a chain of simple rules."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import Bounds, minimize
from tqdm.auto import tqdm

from hm_utils.arrays import Bool, Float32, Float64, Int32, Int64
from hm_utils.data.purchases import Baskets
from hm_utils.evaluation import metrics
from hm_utils.evaluation.baselines import best_articles
from hm_utils.evaluation.bootstrap import MIN_CUSTOMERS, interval, resampled_means
from hm_utils.model.scoring import BEST_SELLERS, CHAIN, TOWERS_ALONE, Repurchase, Scoring
from hm_utils.model.snapshot import Snapshot

MAX_CUSTOMERS = 6_000  # enough for a dozen weights
CHUNK = 1_024  # customers
CANDIDATES = 200  # articles of the two-tower's ranking, beside the best-sellers and the customer's relatives
BEST_SELLING = 100

# The prior: an article bought before is e^8 times as likely as another one, by the sum of 1 / days; popularity counts
# in full, and the towers not at all.
PRIOR = Scoring(0.0, 1.0, repurchase=Repurchase(bought=8.0, recent=1.0))
# The pull towards the prior, in customers: each weight counts in standard deviations of what it multiplies.
RIDGE = 4.0


@dataclass(frozen=True)
class Calibration:
    """The fitted weights and their data.

    Attributes:
        scoring: all weights. Those of returning customers are fitted on customers who had bought before.
        towers: weights of the towers' logit and of popularity alone, fitted on all customers.
        customers: number of customers with a history and a purchased article among the candidates.
        loss_before, loss_after: mean negative log-likelihood a customer, of the prior and fitted.
    """

    scoring: Scoring
    towers: Scoring
    customers: int
    loss_before: float
    loss_after: float


def calibrate(snapshot: Snapshot, truth: Baskets, max_customers: int = MAX_CUSTOMERS, seed: int = 0) -> Calibration:
    """Fit the weights of a score by a conditional logit (McFadden 1974) with a Gaussian prior, the chain.

    The purchased articles are choices out of the customer's candidates: the first of the two-tower's ranking, the
    best-sellers, and the articles bought before with their variants. With little data the weights stay near the
    prior; without any, the ranking *is* the chain.

    Args:
        snapshot: as of the first day of ``truth``, of a model that was not trained on it.
        truth: the purchases of the validation days. Weights of customers without purchases are fitted on all buyers
            with their histories hidden. They are those of the best-sellers unless that ranking is significantly better
            there, by MAP@12 or recall@100, and not worse by the other.
        max_customers: a random sample of the buyers is used where there are more.
    """
    returning = _returning(snapshot, truth, max_customers, seed)
    truth = truth.sample(max_customers, seed)
    cold_taste, cold_popularity = _cold_weights(snapshot.without_histories(), truth, seed)
    everybody = _choices(snapshot, truth)
    towers = _fit(everybody, TOWERS_ALONE) if len(everybody) else TOWERS_ALONE
    fitted = _fit(returning, PRIOR) if len(returning) else CHAIN
    return Calibration(
        scoring=replace(fitted, cold_taste=cold_taste, cold_popularity=cold_popularity),
        towers=replace(towers, cold_taste=cold_taste, cold_popularity=cold_popularity),
        customers=len(returning),
        loss_before=returning.loss(_vector(PRIOR))[0],
        loss_after=returning.loss(_vector(fitted))[0],
    )


def fit_scoring(snapshot: Snapshot, truth: Baskets) -> Scoring:
    """The weights of :func:`calibrate` for customers who had bought before; the others get the best-sellers."""
    returning = _returning(snapshot, truth, MAX_CUSTOMERS, seed=0)
    return replace(_fit(returning, PRIOR) if len(returning) else CHAIN, cold_taste=0.0, cold_popularity=1.0)


def _returning(snapshot: Snapshot, truth: Baskets, most: int, seed: int) -> Choices:
    """The choices of customers who had bought before."""
    known = snapshot.log.has_bought(truth.customers, snapshot.histories_before)
    return _choices(snapshot, truth.select(known).sample(most, seed))


@dataclass(frozen=True)
class Choices:
    """The candidates of n customers, and which of them each customer bought.

    Attributes:
        logits, popularity: ``[n, c]`` of the candidates that are no relatives.
        padded: ``[n, c]`` true where there is no candidate.
        chosen: ``[n, c]``.
        owner: ``[m]`` the customers of the relatives, ascending.
        related: ``[m, 2 + fields of Repurchase]`` what the weights of a relative multiply.
        related_chosen: ``[m]``.
    """

    logits: Float32
    popularity: Float32
    padded: Bool
    chosen: Bool
    owner: Int64
    related: Float64
    related_chosen: Bool

    def __len__(self) -> int:
        return len(self.logits)

    def useful(self) -> Choices:
        """The customers who bought a candidate."""
        keep = self.chosen.any(axis=1) | (np.bincount(self.owner, self.related_chosen, len(self)) > 0)
        mine = keep[self.owner]
        return Choices(
            self.logits[keep],
            self.popularity[keep],
            self.padded[keep],
            self.chosen[keep],
            (np.cumsum(keep) - 1)[self.owner[mine]],
            self.related[mine],
            self.related_chosen[mine],
        )

    def deviations(self) -> Float64:
        """The standard deviation, over all candidates, of what each weight multiplies."""
        others = np.stack([self.logits[~self.padded], self.popularity[~self.padded]], axis=1).astype(np.float64)
        count = len(others) + len(self.related)
        width = (0, self.related.shape[1] - 2)
        sums, squares = (
            np.pad((others**power).sum(axis=0), width) + (self.related**power).sum(axis=0) for power in (1, 2)
        )
        return np.sqrt(np.maximum(squares / count - (sums / count) ** 2, 1e-18))

    def loss(self, weights: Float64) -> tuple[float, Float64]:
        """Mean over customers of -log P(an article they bought), and its gradient.

        Several articles bought share the customer's weight.
        """
        if not len(self):
            return 0.0, np.zeros(len(weights))
        others = np.where(self.padded, -np.inf, weights[0] * self.logits + weights[1] * self.popularity)
        of_related = self.related @ weights
        highest = others.max(axis=1, initial=-np.inf)
        np.maximum.at(highest, self.owner, of_related)
        total = np.exp(others - highest[:, None]).sum(axis=1)
        total += np.bincount(self.owner, np.exp(of_related - highest[self.owner]), len(self))
        log_sum = highest + np.log(total)
        bought = self.chosen.sum(axis=1) + np.bincount(self.owner, self.related_chosen, len(self))
        p_others, p_related = np.exp(others - log_sum[:, None]), np.exp(of_related - log_sum[self.owner])
        share, related_share = self.chosen / bought[:, None], self.related_chosen / bought[self.owner]
        score = np.where(self.chosen, others, 0) * share
        value = log_sum.sum() - score.sum() - (related_share * of_related).sum()
        gradient = self.related.T @ (p_related - related_share)
        gradient[0] += ((p_others - share) * self.logits).sum()
        gradient[1] += ((p_others - share) * self.popularity).sum()
        return float(value) / len(self), gradient / len(self)


def _vector(scoring: Scoring) -> Float64:
    repurchase = scoring.repurchase or Repurchase()
    return np.array([scoring.taste, scoring.popularity, *vars(repurchase).values()])


def _fit(choices: Choices, prior: Scoring) -> Scoring:
    """The weights that maximise the penalised likelihood; without repurchase in the prior there is none."""
    if prior.repurchase is None:  # relatives are articles like any other
        related = np.zeros_like(choices.related)
        related[:, :2] = choices.related[:, :2] + choices.related[:, 2:4]
        choices = replace(choices, related=related)
    start = _vector(prior)
    deviations = choices.deviations()
    free = np.flatnonzero(deviations > 1e-6)

    def loss(moved: Float64) -> tuple[float, Float64]:
        weights = start.copy()
        weights[free] += moved / deviations[free]
        value, gradient = choices.loss(weights)
        pull = RIDGE / len(choices)
        return value + pull * float((moved**2).sum()), gradient[free] / deviations[free] + 2 * pull * moved

    # The weights of the towers and of popularity stay at 0 or above.
    lowest = np.where(np.arange(len(start)) < 2, -start * deviations, -np.inf)[free]
    found = start.copy()
    found[free] += (
        minimize(loss, np.zeros(len(free)), jac=True, method="L-BFGS-B", bounds=Bounds(lowest, np.inf)).x
        / (deviations[free])
    )
    taste, popularity, *repurchase = found.tolist()
    return replace(
        prior,
        taste=max(taste, 0.0),
        popularity=max(popularity, 0.0),
        repurchase=None if prior.repurchase is None else Repurchase(*repurchase),
    )


def _cold_weights(snapshot: Snapshot, truth: Baskets, seed: int) -> tuple[float, float]:
    """The weights of the towers' logit and of popularity for customers without purchases; of the best-sellers unless
    that ranking is significantly better on ``truth``. ``snapshot`` hides all histories."""
    best_sellers = BEST_SELLERS.taste, BEST_SELLERS.popularity
    if len(truth) < MIN_CUSTOMERS:
        return best_sellers
    # Without attributes all customers have one vector: it ranks as by popularity, and by the luck of these days.
    if np.ptp(snapshot.customers(truth.customers[:CHUNK]), axis=0).max() < 1e-5:
        return best_sellers
    choices = _choices(snapshot, truth)
    if len(choices) < MIN_CUSTOMERS:
        return best_sellers
    fitted = _fit(choices, BEST_SELLERS)
    scorings = replace(fitted, cold_taste=fitted.taste, cold_popularity=fitted.popularity), BEST_SELLERS
    hits = [metrics.hit_matrix(snapshot.rank(truth.customers, scoring=scoring), truth) for scoring in scorings]
    values = [
        np.stack([metrics.average_precision(hit, truth.sizes), metrics.recall(hit, truth.sizes, 100)], axis=1)
        for hit in hits
    ]
    low, high = interval(resampled_means(values[0] - values[1], seed))
    better = (low > 0).any() and not (high < 0).any()
    return (fitted.taste, fitted.popularity) if better else best_sellers


def _choices(snapshot: Snapshot, truth: Baskets) -> Choices:
    """The candidates of the customers who bought any of theirs."""
    scorer = snapshot.scorer(TOWERS_ALONE)
    search = snapshot.search(scorer.vectors)
    best_selling = best_articles(snapshot.popularity.astype(np.float64), min(BEST_SELLING, snapshot.log.n_articles))
    n_articles = snapshot.log.n_articles
    bought = truth.owner * n_articles + truth.articles
    depth = min(CANDIDATES, n_articles)
    parts: list[Choices] = []
    for start in tqdm(range(0, max(len(truth), 1), CHUNK), "calibrating", file=sys.stdout, delay=2, leave=False):
        rows = truth.customers[start : start + CHUNK]
        users, related = snapshot.customers(rows), snapshot.relatives(rows)
        found, _ = search(scorer.queries(users, related.returning), depth)
        articles = _united(found, best_selling[best_selling >= 0])
        articles[related.place(articles) >= 0] = -1
        owner = np.repeat(np.arange(len(rows)), articles.shape[1])
        logits = scorer.logits(users, owner, articles.ravel()).reshape(articles.shape)
        own = scorer.logits(users, related.owner, related.articles)
        features = np.stack([own, snapshot.popularity[related.articles]], axis=1).astype(np.float64)
        apart = related.bought[:, None]
        columns = [np.where(apart, 0, features), np.where(apart, features, 0), related.terms.T]
        keys = (np.arange(len(rows))[:, None] + start) * n_articles + articles
        parts.append(
            Choices(
                logits=logits,
                popularity=snapshot.popularity[articles],
                padded=articles < 0,
                chosen=np.isin(keys, bought) & (articles >= 0),
                owner=related.owner + start,
                related=np.concatenate(columns, axis=1),
                related_chosen=np.isin((related.owner + start) * n_articles + related.articles, bought),
            )
        )
    whole = Choices(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})
    return whole.useful()


def _united(found: Int32, more: Int32) -> Int32:
    """``[n, c + len(more)]`` the articles ``found`` (``[n, c]``), then ``more``, each once; -1 instead of repeats."""
    again = (found[:, :, None] == more).any(axis=1)
    return np.concatenate([found, np.where(again, -1, more)], axis=1).astype(np.int32)
