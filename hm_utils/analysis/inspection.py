"""Small tables that the notebooks show of batches, towers, vectors and the index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.io.formats.style import Styler

from hm_utils.data.examples import Batch
from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw import RawTables
from hm_utils.data.schema import TABLES, Finding
from hm_utils.model.snapshot import encode_articles
from hm_utils.model.towers import DAYS_SINCE_EDGES, IDENTITY_SHARE, TwoTower
from hm_utils.retrieval.index import Index, ScannIndex
from hm_utils.retrieval.index_tuning import Choice
from hm_utils.serving.recommender import Recommender
from hm_utils.training.calibration import Calibration

NAME_COLUMNS = ["prod_name", "product_type_name", "colour_group_name"]


def rules_checked(tables: RawTables) -> pd.DataFrame:
    """Every rule that the raw tables are held to, and by how many rows it was broken.

    Columns ``table``, ``column``, ``rule``, ``action`` (what is done about a row that breaks it), ``rows``.
    """
    broken = {(found.table, found.column, found.rule): found.rows for found in tables.report}
    rules = []
    for table in TABLES:
        for column, kind in table.schema.columns.items():
            for check in kind.checks:
                rules.append((table.name, str(column), str(check.name), str(check.description)))
    listed = pd.DataFrame(rules, columns=["table", "column", "rule", "action"])
    listed["rows"] = [broken.pop(rule[:3], 0) for rule in rules]
    # What is found while a file is read has no check of its own: a short row, an id without its zero.
    others = [(*key, found.action, found.rows) for key in broken for found in tables.report if _key(found) == key]
    return pd.concat([listed, pd.DataFrame(others, columns=listed.columns)], ignore_index=True)


def _key(found: Finding) -> tuple[str, str, str]:
    return found.table, found.column, found.rule


def readable(frame: pd.DataFrame, text: Sequence[str], formats: dict[str, str] | None = None) -> Styler:
    """A table whose columns of ``text`` stand on the left, as words should; pandas puts all on the right."""
    places = [frame.columns.get_loc(name) for name in text]
    left: list[Any] = [{"selector": f"th.col_heading.col{place}", "props": "text-align: left"} for place in places]
    words = {"text-align": "left", "white-space": "normal"}
    styled = frame.style.set_properties(subset=list(text), **words).set_table_styles(left)
    as_they_are: dict[Any, Any] = dict(formats or {})
    return styled.format(as_they_are, thousands=",", na_rep="–")


def describe_batch(batch: Batch, log: PurchaseLog) -> pd.Series:
    """What is in one training batch, in plain words."""
    facts = {
        "examples": f"{len(batch.customers):,}",
        "catalogue as of": log.date(batch.day),
        "negatives for each example": f"{batch.negatives.shape[-1]:,}",
        "distinct articles encoded": f"{len(batch.items):,}",
        "purchases of history, mean": f"{batch.mask.sum(axis=1).mean():.1f}",
        "examples without history": f"{(~batch.mask.any(axis=1)).mean():.1%}",
        "examples that see part of their basket": f"{((batch.days_since == 0) & batch.mask).any(axis=1).mean():.1%}",
    }
    if batch.collisions is not None:
        facts["negatives masked as collisions"] = f"{batch.collisions.mean():.2%}"
    return pd.Series(facts, name="batch")


def count_parameters(model: TwoTower) -> pd.Series:
    """Number of weights by part of the model, of all pairs of towers together."""
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        tower, *place = name.split(".")
        part = ": ".join([tower, *place[2:3]]).replace("_", " ")  # tower.towers.0.part.…
        counts[part] = counts.get(part, 0) + parameter.numel()
    return pd.Series({**counts, "all": sum(counts.values())})


def recency_weights(model: TwoTower) -> pd.Series:
    """The share of the pool that a purchase of each age gets, in a history with one purchase of every age.

    Of an ensemble, the mean of its towers.
    """
    towers = [tower.recency_weight.weight.detach().squeeze(1) for tower in model.user_tower.towers]
    weights = torch.softmax(torch.stack(towers), dim=1).mean(dim=0)
    edges = [0, *DAYS_SINCE_EDGES]
    names = [_age(low, high - 1) for low, high in zip(edges, [*edges[1:], 0], strict=True)]
    return pd.Series(weights.numpy(), index=pd.Index(names, name="age of the purchase"), name="weight")


def _age(low: int, high: int) -> str:
    if high < 0:
        return f"{low} days or more"
    if low == high:
        return "this visit" if low == 0 else f"{low} day{'s' * (low > 1)}"
    return f"{low}–{high} days"


def neighbours(model: TwoTower, data: Preprocessed, state: CatalogueState, articles: int, k: int) -> pd.DataFrame:
    """The k articles of other products with the nearest tastes, for the best-sellers of the last training week."""
    as_of = data.training.as_of
    vectors = encode_articles(model.item_tower, data.training.categories, state.as_of(as_of))
    embeddings = vectors[:, : model.config.total_output_dim] / (1 - IDENTITY_SHARE) ** 0.5
    sales = data.log.sales_between(as_of - 7, as_of)
    products = data.articles["product_code"].to_numpy()
    tables = []
    for row in np.argsort(-sales, kind="stable")[:articles]:
        cosines = embeddings @ embeddings[row]
        cosines[products == products[row]] = -np.inf
        near = np.argsort(-cosines, kind="stable")[:k]
        table = data.articles.loc[near, NAME_COLUMNS].assign(cosine=cosines[near].round(3))
        table.index = pd.MultiIndex.from_product([[data.articles["prod_name"][row]], np.arange(1, k + 1)])
        tables.append(table)
    return pd.concat(tables).rename_axis(["best-seller", "neighbour"])


def index_summary(index: Index, choice: Choice) -> pd.Series:
    """How the index searches, and what was measured."""
    exact = choice.table[-1] if not isinstance(index, ScannIndex) else None
    facts = {"kind": index.kind, "articles": f"{len(index):,}", "recall@100 against exact": f"{choice.recall:.4f}"}
    if isinstance(index, ScannIndex):
        facts["leaves searched"] = f"{index.leaves_to_search:,} of {index.leaves:,}"
        facts["candidates scored exactly"] = f"{index.reorder:,}"
    elif exact is not None:
        facts["microseconds a query"] = f"{exact.microseconds:,.0f}"
    return pd.Series(facts, name="index")


def calibration_summary(calibration: Calibration) -> pd.Series:
    """The fitted weights in words, and how much better they explain the validation days."""
    scoring = calibration.scoring
    facts = {
        "weight of names, without repurchase": f"{calibration.towers.name:.2f}",
        "weight of log popularity": f"{scoring.popularity:.2f}",
        "the same, for newcomers": f"{scoring.popularity * scoring.cold_start:.2f}",
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
    """The last k purchases of a few customers beside the k articles that they would be shown."""
    log = data.log
    repeat_buyers = np.flatnonzero(np.diff(log.offsets) >= k)
    chosen = repeat_buyers if len(repeat_buyers) else np.flatnonzero(np.diff(log.offsets))
    rows = np.sort(np.random.default_rng(seed).choice(chosen, min(customers, len(chosen)), replace=False))
    articles, scores = recommender.recommend(recommender.customers(rows), k)
    names = data.articles["prod_name"] + ", " + data.articles["colour_group_name"]
    tables = []
    for row, ranked, score in zip(rows, articles, scores, strict=True):
        bought = log.article[log.offsets[row] : log.offsets[row + 1]][::-1][:k]
        table = pd.DataFrame(
            {
                "bought, latest first": pd.Series(names[bought].to_list()),
                "recommended": pd.Series(names[ranked[ranked >= 0]].to_list()),
                "score": pd.Series([f"{each:.2f}" for each in score[ranked >= 0]], dtype=str),
            }
        )
        table.index = pd.MultiIndex.from_product([[str(data.customers["customer_id"][row])[:8]], table.index + 1])
        tables.append(table)
    return pd.concat(tables).rename_axis(["customer", ""]).fillna("")
