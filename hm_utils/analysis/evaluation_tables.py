"""Tables of the index, the calibration and the published model (notebook 04)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hm_utils.analysis.data_tables import article_names
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.model.repurchase import TERMS, RepeatRates
from hm_utils.model.scoring import Repurchase, Scoring
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


def calibration_summary(calibration: Calibration) -> pd.DataFrame:
    """A row a weight: of an article bought before, of any other article, and of any article for a new customer."""
    scoring, repurchase = calibration.scoring, calibration.scoring.repurchase or Repurchase()
    rows = {
        "the towers' logit": (repurchase.taste, scoring.taste, scoring.cold_taste),
        "log popularity": (repurchase.popularity, scoring.popularity, scoring.cold_popularity),
    }
    for name, weight in zip(TERMS, repurchase.terms, strict=True):
        rows[TERMS[name]] = (np.nan, weight, np.nan) if name == "variant" else (weight, np.nan, np.nan)
    columns = ["bought before", "any other article", "any article, new customer"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def buying_again(scoring: Scoring, rates: RepeatRates, popularity: float) -> pd.DataFrame:
    """The odds of an article bought before against one that was not, by the days since the last purchase.

    Both articles are equally popular, and the towers' logit is 0 for both. The customer bought ten different articles,
    the repeat rate is the shop's, and repeated purchases are the usual gap apart.

    Args:
        scoring: with repurchase.
        popularity: log popularity of both articles.

    Returns:
        Index ``days since`` from 1 to 365, a column for each number of purchases; ``attrs["gap"]`` is the usual gap.
    """
    weights = scoring.repurchase or Repurchase()
    gap = float(np.exp(np.median(rates.log_gap)))
    days = np.geomspace(1, 365, 100)
    columns = {}
    for times in (1, 3, 9):
        recent = (1 / (days[:, None] + gap * np.arange(times))).sum(axis=1)
        terms = {
            "bought": 1.0,
            "recent": np.log(recent),
            "days_since": np.log(days),
            "times": np.log(times),
            "variety": np.log(10),
            "due": np.abs(np.log(days / gap)),
        }
        logit = sum(getattr(weights, name) * term for name, term in terms.items())
        difference = logit + (weights.popularity - scoring.popularity) * popularity
        columns["bought once" if times == 1 else f"bought on {times} days"] = np.exp(difference)
    table = pd.DataFrame(columns, index=pd.Index(days, name="days since"))
    table.attrs["gap"] = gap
    return table


def show_customers(recommender: Recommender, data: Preprocessed, customers: int, k: int, seed: int = 0) -> pd.DataFrame:
    """The last k purchases of a few random customers beside the k articles that they would be shown."""
    log = data.log
    counts = np.diff(log.offsets)
    candidates = np.flatnonzero(counts >= (k if (counts >= k).any() else 1))
    rows = np.sort(np.random.default_rng(seed).choice(candidates, min(customers, len(candidates)), replace=False))
    articles, scores = recommender.recommend(recommender.customers(rows), k)
    names = article_names(data.articles)
    tables = {}
    for row, ranked, score in zip(rows, articles, scores, strict=True):
        bought = log.article[log.offsets[row] : log.offsets[row + 1]][::-1][:k]
        columns = {
            "bought, latest first": pd.Series(names[bought].to_list()),
            "recommended": pd.Series(names[ranked[ranked >= 0]].to_list()),
            "score": pd.Series([f"{number:.2f}" for number in score[ranked >= 0]], dtype=str),
        }
        customer = str(data.customers["customer_id"][row])
        tables[customer[:8] if data.manifest.get("hm_ids", True) else customer] = pd.DataFrame(columns).rename(
            index=lambda row: row + 1
        )
    return pd.concat(tables, names=["customer", ""]).fillna("")
