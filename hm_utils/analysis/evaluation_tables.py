"""Tables of the rankings, the index and the calibration (notebook 04)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hm_utils.evaluation.comparison import Evaluation, formatted
from hm_utils.evaluation.decision import PUBLISHED
from hm_utils.model.repurchase import TERMS, RepeatRates
from hm_utils.model.scoring import Repurchase, Scoring
from hm_utils.retrieval.index import Index, ScannIndex
from hm_utils.retrieval.index_tuning import Choice
from hm_utils.training.calibration import Calibration


def rankings_table(evaluation: Evaluation, rival: str) -> pd.DataFrame:
    """All rankings in one table, the best by MAP@12 first, as text.

    Columns: MAP@12 and recall@100 with their intervals, the published ranking minus this one by both metrics, paired by
    customer (bold where the interval excludes 0), and with an oracle its share of the oracle's MAP@12.

    Args:
        rival: the best baseline, which is marked.
    """
    metrics = ["MAP@12", "recall@100"]
    table = evaluation.table().sort_values(("MAP@12", "mean"), ascending=False, kind="stable")
    gain = -evaluation.against(PUBLISHED)[metrics].rename(columns={"low": "high", "high": "low"})
    shown = formatted(table[metrics])
    ours_minus = formatted(gain.reindex(table.index), signed=True)
    for metric in metrics:
        shown[f"published − this, {metric}"] = ours_minus[metric]
    if "oracle" in table.index:
        shares = evaluation.share_of("oracle")["MAP@12", "mean"]
        shown["of the oracle's MAP@12"] = shares.map("{:.0%}".format)
    return shown.rename(index={rival: f"{rival} (best baseline)"})


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
