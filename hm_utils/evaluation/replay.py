"""Was it right? Lists of the held-out model beside what some test customers then bought, kept for the demo page.

The published model has been refitted on the test days, so asked about them it would remember rather than
predict. What is stored are the lists that the evaluation scored.

The customers are drawn uniformly at random among all who bought in the test days, whatever the model did for them:
the shares of hits and misses are, up to the draw, those of the evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hm_utils.arrays import Int32
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.evaluation.metrics import average_precision, hit_matrix

FILE = "replay.json"
MOST = 300  # customers
SHOWN = 12  # of each list: what MAP@12 looks at
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
    """Plain values, fit for JSON.

    Args:
        rankings: the lists to lay side by side by name, ``[n, 12 or more]`` article rows, -1 where a list is short;
            row i is for ``truth.customers[i]``.
        truth: what was bought in the test days.
        log: tells what was bought before.
        as_of: first test day.
        customer_ids: of every customer row; ``article_ids`` of every article row.
        seed: of the draw.
        most: customers that are drawn; all of them if there are no more.
    """
    customers, articles = customer_ids.to_numpy(), article_ids.to_numpy(dtype="U10")
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


def write_replay(folder: Path, found: Mapping[str, Any]) -> None:
    (folder / FILE).write_text(json.dumps(found, separators=(",", ":"), allow_nan=False))


def read_replay(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / FILE).read_text())
    return found
