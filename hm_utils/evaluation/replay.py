"""Rankings of the held-out model beside the purchases that followed, for the demo page.

The published model was refitted on the test days, so for these days it would remember, not predict. Therefore the
rankings that the evaluation scored are stored. The customers are drawn uniformly from all buyers of the test days,
regardless of hits, so the shares of hits and misses are those of the evaluation, up to chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hm_utils.arrays import Int32
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.evaluation.metrics import average_precision, hit_matrix

MOST = 300  # customers
SHOWN = 12  # of each ranking: those that MAP@12 counts
BEFORE = 20  # latest purchases before the test


def replay(
    rankings: Mapping[str, Int32],
    truth: Baskets,
    log: PurchaseLog,
    as_of: int,
    customer_ids: pd.Series,
    article_ids: pd.Series,
    seed: int = 0,
    most: int = MOST,
) -> dict[str, Any]:
    """Rankings and purchases of random test customers, as plain values for a JSON file.

    Args:
        rankings: by name, ``[n, 12 or more]`` article rows, -1 where a ranking is short; row i is for
            ``truth.customers[i]``.
        truth: the purchases of the test days.
        log: the source of the purchases before them.
        as_of: first test day.
        customer_ids: ``[all customers]`` by customer row.
        article_ids: ``[n_articles]`` by article row.
        seed: seeds the draw.
        most: number of customers to draw; all of them if there are no more.
    """
    customers, articles = customer_ids.to_numpy(), article_ids.to_numpy(dtype=np.str_)
    places = np.arange(len(truth))
    if len(truth) > most:
        places = np.random.default_rng(seed).choice(len(truth), most, replace=False)  # in the order drawn
    precision = {
        name: average_precision(hit_matrix(ranked[:, :SHOWN], truth), truth.sizes) for name, ranked in rankings.items()
    }
    ends = log.history_ends(truth.customers, as_of)

    def one(place: int) -> dict[str, Any]:
        start, end = int(log.offsets[truth.customers[place]]), int(ends[place])
        latest = range(max(start, end - BEFORE), end)
        bought = truth.articles[truth.offsets[place] : truth.offsets[place + 1]]
        return {
            "customer_id": str(customers[truth.customers[place]]),
            "before": [
                {"article_id": str(articles[log.article[row]]), "date": log.date(int(log.day[row]))}
                for row in reversed(latest)
            ],
            "purchases_before": end - start,
            "bought": articles[bought].tolist(),
            "lists": {
                name: articles[ranked[place, :SHOWN][ranked[place, :SHOWN] >= 0]].tolist()
                for name, ranked in rankings.items()
            },
            "average_precision": {name: float(values[place]) for name, values in precision.items()},
        }

    return {
        "first_day": log.date(as_of),
        "last_day": log.date(log.last_day),
        "drawn_from": len(truth),
        "seed": seed,
        "rankings": list(rankings),
        "customers": [one(int(place)) for place in places],
    }
