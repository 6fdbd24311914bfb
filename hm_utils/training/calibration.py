"""The weights of a score beside the towers', fitted on the validation days."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import Bounds, minimize
from scipy.special import logsumexp
from tqdm.auto import tqdm

from hm_utils.arrays import Bool, Float32, Float64, Int32
from hm_utils.data.popularity import LOGIT_ADJUSTMENT
from hm_utils.data.purchases import Baskets
from hm_utils.evaluation import metrics
from hm_utils.model.scorer import Scorer, Search
from hm_utils.model.scoring import TOWERS_ALONE, Scoring
from hm_utils.model.snapshot import Snapshot

CHUNK = 2_048  # customers

CANDIDATES = 300  # articles of the two-tower's ranking, beside the customer's relatives
# The terms: scale x cosine, log popularity, bought before, log days since, variant. At these weights the score is the
# two-tower as it was trained.
START = np.array([1.0, LOGIT_ADJUSTMENT, 0.0, 0.0, 0.0])
LOWEST = np.array([0.05, 0.0, -np.inf, -np.inf, -np.inf])  # a temperature of 0 would make the others infinite
DOT_PRODUCT = [0, 1]
WITH_REPURCHASE = [0, 1, 2, 3, 4]
RIDGE = 1.0  # pulls towards the two-tower alone, as strongly as one customer; it matters on small data


@dataclass(frozen=True)
class Calibration:
    """The fitted weights and their data.

    Attributes:
        scoring: all weights, fitted on customers who had bought before.
        towers: weights of the dot product alone, fitted on all customers without the terms of repurchase. Both use a
            separate popularity weight for cold-start customers, fitted with every history hidden.
        temperature: factor that turns the towers' logits into probabilities; below 1, the towers are overconfident.
            It divides the other weights, so that scores keep the towers' scale.
        customers: number of customers with a history and a purchased article among the candidates.
        loss_before, loss_after: mean negative log-likelihood a customer, of the two-tower alone and fitted.
    """

    scoring: Scoring
    towers: Scoring
    temperature: float
    customers: int
    loss_before: float
    loss_after: float


def calibrate(snapshot: Snapshot, truth: Baskets, max_customers: int = 20_000, seed: int = 0) -> Calibration:
    """Fit the weights of popularity and repurchase by a conditional logit (McFadden 1974).

    The purchased articles are choices out of the customer's candidates: the first of the two-tower's ranking, and the
    articles with a repurchase term. A few thousand customers suffice for a handful of weights.

    Args:
        snapshot: as of the first day of ``truth``, of a model that was not trained on it.
        truth: the purchases of the validation days. The weights of the dot product alone are fitted on all buyers.
            The weights with repurchase are fitted on buyers with a history, if any: the others have no such terms, and
            many of them would determine popularity and temperature. The popularity weight for cold-start customers is
            fitted on all buyers with their histories hidden.
        max_customers: a random sample of the buyers is used where there are more.
    """
    truth = truth.sample(max_customers, seed)
    if not len(truth):
        return Calibration(TOWERS_ALONE, TOWERS_ALONE, 1.0, 0, 0.0, 0.0)
    scorer = snapshot.scorer(TOWERS_ALONE)
    search = snapshot.search(scorer.vectors)
    customers, features, chosen = _choices(snapshot, truth, scorer, search)
    if not len(customers):
        return Calibration(TOWERS_ALONE, TOWERS_ALONE, 1.0, 0, 0.0, 0.0)
    towers = _scoring(_fit(features, chosen, DOT_PRODUCT))
    returning = snapshot.log.has_history(customers, snapshot.histories_before)
    features, chosen = features[returning], chosen[returning]
    weights = _fit(features, chosen, WITH_REPURCHASE)
    _, of_cold_start, chosen_in_cold_start = _choices(snapshot.without_histories(), truth, scorer, search)
    cold_start = _scoring(_fit(of_cold_start, chosen_in_cold_start, DOT_PRODUCT)).popularity
    return Calibration(
        scoring=_with_cold_start(_scoring(weights), cold_start),
        towers=_with_cold_start(towers, cold_start),
        temperature=float(weights[0]),
        customers=len(chosen),
        loss_before=_negative_log_likelihood(START, features, chosen)[0],
        loss_after=_negative_log_likelihood(weights, features, chosen)[0],
    )


def _scoring(weights: Float64) -> Scoring:
    """The temperature divides the other weights, so that scores keep the towers' scale."""
    temperature, *terms = weights.tolist()
    return Scoring(*(term / temperature for term in terms))


def _with_cold_start(scoring: Scoring, popularity: float) -> Scoring:
    """The cold-start popularity weight, as a multiple of the common one; unchanged unless both are positive."""
    possible = scoring.popularity > 0 and popularity > 0
    return replace(scoring, cold_start=popularity / scoring.popularity) if possible else scoring


def _choices(snapshot: Snapshot, truth: Baskets, scorer: Scorer, search: Search) -> tuple[Int32, Float32, Bool]:
    """The customers who bought one of their candidates ``[n]``, the candidates' features ``[n, c, 5]``, and whether
    each candidate was chosen ``[n, c]``."""
    starts = tqdm(range(0, len(truth), CHUNK), "calibrating", file=sys.stdout, delay=2, leave=False)
    parts = [_candidates(snapshot, truth.customers[start : start + CHUNK], scorer, search) for start in starts]
    width = max(candidates.shape[1] for candidates, _ in parts)
    candidates, features = (
        np.concatenate(arrays) for arrays in zip(*(_padded(*part, width) for part in parts), strict=True)
    )
    chosen = metrics.hit_matrix(candidates, truth)
    some = chosen.any(axis=1)
    return truth.customers[some], features[some], chosen[some]


def _candidates(snapshot: Snapshot, customers: Int32, scorer: Scorer, search: Search) -> tuple[Int32, Float32]:
    """``[n, c]`` each customer's candidates, padded with -1, and their features ``[n, c, 5]``.

    The features are scale x cosine (-inf for padding), log popularity, bought before, log days since, variant.
    """
    histories = snapshot.histories(customers, snapshot.history_length)
    queries = scorer.queries(snapshot.encoded(customers, histories), histories)
    related = snapshot.relatives(customers, scorer)
    depth = min(CANDIDATES, len(scorer.vectors))
    articles, scores = scorer.rank(search, queries, related, depth)
    scores_of_related = scorer.dot_product_scores(queries, related.articles)
    found_again = (articles[:, :, None] == related.articles[:, None, :]).any(axis=2)
    candidates = np.concatenate([np.where(found_again, -1, articles), related.articles], axis=1)
    popularity = np.where(candidates >= 0, snapshot.popularity[candidates], 0)
    towers = np.concatenate([scores, scores_of_related], axis=1) - np.float32(TOWERS_ALONE.popularity) * popularity
    cosine = np.where(candidates >= 0, towers, -np.inf)
    none = np.zeros_like(scores)
    terms = (np.concatenate([none, term], axis=1) for term in (related.bought, related.log_days, related.variant))
    return candidates, np.stack([cosine, popularity, *terms], axis=2).astype(np.float32)


def _padded(candidates: Int32, features: Float32, width: int) -> tuple[Int32, Float32]:
    """The same, padded to ``width`` candidates: customers have different numbers of relatives."""
    missing = (0, width - candidates.shape[1])
    padded = np.pad(features, ((0, 0), missing, (0, 0)))
    padded[:, candidates.shape[1] :, 0] = -np.inf
    return np.pad(candidates, ((0, 0), missing), constant_values=-1), padded


def _fit(features: Float32, chosen: Bool, terms: list[int]) -> Float64:
    """The weights of these terms that maximise the penalised likelihood; the other weights are 0."""
    ridge, start, some = RIDGE / len(features), START[terms], features[:, :, terms]

    def loss(weights: Float64) -> tuple[float, Float64]:
        value, gradient = _negative_log_likelihood(weights, some, chosen)
        return value + ridge * float(((weights - start) ** 2).sum()), gradient + 2 * ridge * (weights - start)

    weights = np.zeros(len(START))
    weights[terms] = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=Bounds(LOWEST[terms], np.inf)).x
    return weights


def _negative_log_likelihood(weights: Float64, features: Float32, chosen: Bool) -> tuple[float, Float64]:
    """Mean over customers of -log P(an article they bought), and its gradient."""
    logits = np.where(np.isfinite(features[:, :, 0]), np.nan_to_num(features, neginf=0) @ weights, -np.inf)
    log_p = logits - logsumexp(logits, axis=1, keepdims=True)
    share = chosen / chosen.sum(axis=1, keepdims=True)  # several articles bought share the customer's weight
    value = -np.where(chosen, log_p, 0)[chosen] @ share[chosen] / len(features)
    error = (np.exp(log_p) - share)[:, :, None] * np.nan_to_num(features, neginf=0)
    return float(value), error.sum(axis=(0, 1), dtype=np.float64) / len(features)
