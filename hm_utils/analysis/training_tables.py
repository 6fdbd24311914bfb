"""Tables of a batch, the model's weights and its nearest neighbours (notebook 03)."""

from __future__ import annotations

import inspect
import re
import textwrap

import numpy as np
import pandas as pd
import torch

from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.data.purchases import PurchaseLog
from hm_utils.model.encoding import encode_articles
from hm_utils.model.towers import DAYS_SINCE_EDGES, TwoTower
from hm_utils.training.batches import Batch
from hm_utils.training.negatives import InBatchNegatives

DOCSTRING = re.compile(r'^ *""".*?"""\n', re.DOTALL | re.MULTILINE)
NAME_COLUMNS = ["prod_name", "product_type_name", "colour_group_name"]


def describe_batch(batch: Batch, log: PurchaseLog) -> pd.Series:
    """The size and content of one training batch."""
    histories, negatives = batch.histories, batch.negatives
    from_basket = ((histories.days_since == 0) & histories.mask).any(axis=1)
    facts = {
        "examples": f"{len(batch.customers):,}",
        "catalogue as of": log.date(batch.day),
        "negatives for each example": f"{negatives.places.shape[-1]:,}",
        "distinct articles encoded": f"{len(batch.items):,}",
        "purchases of history, mean": f"{histories.mask.sum(axis=1).mean():.1f}",
        "examples without history": f"{(~histories.mask.any(axis=1)).mean():.1%}",
        "examples that see part of their basket": f"{from_basket.mean():.1%}",
    }
    if isinstance(negatives, InBatchNegatives):
        facts["negatives masked as collisions"] = f"{negatives.collisions.mean():.2%}"
    return pd.Series(facts, name="batch")


def count_parameters(model: TwoTower) -> pd.Series:
    """The number of weights in each part of the model, summed over the ensemble."""
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        tower, *place = name.split(".")
        part = ": ".join([tower, *place[2:3]]).replace("_", " ")  # tower.towers.0.part.…
        counts[part] = counts.get(part, 0) + parameter.numel()
    return pd.Series({**counts, "all": sum(counts.values())})


def tower_code(model: TwoTower) -> str:
    """The lines that encode an article and a customer, of the classes of this model's towers, as Markdown.

    Raises:
        OSError: the source is not to be had, as of a class that was typed into a notebook.
    """
    code = []
    for ensemble in (model.item_tower, model.user_tower):
        tower = type(ensemble.towers[0])
        lines = DOCSTRING.sub("", textwrap.dedent(inspect.getsource(tower.forward)), count=1)
        code.append(f"# {tower.__name__}\n{lines}")
    return "```python\n" + "\n".join(code) + "```"


def recency_weights(model: TwoTower) -> pd.Series:
    """The pooling weight of a purchase by its age, in a history with one purchase of every age.

    For an ensemble, the mean over its towers.

    Raises:
        ValueError: the user tower is one of another class, which may pool in another way.
    """
    if model.config.user_tower:
        raise ValueError(f"{model.config.user_tower} may have no weights by age")
    towers = [tower.recency_weight.weight.detach().squeeze(1) for tower in model.user_tower.towers]
    weights = torch.softmax(torch.stack(towers), dim=1).mean(dim=0)
    edges = [0, *DAYS_SINCE_EDGES]
    ages = [_age(low, high - 1) for low, high in zip(edges, [*edges[1:], 0], strict=True)]
    return pd.Series(weights.numpy(), index=pd.Index(ages, name="age of the purchase"), name="weight")


def _age(low: int, high: int) -> str:
    if high < 0:
        return f"{low} days or more"
    if low == high:
        return "this visit" if low == 0 else f"{low} day{'s' * (low > 1)}"
    return f"{low}–{high} days"


def neighbours(model: TwoTower, data: Preprocessed, state: CatalogueState, articles: int, k: int) -> pd.DataFrame:
    """The k nearest articles of other products, by embedding, for the best-sellers of the last training week."""
    as_of = data.training.as_of
    training = data.training
    vectors = encode_articles(
        model.item_tower, training.categories, state.as_of(as_of), features=training.side.articles
    )
    sales = data.log.sales_between(as_of - 7, as_of)
    products = data.articles["product_code"].to_numpy()
    names = data.articles["prod_name"].astype("str").fillna(data.articles["article_id"].astype("str"))
    tables = {}
    for row in np.argsort(-sales, kind="stable")[:articles]:
        cosines = vectors @ vectors[row]
        cosines[products == products[row]] = cosines[row] = -np.inf
        near = np.argsort(-cosines, kind="stable")[:k]
        table = data.articles.loc[near, NAME_COLUMNS].assign(prod_name=names[near], cosine=cosines[near].round(3))
        tables[row] = table.set_index(pd.RangeIndex(1, len(near) + 1))
    frame = pd.concat(tables, names=["best-seller", "neighbour"])
    return frame.rename(index=names, level="best-seller")
