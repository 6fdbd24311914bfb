"""Tables of the index, the calibration and the published model (notebook 04)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hm_utils.data.preprocessing import Preprocessed
from hm_utils.retrieval.index import Index, ScannIndex
from hm_utils.retrieval.index_tuning import Choice
from hm_utils.serving.recommender import Recommender
from hm_utils.training.calibration import Calibration


def index_summary(index: Index, choice: Choice) -> pd.Series:
    """The kind and size of the index, and the recall or time measured when it was tuned."""
    facts = {"kind": index.kind, "articles": f"{len(index):,}", "recall@100 against exact": f"{choice.recall:.4f}"}
    if isinstance(index, ScannIndex):
        facts["leaves searched"] = f"{index.leaves_to_search:,} of {index.leaves:,}"
        facts["candidates scored exactly"] = f"{index.reorder:,}"
    else:
        facts["microseconds a query"] = f"{choice.table[-1].microseconds:,.0f}"
    return pd.Series(facts, name="index")


def calibration_summary(calibration: Calibration) -> pd.Series:
    """The fitted weights, and the likelihood of the validation days before and after the fit."""
    scoring = calibration.scoring
    facts = {
        "weight of log popularity": f"{scoring.popularity:.2f}",
        "the same, for cold-start customers": f"{scoring.popularity * scoring.cold_start:.2f}",
        "for an article bought before": f"{scoring.bought:+.2f}",
        "for another article of its product": f"{scoring.variant:+.2f}",
        "for each time the days since double": f"{scoring.log_days * np.log(2):+.2f}",
        "temperature of the towers": f"{calibration.temperature:.2f}",
        "customers": f"{calibration.customers:,}",
        "negative log-likelihood, before": f"{calibration.loss_before:.3f}",
        "negative log-likelihood, fitted": f"{calibration.loss_after:.3f}",
    }
    return pd.Series(facts, name="calibration")


def show_customers(recommender: Recommender, data: Preprocessed, customers: int, k: int, seed: int = 0) -> pd.DataFrame:
    """The last k purchases of a few random customers beside the k articles that they would be shown."""
    log = data.log
    counts = np.diff(log.offsets)
    candidates = np.flatnonzero(counts >= (k if (counts >= k).any() else 1))
    rows = np.sort(np.random.default_rng(seed).choice(candidates, min(customers, len(candidates)), replace=False))
    articles, scores = recommender.recommend(recommender.customers(rows), k)
    names = data.articles["prod_name"] + ", " + data.articles["colour_group_name"]
    tables = {}
    for row, ranked, score in zip(rows, articles, scores, strict=True):
        bought = log.article[log.offsets[row] : log.offsets[row + 1]][::-1][:k]
        columns = {
            "bought, latest first": pd.Series(names[bought].to_list()),
            "recommended": pd.Series(names[ranked[ranked >= 0]].to_list()),
            "score": pd.Series([f"{number:.2f}" for number in score[ranked >= 0]], dtype=str),
        }
        tables[str(data.customers["customer_id"][row])[:8]] = pd.DataFrame(columns).rename(index=lambda row: row + 1)
    return pd.concat(tables, names=["customer", ""]).fillna("")
