"""Is a score a probability? What the model predicts against what happens (notebook 04)."""

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

PAIRS = 50_000_000  # customers x articles that are looked at
MIN_CUSTOMERS = 300
CHUNK = 128  # customers at a time
PER_DECADE = 3  # bins of predicted probability
LOWEST = -9  # decades below 1; less likely ones fall into the last bin
TEMPERATURES = np.linspace(0.5, 1.5, 11)  # that best_temperature tries
MIN_PURCHASES = 20  # of a bin, for its frequency to say anything


def best_temperature(snapshot: Snapshot, scoring: Scoring, truth: Baskets, seed: int = 0) -> float:
    """The temperature, of :data:`TEMPERATURES`, with which a softmax over the whole catalogue explains best what was
    bought (Guo et al., ICML 2017). ``calibrate``'s own is for its candidates, a few hundred articles a customer."""
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

    The prediction is a softmax over the catalogue of temperature x score: the probability that something which the
    customer buys is this article. The frequency is the article's share of what they bought.

    Args:
        temperatures: by the name of the curve; 1 takes the learned scale as it is.
        truth: who bought what, from the day of the snapshot on.

    Returns:
        Columns ``curve``, ``predicted``, ``observed`` (means of a bin), ``purchases`` (expected in it).
    """
    bins = -LOWEST * PER_DECADE + 1
    totals = {name: np.zeros((3, bins)) for name in temperatures}  # pairs, sum of predictions, sum of frequencies
    for scores, owner, bought, share in _scores(snapshot, scoring, truth, seed):
        for name, temperature in temperatures.items():
            predicted = softmax(temperature * scores, axis=1)
            of_bin = _bin(predicted)
            totals[name][0] += np.bincount(of_bin.ravel(), minlength=bins)
            totals[name][1] += np.bincount(of_bin.ravel(), weights=predicted.ravel(), minlength=bins)
            totals[name][2] += np.bincount(of_bin[owner, bought], weights=share, minlength=bins)
    parts = []
    for name, (pairs, predicted_sum, observed_sum) in totals.items():
        keep = (pairs > 0) & (observed_sum >= MIN_PURCHASES)
        parts.append(
            pd.DataFrame(
                {
                    "curve": name,
                    "predicted": predicted_sum[keep] / pairs[keep],
                    "observed": observed_sum[keep] / pairs[keep],
                    "purchases": predicted_sum[keep],
                }
            ).sort_values("predicted")
        )
    return pd.concat(parts, ignore_index=True)


def mean_ratio(curve: pd.DataFrame) -> float:
    """How many times the predictions are off, a geometric mean over bins weighted by their purchases: 1 is perfect."""
    if curve.empty:
        return float("nan")
    off = np.abs(np.log(curve["predicted"] / curve["observed"]))
    return float(np.exp(np.average(off, weights=curve["purchases"])))


def _scores(
    snapshot: Snapshot, scoring: Scoring, truth: Baskets, seed: int
) -> Iterator[tuple[Float, Int64, Int32, Float]]:
    """For some customers at a time: their scores ``[n, n_articles]``, and of each purchase the customer's place among
    them, the article, and its share of what the customer bought."""
    truth = truth.sample(max(MIN_CUSTOMERS, PAIRS // snapshot.log.n_articles), seed)
    # What popularity is to newcomers was fitted for their order, on a scale of its own, and not for probabilities.
    scoring = replace(scoring, cold_start=1.0)
    scorer = snapshot.scorer(scoring)
    for start in range(0, len(truth), CHUNK):
        places = np.arange(start, min(start + CHUNK, len(truth)))
        customers = truth.customers[places]
        scores = scorer.scores_of_all(snapshot.queries(customers, scorer), snapshot.relatives(customers, scorer))
        owner = np.repeat(places - start, truth.sizes[places])
        bought = truth.articles[truth.offsets[places[0]] : truth.offsets[places[-1] + 1]]
        yield scores, owner, bought, 1 / truth.sizes[places][owner]


def _bin(predicted: Float) -> npt.NDArray[np.int64]:
    decades = np.log10(np.maximum(predicted, 10.0**LOWEST))
    return np.minimum(-decades * PER_DECADE, -LOWEST * PER_DECADE).astype(np.int64)
