"""Towers of one's own, as a user would write them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hm_utils.model.towers import Embeddings, TowerConfig


class MeanOfHistory(nn.Module):
    """Nothing is learned: a customer is the mean of the purchases."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()

    def forward(self, attributes: Tensor, items: Tensor, history: Tensor, days_since: Tensor, mask: Tensor) -> Tensor:
        return F.embedding_bag(history, items, per_sample_weights=mask.float(), mode="sum")


class MeanWithFeatures(nn.Module):
    """The mean of the purchases, and a projection of the customer's numbers."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.project = nn.Linear(config.n_customer_features, config.output_dim)

    def forward(
        self, attributes: Tensor, items: Tensor, history: Tensor, days_since: Tensor, mask: Tensor, features: Tensor
    ) -> Tensor:
        pooled = F.embedding_bag(history, items, per_sample_weights=mask.float(), mode="sum")
        return pooled + self.project(features)


class CategoriesAlone(nn.Module):
    """An article is the sum of its codes' embeddings."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.table = Embeddings(config.article_sizes, config.output_dim)

    def forward(self, categories: Tensor, state: Tensor) -> Tensor:
        return self.table(categories)


class OneNumber(CategoriesAlone):
    """Its vectors have another width than ``output_dim``."""

    def forward(self, categories: Tensor, state: Tensor) -> Tensor:
        return state[:, :1]
