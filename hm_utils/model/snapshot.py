"""A model on the morning of a day: the vectors of the catalogue and of any customer, and their exact ranking."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from tqdm.auto import tqdm

from hm_utils.arrays import Float32, Float64, Int32
from hm_utils.data.features import ARTICLE_COLUMNS
from hm_utils.data.histories import Histories, histories_as_of, purchases_as_of
from hm_utils.data.popularity import popularity_as_of, recent_sales
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.side_features import NO_SIDE_FEATURES, SideFeatures
from hm_utils.model.encoding import encode_articles, encode_customers
from hm_utils.model.repurchase import Relatives, RepeatRates, Variants, relatives
from hm_utils.model.scorer import Scorer, Search
from hm_utils.model.scoring import TOWERS_ALONE, Scoring
from hm_utils.model.towers import TwoTower

RANKED_AT_ONCE = 1_024  # customers
PRODUCT_COLUMN = ARTICLE_COLUMNS.index("product_code")


@dataclass(frozen=True)
class Snapshot:
    """A model as of a day, with the purchases before it.

    Attributes:
        model: the towers.
        article_vectors: ``[n_articles, vector_dim]`` unit vectors as of ``as_of``.
        products: ``[n_articles]`` codes of their products.
        attributes: ``[n_customers, columns]`` codes of every customer.
        log: read strictly before ``as_of``.
        as_of: day number.
        history_length: purchases of a history at most.
        rates: how each article is bought again by anybody.
        show_histories: false hides all purchases from the user tower and from repurchase.
        side: numbers of the articles and customers, if the towers have them.
    """

    model: TwoTower
    article_vectors: Float32
    products: Int32
    attributes: Int32
    log: PurchaseLog
    as_of: int
    history_length: int
    rates: RepeatRates
    show_histories: bool = True
    side: SideFeatures = NO_SIDE_FEATURES

    @classmethod
    def take(
        cls,
        model: TwoTower,
        categories: Int32,
        state: Float32,
        attributes: Int32,
        log: PurchaseLog,
        as_of: int,
        history_length: int,
        rates: RepeatRates | None = None,
        side: SideFeatures = NO_SIDE_FEATURES,
    ) -> Snapshot:
        """Encode the catalogue; ``categories`` and ``state`` are those of the morning of ``as_of``.

        ``rates`` are counted from the log unless they are given.
        """
        device = str(model.log_scale.device)
        vectors = encode_articles(model.item_tower, categories, state, device, features=side.articles)
        rates = rates or RepeatRates.as_of(log, as_of)
        products = categories[:, PRODUCT_COLUMN]
        return cls(model, vectors, products, attributes, log, as_of, history_length, rates, side=side)

    def without_histories(self) -> Snapshot:
        """The same catalogue, and every customer as if they had just registered."""
        return replace(self, show_histories=False)

    @cached_property
    def _recent_sales(self) -> Float64:
        return recent_sales(self.log, self.as_of)

    @cached_property
    def popularity(self) -> Float32:
        """``[n_articles]`` log popularity of the last days before ``as_of``, 0 for an article that no longer sells."""
        return popularity_as_of(self.log, self.as_of, self._recent_sales)

    @cached_property
    def variants(self) -> Variants:
        """The articles of every product that sold in the last days before ``as_of``."""
        return Variants.on_sale(self.products, self._recent_sales > 0)

    @property
    def histories_before(self) -> int:
        """The day before which purchases are in a history."""
        return self.as_of if self.show_histories else 0

    @property
    def scale(self) -> float:
        """The learned scale of the cosine."""
        return float(self.model.scale.detach())

    def histories(self, rows: Int32, length: int) -> Histories:
        """The last ``length`` purchases of customers."""
        return histories_as_of(self.log, rows, self.histories_before, length)

    def customers(self, rows: Int32) -> Float32:
        """``[n, vector_dim]`` unit vectors of customers."""
        return self.encoded(rows, self.histories(rows, self.history_length))

    def encoded(self, rows: Int32, histories: Histories) -> Float32:
        """``[n, vector_dim]`` unit vectors of customers with these histories."""
        device, features = str(self.model.log_scale.device), self.side.customers
        more = None if features is None else features[rows]
        tower, vectors = self.model.user_tower, self.article_vectors
        return encode_customers(tower, vectors, self.attributes[rows], histories, device, features=more)

    def scorer(self, scoring: Scoring = TOWERS_ALONE) -> Scorer:
        """The scores of this day."""
        return Scorer.build(scoring, self.article_vectors, self.popularity, self.variants, self.rates, self.scale)

    def relatives(self, rows: Int32) -> Relatives:
        """The articles that customers bought before, and the variants of these."""
        return relatives(purchases_as_of(self.log, rows, self.histories_before), self.variants, self.rates)

    def queries(self, rows: Int32, scorer: Scorer) -> Float32:
        """``[n, d + 2]`` vectors to search ``scorer.vectors`` with."""
        return scorer.queries(self.customers(rows), self.log.has_bought(rows, self.histories_before))

    def score(
        self, rows: Int32, k: int = 100, scoring: Scoring = TOWERS_ALONE, chunk: int = RANKED_AT_ONCE
    ) -> tuple[Int32, Float32]:
        """The k best articles of the whole catalogue for each customer, by brute force.

        Returns:
            ``articles [n, k]`` int32 article rows, best first, -1 where the catalogue has no more, and
            ``scores [n, k]`` float32, -inf there.
        """
        rank = self.ranker(k, scoring)
        articles = np.full((len(rows), k), -1, dtype=np.int32)
        scores = np.full((len(rows), k), -np.inf, dtype=np.float32)
        for start in tqdm(range(0, len(rows), chunk), "ranking", file=sys.stdout, delay=2, leave=False):
            part = slice(start, start + chunk)
            articles[part], scores[part] = rank(rows[part])
        return articles, scores

    def ranker(self, k: int = 100, scoring: Scoring = TOWERS_ALONE) -> Callable[[Int32], tuple[Int32, Float32]]:
        """:meth:`score` of a few customers at once. The catalogue's vectors are prepared here, for all calls."""
        scorer = self.scorer(scoring)
        search = self.search(scorer.vectors)
        return lambda rows: scorer.rank(search, self.customers(rows), self.relatives(rows), k)

    def rank(self, rows: Int32, k: int = 100, scoring: Scoring = TOWERS_ALONE) -> Int32:
        """The articles of :meth:`score`."""
        return self.score(rows, k, scoring)[0]

    def search(self, vectors: Float32) -> Search:
        """Brute force over ``vectors``, on the model's device."""
        device = self.model.log_scale.device
        table = torch.from_numpy(vectors).to(device).T

        @torch.inference_mode()
        def search(queries: Float32, k: int) -> tuple[Int32, Float32]:
            depth = min(len(vectors), k)
            dots, articles = (
                part.cpu().numpy() for part in torch.topk(torch.from_numpy(queries).to(device) @ table, depth)
            )
            missing = ((0, 0), (0, k - depth))
            return (
                np.pad(articles.astype(np.int32), missing, constant_values=-1),
                np.pad(dots, missing, constant_values=-np.inf),
            )

        return search
