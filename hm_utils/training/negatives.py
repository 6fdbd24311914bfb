"""The two kinds of negatives. Each knows its articles in a batch and the loss that compares them with the positives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from hm_utils.arrays import Bool, Float32, Float64, Int32, Int64
from hm_utils.model.encoding import to_tensor
from hm_utils.model.losses import pair_loss, sampled_softmax_loss
from hm_utils.model.towers import TwoTower

# (users [n, d], items [v, d], positive logits [n]) of one pair of towers → the mean loss, a scalar.
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class InBatchNegatives:
    """The articles of a batch's examples, shared by all of them; the loss is a softmax with logQ correction.

    Attributes:
        places: ``[m]`` places of the articles among the batch's item vectors.
        log_expected_count: ``[m]`` see :func:`hm_utils.model.losses.sampled_softmax_loss`.
        articles: ``[m]`` article rows.
        customers: ``[m]`` rows of the customers who bought them.
        own: ``[n]`` numbers of the examples that the loss is computed for.
    """

    places: Int64
    log_expected_count: Float32
    articles: Int32
    customers: Int32
    own: Int64

    @classmethod
    def of(
        cls, places: Int64, articles: Int32, customers: Int32, own: slice | Int64, share: Float64
    ) -> InBatchNegatives:
        """From the article and the customer of every example of the batch (``[m]``).

        Args:
            own: which of the m examples the loss is computed for.
            share: ``[n_articles]`` probability that a random example is of each article.
        """
        expected = (len(articles) - 1) * share[articles]
        return cls(
            places=places,
            log_expected_count=np.log(np.maximum(expected, 1e-9)).astype(np.float32),
            articles=articles,
            customers=customers,
            own=np.arange(len(articles))[own],
        )

    @property
    def collisions(self) -> Bool:
        """``[n, m]`` true where the article is the example's own, or another purchase of its customer."""
        return cast(Bool, _collisions(self.articles, self.customers, self.own))

    def loss(self, model: TwoTower, popularity: Tensor, device: str) -> Loss:
        """``popularity`` ``[v]`` is added to the logits of the batch's item vectors."""
        places, log_expected_count, articles, customers, own = (
            to_tensor(array, device)
            for array in (self.places, self.log_expected_count, self.articles, self.customers, self.own)
        )
        collisions: Tensor = _collisions(articles, customers, own)  # there, as [n, m] is larger than all the rest

        def loss(users: Tensor, items: Tensor, positive_logits: Tensor) -> Tensor:
            logits = torch.addmm(popularity[places], model.scale * users, items.index_select(0, places).T)
            return sampled_softmax_loss(positive_logits, logits, log_expected_count, collisions)

        return loss


def _collisions(articles: Any, customers: Any, own: Any) -> Any:
    """:attr:`InBatchNegatives.collisions` of arrays, or of tensors."""
    return (articles == articles[own, None]) | (customers == customers[own, None])


@dataclass(frozen=True)
class SampledPairs:
    """Articles sampled for each example; the loss is a binary cross-entropy of bought and sampled pairs.

    Attributes:
        places: ``[n, k]`` places of the articles among the batch's item vectors.
    """

    places: Int64

    def loss(self, model: TwoTower, popularity: Tensor, device: str) -> Loss:
        """As :meth:`InBatchNegatives.loss`."""
        places = to_tensor(self.places, device)

        def loss(users: Tensor, items: Tensor, positive_logits: Tensor) -> Tensor:
            logits = model.scale * torch.einsum("nd,nkd->nk", users, items[places]) + popularity[places]
            return pair_loss(positive_logits + model.pair_bias, logits + model.pair_bias)

        return loss


Negatives = InBatchNegatives | SampledPairs
