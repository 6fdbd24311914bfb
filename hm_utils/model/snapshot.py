"""The towers over whole tables: a model as of a day, and its exact ranking."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm.auto import tqdm

from hm_utils.arrays import Float32, Int32
from hm_utils.data.examples import Histories, histories_as_of
from hm_utils.data.features import ARTICLE_COLUMNS
from hm_utils.data.popularity import log_popularity, recent_sales
from hm_utils.data.purchases import PurchaseLog
from hm_utils.model.scoring import (
    OWN_LENGTH,
    TOWERS_ALONE,
    Relatives,
    Scoring,
    Search,
    Variants,
    best,
    factor,
    fold_articles,
    fold_customers,
    keep_identity,
    popularity_share,
    relatives,
    weight_identity,
)
from hm_utils.model.towers import ItemEnsemble, TwoTower, UserEnsemble

# BLAS kernels process rows in blocks (4 on AMD, 16 with AVX-512) and round a partial block differently. Padding makes a
# single query bit-identical to the same query in a batch.
ROW_BLOCK = 16
RANKED_AT_ONCE = 1_024  # customers
PRODUCT_COLUMN = ARTICLE_COLUMNS.index("product_code")


@torch.inference_mode()
def encode_articles(
    tower: ItemEnsemble, categories: Int32, state: Float32, device: str = "cpu", chunk: int = 16_384
) -> Float32:
    """``[n_articles, vector_dim]`` unit vectors of the whole catalogue, as of the day of ``state``."""
    tower.eval()
    vectors = []
    for start in range(0, len(state), chunk):
        rows = slice(start, start + chunk)
        vectors.append(
            tower(
                torch.from_numpy(categories[rows]).long().to(device),
                torch.from_numpy(state[rows]).to(device),
            ).cpu()
        )
    return torch.cat(vectors).numpy()


@torch.inference_mode()
def encode_customers(
    tower: UserEnsemble,
    article_vectors: Float32,
    attributes: Int32,
    histories: Histories,
    device: str = "cpu",
    chunk: int = 4_096,
) -> Float32:
    """``[n, vector_dim]`` unit vectors of customers.

    Args:
        article_vectors: ``[n_articles, vector_dim]`` as of the day of the histories.
        attributes: ``[n, columns]`` codes of the customers' attributes.
        histories: of the same customers.
    """
    if tower.training:
        tower.eval()
    n = len(attributes)
    vectors = [np.empty((0, article_vectors.shape[1]), dtype=np.float32)]
    for start in range(0, n, chunk):
        rows = np.arange(start, min(start + chunk, n))
        if len(rows) < ROW_BLOCK:
            rows = whole(rows, ROW_BLOCK)
        articles, places = np.unique(histories.articles[rows], return_inverse=True)
        articles = whole(articles, ROW_BLOCK)
        encoded = tower(
            torch.from_numpy(attributes[rows]).to(device),
            torch.from_numpy(article_vectors[articles]).to(device),
            torch.from_numpy(places).to(device),
            torch.from_numpy(histories.days_since[rows]).to(device),
            torch.from_numpy(histories.mask[rows]).to(device),
        )
        vectors.append(encoded[: n - start].cpu().numpy())
    return np.concatenate(vectors)


def whole(rows: npt.NDArray[Any], together: int) -> npt.NDArray[Any]:
    """The same, the last repeated up to a multiple of ``together``."""
    return np.append(rows, np.repeat(rows[-1:], -len(rows) % together))


@dataclass(frozen=True)
class Snapshot:
    """A model on the morning of a day: the catalogue's vectors, and any customer's with what they had bought.

    Attributes:
        model: the towers.
        article_vectors: ``[n_articles, vector_dim]`` unit vectors as of ``as_of``.
        products: ``[n_articles]`` codes of their products.
        attributes: ``[n_customers, columns]`` codes of every customer.
        log: read strictly before ``as_of``.
        as_of: day number.
        history_length: purchases of a history at most.
        show_histories: false hides what customers bought from the user tower and from repurchase.
    """

    model: TwoTower
    article_vectors: Float32
    products: Int32
    attributes: Int32
    log: PurchaseLog
    as_of: int
    history_length: int
    show_histories: bool = True

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
    ) -> Snapshot:
        """Encode the catalogue; ``categories`` and ``state`` are those of the morning of ``as_of``."""
        device = str(model.log_scale.device)
        vectors = encode_articles(model.item_tower, categories, state, device)
        return cls(model, vectors, categories[:, PRODUCT_COLUMN], attributes, log, as_of, history_length)

    def without_histories(self) -> Snapshot:
        """The same catalogue, for customers as if each of them had just registered."""
        return replace(self, show_histories=False)

    @cached_property
    def _recent_sales(self) -> npt.NDArray[np.float64]:
        return recent_sales(self.log, self.as_of)

    @cached_property
    def popularity(self) -> Float32:
        """``[n_articles]`` log popularity of the last days before ``as_of``, 0 for what did not sell."""
        return log_popularity(self._recent_sales)

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
        """Of the cosine, learned."""
        return float(self.model.scale.detach())

    def customers(self, rows: Int32) -> Float32:
        """``[n, vector_dim]`` unit vectors of customers."""
        return self._encoded(rows, self.histories(rows, self.history_length))

    def _encoded(self, rows: Int32, histories: Histories) -> Float32:
        device = str(self.model.log_scale.device)
        return encode_customers(self.model.user_tower, self.article_vectors, self.attributes[rows], histories, device)

    def histories(self, rows: Int32, length: int) -> Histories:
        """What customers had bought, the last ``length`` purchases."""
        return histories_as_of(self.log, rows, self.histories_before, length)

    def queries(self, rows: Int32, scoring: Scoring = TOWERS_ALONE) -> Float32:
        """``[n, d + 2]`` what to search :meth:`index_vectors` of the same scoring with."""
        histories = self.histories(rows, self.history_length)
        users = weight_identity(self._encoded(rows, histories), self.model.config.total_identity_dim, scoring.name)
        return fold_customers(users, popularity_share(histories, scoring))

    def index_vectors(self, scoring: Scoring = TOWERS_ALONE) -> Float32:
        """``[n_articles, d + 2]`` unit vectors to search, popularity folded in; d is with or without the names."""
        bonus = np.float32(scoring.popularity) * self.popularity
        vectors = keep_identity(self.article_vectors, self.model.config.total_identity_dim, scoring.name)
        return fold_articles(vectors, bonus, self.scale)

    def score(
        self, rows: Int32, k: int = 100, scoring: Scoring = TOWERS_ALONE, chunk: int = RANKED_AT_ONCE
    ) -> tuple[Int32, Float32]:
        """The k best articles of the whole catalogue for each customer, by brute force.

        Returns:
            ``articles [n, k]`` int32 article rows, best first, -1 where the catalogue has no more, and
            ``scores [n, k]`` float32, -inf there.
        """
        vectors = self.index_vectors(scoring)
        articles = np.full((len(rows), k), -1, dtype=np.int32)
        scores = np.full((len(rows), k), -np.inf, dtype=np.float32)
        starts = tqdm(range(0, len(rows), chunk), "ranking", file=sys.stdout, delay=2, leave=False)
        for start in starts:
            part = slice(start, start + chunk)
            articles[part], scores[part] = self._score(vectors, rows[part], k, scoring)
        return articles, scores

    def _score(self, vectors: Float32, rows: Int32, k: int, scoring: Scoring) -> tuple[Int32, Float32]:
        times, related = factor(vectors, self.scale), self.relatives(rows)
        return best(self.search(vectors), vectors, times, self.queries(rows, scoring), related, scoring, k)

    def relatives(self, rows: Int32) -> Relatives:
        """What customers had bought, and the siblings of that which are on sale."""
        return relatives(self.histories(rows, OWN_LENGTH), self.variants)

    def search(self, vectors: Float32) -> Search:
        """Brute force over :meth:`index_vectors`, on the model's device, for ``scoring.best``."""
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

    def rank(self, rows: Int32, k: int = 100, scoring: Scoring = TOWERS_ALONE) -> Int32:
        """The articles of :meth:`score`."""
        return self.score(rows, k, scoring)[0]
