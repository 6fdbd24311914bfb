"""A model whose answers are tables with names, in place of row numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from hm_utils.arrays import Int32
from hm_utils.files import resolve
from hm_utils.model.tower_classes import tower_name
from hm_utils.serving.catalogue import FILTERS
from hm_utils.serving.recommender import Recommender
from hm_utils.serving.user_context import UserContext

SHOWN = ("name", "product_type", "colour_group", "price")  # of an article's details
Filters = str | Sequence[str]  # the wanted value of a filter, or several


def open_model(model: str | Path = "artifacts/model", *towers: str | type[nn.Module]) -> TableRecommender:
    """The published model in a folder; a relative path starts at the repository's root.

    Args:
        towers: tower classes of one's own that the model may use.

    Raises:
        BundleError: there is no model, or it must not be served.
        TowerError: there is no such class.
    """
    for tower in towers:
        tower_name(tower)
    return TableRecommender(Recommender.load(resolve(model)))


class TableRecommender:
    """A loaded model; ``recommender`` is the one that the service uses.

    Every method that takes ids raises ValueError for an unknown one.
    """

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender

    def for_customer(self, customer_id: str, k: int = 12, **filters: Filters) -> pd.DataFrame:
        """The best ``k`` articles for a customer, by their purchases and attributes.

        Args:
            filters: values of :meth:`filters`, such as ``product_type="Dress"``.

        Returns:
            A row a rank: article_id, name, product_type, colour_group, price, score, and because: the purchases
            that lift the article most.
        """
        (row,) = self.recommender.customer_rows([str(customer_id)])
        if row < 0:
            known = self.recommender.customer_ids[0].decode()
            raise ValueError(f"there is no customer {str(customer_id)!r:.100}; an id is a text such as {known!r}")
        return self._recommended(self.recommender.customers(np.array([row])), k, filters)

    def for_history(
        self,
        article_ids: Sequence[str],
        k: int = 12,
        days_ago: Sequence[int] | None = None,
        attributes: Mapping[str, Any] | None = None,
        **filters: Filters,
    ) -> pd.DataFrame:
        """:meth:`for_customer` of a customer who does not exist.

        Args:
            article_ids: bought or viewed, the newest last.
            days_ago: days since each of them; none: all of them now.
            attributes: columns of the customers' table, such as ``{"age": 30.0}``; the others are missing.
        """
        rows = self._rows(article_ids)
        days = list(days_ago) if days_ago is not None else [0] * len(rows)
        if len(days) != len(rows):
            raise ValueError(f"days_ago must have a number for each of the {len(rows)} articles, not {len(days)}")
        return self._recommended(self.recommender.visitor(None, attributes, rows, days), k, filters)

    def similar(self, article_id: str, k: int = 12) -> pd.DataFrame:
        """The articles with the closest embeddings, and their cosines."""
        rows, cosines = self.recommender.similar(self._rows([article_id])[0], _positive(k))
        return self._articles(rows).assign(cosine=cosines)

    def embeddings(self) -> pd.DataFrame:
        """The embedding of every article: a row an ``article_id``, unit vectors."""
        ids = pd.Index(self.recommender.article_ids, name="article_id")
        return pd.DataFrame(np.asarray(self.recommender.article_vectors), index=ids)

    def customers(self, n: int = 10, seed: int = 0) -> pd.DataFrame:
        """Some customers with purchases, drawn at random: their attributes and number of purchases, by id."""
        counts = np.diff(self.recommender.log.offsets)
        buyers = np.flatnonzero(counts)
        rows = np.sort(np.random.default_rng(seed).choice(buyers, min(_positive(n), len(buyers)), replace=False))
        ids = pd.Index([self.recommender.customer_ids[row].decode() for row in rows], name="customer_id")
        details = pd.DataFrame([self.recommender.customer_details(row) for row in rows], index=ids)
        return details.assign(purchases=counts[rows])

    def search(self, words: str, k: int = 12) -> pd.DataFrame:
        """The best-selling articles whose name, type, colour, department or section has all of the words."""
        return self._articles(self.recommender.catalogue.search(words, _positive(k)))

    def filters(self) -> dict[str, list[str]]:
        """The filters and their values."""
        return {name: self.recommender.catalogue.values(name) for name in FILTERS}

    def _recommended(self, user: UserContext, k: int, filters: Mapping[str, Filters]) -> pd.DataFrame:
        if unknown := sorted(set(filters) - set(FILTERS)):
            raise ValueError(f"there is no filter {', '.join(unknown)}; there are {', '.join(FILTERS)}")
        wanted = {name: [value] if isinstance(value, str) else list(value) for name, value in filters.items()}
        allowed = self.recommender.catalogue.matching(wanted) if wanted else None
        (rows,), (scores,) = self.recommender.recommend(user, _positive(k), allowed=allowed)
        rows, scores = rows[rows >= 0], scores[rows >= 0]
        reasons = self.recommender.reasons(user, rows)
        names = [", ".join(dict.fromkeys(self._label(row) for row in each)) for each in reasons]
        return self._articles(rows).assign(score=scores, because=pd.Series(names, dtype="str", index=_ranks(rows)))

    def _articles(self, rows: Int32) -> pd.DataFrame:
        details = [self.recommender.catalogue.details(int(row)) for row in rows]
        table = pd.DataFrame(details, columns=list(SHOWN), index=_ranks(rows))
        table.insert(0, "article_id", self.recommender.article_ids[rows])
        return table

    def _label(self, row: int) -> str:
        details = self.recommender.catalogue.details(row)
        return " ".join(filter(None, (details["name"], details["colour_group"])))

    def _rows(self, article_ids: Sequence[str]) -> list[int]:
        if isinstance(article_ids, str):
            raise ValueError("article_ids must be a list of ids, not one text")
        rows = self.recommender.catalogue.rows([str(each) for each in article_ids])
        unknown = [str(each) for each, row in zip(article_ids, rows, strict=True) if row < 0]
        if unknown:
            known = str(self.recommender.article_ids[0])
            raise ValueError(f"there is no article {unknown[0]!r:.100}; an id is a text such as {known!r}")
        return [int(row) for row in rows]


def _ranks(rows: Int32) -> pd.RangeIndex:
    return pd.RangeIndex(1, len(rows) + 1, name="rank")


def _positive(k: int) -> int:
    if k < 1:
        raise ValueError(f"the number of rows must be 1 or more, not {k}")
    return k
