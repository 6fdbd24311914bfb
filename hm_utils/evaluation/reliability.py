"""Reliability of scores as probabilities: predicted probability against observed frequency (notebook 04)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logsumexp, softmax

from hm_utils.arrays import Int32, Int64
from hm_utils.data.purchases import Baskets
from hm_utils.model.scoring import Scoring
from hm_utils.model.snapshot import Snapshot

Float = npt.NDArray[np.floating]

PAIRS = 50_000_000  # pairs of a customer and an article to score
MIN_CUSTOMERS = 300
CHUNK = 128  # customers at a time
PER_DECADE = 3  # bins of predicted probability
LOWEST = -9  # decades below 1; less likely pairs fall into the last bin
TEMPERATURES = np.geomspace(0.5, 4.0, 19)  # the candidates of best_temperature
MIN_PURCHASES = 20  # a bin with fewer has too uncertain a frequency


def best_temperature(snapshot: Snapshot, scoring: Scoring, truth: Baskets, seed: int = 0) -> float:
    """The one of :data:`TEMPERATURES` whose softmax over the whole catalogue has the lowest log loss on the purchases.

    Guo et al., ICML 2017. ``calibrate`` fits a choice among a few hundred candidates a customer, not the catalogue.
    """
    losses = np.zeros(len(TEMPERATURES))
    for scores, owner, bought, share in _scores(snapshot, scoring, truth, seed):
        for place, temperature in enumerate(TEMPERATURES):
            log_sum = logsumexp(temperature * scores, axis=1)
            losses[place] += ((log_sum[owner] - temperature * scores[owner, bought]) * share).sum()
    return float(TEMPERATURES[losses.argmin()])


def reliability(
    snapshot: Snapshot, scoring: Scoring, temperatures: dict[str, float], truth: Baskets, seed: int = 0
) -> pd.DataFrame:
    """Predicted probability against observed frequency, over the whole catalogue, for a part of the customers.

    The prediction is a softmax over the catalogue of temperature x score: the probability that a purchase of the
    customer is this article. The observed frequency is the article's share of the customer's purchases.

    Args:
        temperatures: by the name of the curve; 1 keeps the scores.
        truth: the purchases from the day of the snapshot on.

    Returns:
        Columns ``curve``, ``predicted`` and ``observed`` (means of a bin), ``purchases`` (expected in it).
    """
    bins = -LOWEST * PER_DECADE + 1
    totals = {name: np.zeros((3, bins)) for name in temperatures}  # pairs, sum of predictions, sum of frequencies
    for scores, owner, bought, share in _scores(snapshot, scoring, truth, seed):
        for name, temperature in temperatures.items():
            predicted = softmax(temperature * scores, axis=1)
            bin_of = _bin(predicted)
            totals[name][0] += np.bincount(bin_of.ravel(), minlength=bins)
            totals[name][1] += np.bincount(bin_of.ravel(), weights=predicted.ravel(), minlength=bins)
            totals[name][2] += np.bincount(bin_of[owner, bought], weights=share, minlength=bins)
    parts = []
    for name, (pairs, predicted_sum, observed_sum) in totals.items():
        keep = (pairs > 0) & (observed_sum >= MIN_PURCHASES)
        curve = {
            "curve": name,
            "predicted": predicted_sum[keep] / pairs[keep],
            "observed": observed_sum[keep] / pairs[keep],
            "purchases": predicted_sum[keep],
        }
        parts.append(pd.DataFrame(curve).sort_values("predicted"))
    return pd.concat(parts, ignore_index=True)


def mean_ratio(curve: pd.DataFrame) -> float:
    """Mean factor between prediction and frequency: geometric, bins weighted by purchases; 1 is perfect."""
    if curve.empty:
        return float("nan")
    off = np.abs(np.log(curve["predicted"] / curve["observed"]))
    return float(np.exp(np.average(off, weights=curve["purchases"])))


def _scores(
    snapshot: Snapshot, scoring: Scoring, truth: Baskets, seed: int
) -> Iterator[tuple[Float, Int64, Int32, Float]]:
    """Chunks of a sample of the customers.

    Yields:
        Scores ``[n, n_articles]``; then for each purchase the customer's row in them, the article, and 1 / the number
        of articles that the customer bought.

    Raises:
        ValueError: if the towers diverged.
    """
    truth = truth.sample(max(MIN_CUSTOMERS, PAIRS // snapshot.log.n_articles), seed)
    # Cold-start weights may be those of the best-sellers, whose scores have a scale of their own.
    scoring = replace(scoring, cold_taste=scoring.taste, cold_popularity=scoring.popularity)
    scorer = snapshot.scorer(scoring)
    for start in range(0, len(truth), CHUNK):
        places = np.arange(start, min(start + CHUNK, len(truth)))
        customers = truth.customers[places]
        scores = scorer.scores_of_all(snapshot.customers(customers), snapshot.relatives(customers))
        if not np.isfinite(scores).all():
            raise ValueError("the scores are no numbers: the towers diverged, train again with a lower learning_rate")
        owner = np.repeat(places - start, truth.sizes[places])
        bought = truth.articles[truth.offsets[places[0]] : truth.offsets[places[-1] + 1]]
        yield scores, owner, bought, 1 / truth.sizes[places][owner]


def _bin(predicted: Float) -> Int64:
    decades = np.log10(np.maximum(predicted, 10.0**LOWEST))
    return np.minimum(-decades * PER_DECADE, -LOWEST * PER_DECADE).astype(np.int64)
