"""The two towers map articles and customers to unit vectors in one space.

Only ``nn.Module``: no data handling, no loss, no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hm_utils.model.tower_classes import tower_class, unit_vectors

# Edges of the buckets of days since a purchase; bucket 0 is the visit under way.
DAYS_SINCE_EDGES = (1, 2, 3, 4, 6, 8, 11, 15, 22, 29, 43, 61, 91, 151, 271, 451)

# The first columns of an article's categories are its id and its product code.
ID_COLUMNS = 2

# The fields of a TowerConfig that are chosen; the others follow from the data.
TOWER_SIZES = ("embedding_dim", "hidden_dims", "output_dim", "ensemble_size")
TOWER_CLASSES = ("user_tower", "item_tower")


@dataclass(frozen=True)
class TowerConfig:
    """The sizes needed to rebuild the towers from a checkpoint.

    Attributes:
        article_sizes: number of codes of each article category; the first ``ID_COLUMNS`` are the article's id and its
            product.
        n_state: columns of the catalogue's state as of a day.
        customer_sizes: number of codes of each customer attribute.
        embedding_dim: width of the input embedding tables.
        hidden_dims: widths of the towers' hidden layers.
        output_dim: width of a tower's vector.
        ensemble_size: pairs of towers, trained side by side.
        user_tower, item_tower: names of classes of one's own (:mod:`hm_utils.model.tower_classes`); empty for
            :class:`UserTower` and :class:`ItemTower`.
        n_item_features, n_customer_features: numbers of :mod:`hm_utils.data.side_features`; 0 for none.
    """

    article_sizes: tuple[int, ...]
    n_state: int
    customer_sizes: tuple[int, ...]
    embedding_dim: int = 64
    hidden_dims: tuple[int, ...] = (128,)
    output_dim: int = 128
    ensemble_size: int = 1
    user_tower: str = ""
    item_tower: str = ""
    n_item_features: int = 0
    n_customer_features: int = 0

    def __post_init__(self) -> None:
        if self.ensemble_size < 1:
            raise ValueError(f"ensemble_size must be 1 or more, not {self.ensemble_size}")

    @property
    def vector_dim(self) -> int:
        """Width of the shared space: the vectors of all pairs."""
        return self.ensemble_size * self.output_dim

    def side_by_side(self, vectors: Sequence[Tensor]) -> Tensor:
        """Concatenate the pairs' unit vectors: ``[n, output_dim]`` each, ``[n, vector_dim]`` in all.

        The results are unit vectors. Their dot product is the mean of the pairs' dot products.
        """
        return torch.cat(list(vectors), dim=1) / self.ensemble_size**0.5

    def apart(self, vectors: Tensor) -> list[Tensor]:
        """The inverse of :meth:`side_by_side`."""
        return [part * self.ensemble_size**0.5 for part in vectors.chunk(self.ensemble_size, dim=1)]


def _mlp(input_dim: int, hidden_dims: Sequence[int], output_dim: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden_dims:
        layers += [nn.Linear(input_dim, width), nn.GELU()]
        input_dim = width
    return nn.Sequential(*layers, nn.Linear(input_dim, output_dim))


def _look_up(values: Tensor, places: Tensor) -> Tensor:
    """``values`` ``[m, 1]`` at ``places``, in their shape: an embedding lookup with a faster gradient."""
    return values.squeeze(1).index_select(0, places.flatten()).view_as(places)


class Embeddings(nn.Module):
    """One embedding table a column, stored as a single table with an offset a column; the rows are summed.

    ``sparse`` limits the gradient to the rows of the batch, for tables with a row an article.
    """

    def __init__(self, sizes: Sequence[int], dim: int, sparse: bool = False) -> None:
        super().__init__()
        self.starts: Tensor
        starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("starts", starts, persistent=False)
        self.table = nn.EmbeddingBag(sum(sizes), dim, mode="sum", sparse=sparse)
        nn.init.normal_(self.table.weight, std=0.05)

    def forward(self, codes: Tensor) -> Tensor:
        """``codes`` ``[n, columns]`` long → ``[n, dim]``."""
        return self.table(codes + self.starts)


class OwnItemTower(Protocol):
    """An item tower of one's own: a ``torch.nn.Module`` with this constructor and ``forward`` (docs/laboratory.md).

    A table with a row an article is faster with ``sparse=True``, as in :class:`Embeddings`.
    """

    def __init__(self, config: TowerConfig) -> None: ...

    def forward(self, categories: Tensor, state: Tensor, features: Tensor | None = None) -> Tensor:
        """``[n, output_dim]`` vectors of any length, of the arguments of :meth:`ItemTower.forward`.

        ``features`` is passed only if ``config.n_item_features`` is not 0.
        """


class OwnUserTower(Protocol):
    """A user tower of one's own: a ``torch.nn.Module`` with this constructor and ``forward`` (docs/laboratory.md)."""

    def __init__(self, config: TowerConfig) -> None: ...

    def forward(
        self,
        attributes: Tensor,
        items: Tensor,
        history: Tensor,
        days_since: Tensor,
        mask: Tensor,
        features: Tensor | None = None,
    ) -> Tensor:
        """``[n, output_dim]`` vectors of any length, of the arguments of :meth:`UserTower.forward`.

        ``features`` is passed only if ``config.n_customer_features`` is not 0.
        """


class ItemTower(nn.Module):
    """Article → unit vector, from its id, its categories and its state on the day. Similar articles are close."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        dim = config.embedding_dim
        self.id_embedding = Embeddings(config.article_sizes[:ID_COLUMNS], dim, sparse=True)
        self.categories = Embeddings(config.article_sizes[ID_COLUMNS:], dim)
        self.state = nn.Linear(config.n_state, dim)
        self.norm = nn.LayerNorm(2 * dim)
        self.mlp = _mlp(2 * dim, config.hidden_dims, config.output_dim)
        self.skip = nn.Linear(2 * dim, config.output_dim, bias=False)
        if config.n_item_features:  # last, so that the other weights start as they do without
            self.features = nn.Linear(config.n_item_features, dim)

    def forward(self, categories: Tensor, state: Tensor, features: Tensor | None = None) -> Tensor:
        """Encode articles.

        Args:
            categories: ``[n, columns]`` long, codes.
            state: ``[n, n_state]`` as of the day.
            features: ``[n, n_item_features]``, if the towers have them.

        Returns:
            ``[n, output_dim]``, L2-normalised.
        """
        who = self.id_embedding(categories[:, :ID_COLUMNS])
        what = self.categories(categories[:, ID_COLUMNS:]) + self.state(state)
        if features is not None:
            what = what + self.features(features)
        hidden = self.norm(torch.cat([who, what], dim=1))
        return F.normalize(self.mlp(hidden) + self.skip(hidden), dim=1)


class UserTower(nn.Module):
    """Customer → unit vector, from their attributes and the item vectors of their history.

    The history's vectors are pooled by a softmax over learned weights, which depend on the days since the purchase
    and on the article. The pool is added to the output: a customer starts close to their purchases, and the network
    learns where to go from there.
    """

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        dim, out = config.embedding_dim, config.output_dim
        self.attributes = Embeddings(config.customer_sizes, dim)
        self.edges: Tensor
        self.register_buffer("edges", torch.tensor(DAYS_SINCE_EDGES), persistent=False)
        self.recency_weight = nn.Embedding(len(DAYS_SINCE_EDGES) + 1, 1)
        self.recency = nn.Embedding(len(DAYS_SINCE_EDGES) + 1, out)
        self.content_weight = nn.Linear(out, 1)
        self.no_history = nn.Parameter(torch.zeros(out))
        self.mlp = _mlp(3 * out + dim + 1, config.hidden_dims, out)
        self.pooled_share = nn.Parameter(torch.tensor(3.0))
        nn.init.zeros_(self.content_weight.weight)
        nn.init.normal_(self.recency.weight, std=0.05)
        with torch.no_grad():  # a gentle decay with the age of the purchase
            self.recency_weight.weight.copy_(-0.1 * torch.arange(len(DAYS_SINCE_EDGES) + 1.0).unsqueeze(1))
        if config.n_customer_features:
            self.features = nn.Linear(config.n_customer_features, dim)

    def forward(
        self,
        attributes: Tensor,
        items: Tensor,
        history: Tensor,
        days_since: Tensor,
        mask: Tensor,
        features: Tensor | None = None,
    ) -> Tensor:
        """Encode a batch of customers.

        Args:
            attributes: ``[n, columns]`` long, codes of the customers' attributes.
            items: ``[m, output_dim]`` item vectors.
            history: ``[n, length]`` long, rows of ``items``: the purchases, newest first.
            days_since: ``[n, length]`` long, days from the purchase to the day of the example.
            mask: ``[n, length]`` bool, false for padding.
            features: ``[n, n_customer_features]``, if the towers have them.

        Returns:
            ``[n, output_dim]``, L2-normalised.
        """
        bucket = torch.bucketize(days_since, self.edges, right=True)
        weight = _look_up(self.recency_weight.weight, bucket) + _look_up(self.content_weight(items), history)
        weight = weight.masked_fill(~mask, float("-inf"))
        any_history = mask.any(dim=1, keepdim=True)
        # A row without history has no finite weight: it becomes a zero row instead of nan.
        weight = torch.softmax(weight.masked_fill(~any_history, 0.0), dim=1) * mask
        # Weighted sums over a history without copying its vectors: a bag of item rows, and the weights by bucket.
        pooled = F.embedding_bag(history, items, per_sample_weights=weight, mode="sum")
        pooled = torch.where(any_history, pooled, self.no_history)
        by_bucket = weight.new_zeros(weight.shape[0], len(self.edges) + 1).scatter_add(1, bucket, weight)
        when = by_bucket @ self.recency.weight
        newest = items.index_select(0, history[:, 0]) * mask[:, :1]
        count = torch.log1p(mask.sum(dim=1, keepdim=True).float())
        who = self.attributes(attributes)
        if features is not None:
            who = who + self.features(features)
        hidden = torch.cat([pooled, newest, when, who, count], dim=1)
        return F.normalize(self.mlp(hidden) + self.pooled_share * pooled, dim=1)


def _given(features: Tensor | None, n: int, name: str) -> list[Tensor]:
    """The features, if the towers have ``n`` of them. Raises ValueError if there are others."""
    if (0 if features is None else features.shape[1]) != n:
        found = "none" if features is None else f"{features.shape[1]} were given"
        raise ValueError(f"the towers were made for {n} numbers of {name}, and {found}")
    return [] if features is None else [features]


class ItemEnsemble(nn.Module):
    """The item towers of all pairs, each with its own weights; their vectors are concatenated."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        make = tower_class(config.item_tower) if config.item_tower else ItemTower
        towers: Any = nn.ModuleList(make(config) for _ in range(config.ensemble_size))  # of no type
        self.towers: Sequence[ItemTower] = towers

    def forward(self, categories: Tensor, state: Tensor, features: Tensor | None = None) -> Tensor:
        """As :meth:`ItemTower.forward`, ``[n, vector_dim]``."""
        more = _given(features, self.config.n_item_features, "item_features")
        vectors = [tower(categories, state, *more) for tower in self.towers]
        if self.config.item_tower:
            shape = (categories.shape[0], self.config.output_dim)  # len() would fix it in an export
            vectors = [unit_vectors(each, shape, tower) for each, tower in zip(vectors, self.towers, strict=True)]
        return self.config.side_by_side(vectors)


class UserEnsemble(nn.Module):
    """The user towers of all pairs; each reads the vectors of its own item tower."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        make = tower_class(config.user_tower) if config.user_tower else UserTower
        towers: Any = nn.ModuleList(make(config) for _ in range(config.ensemble_size))  # of no type
        self.towers: Sequence[UserTower] = towers

    def forward(
        self,
        attributes: Tensor,
        items: Tensor,
        history: Tensor,
        days_since: Tensor,
        mask: Tensor,
        features: Tensor | None = None,
    ) -> Tensor:
        """As :meth:`UserTower.forward`, ``[n, vector_dim]``."""
        more = _given(features, self.config.n_customer_features, "customer_features")
        pairs = zip(self.towers, self.config.apart(items), strict=True)
        vectors = [tower(attributes, own, history, days_since, mask, *more) for tower, own in pairs]
        if self.config.user_tower:
            shape = (attributes.shape[0], self.config.output_dim)
            vectors = [unit_vectors(each, shape, tower) for each, tower in zip(vectors, self.towers, strict=True)]
        return self.config.side_by_side(vectors)


class TwoTower(nn.Module):
    """The towers and the scale that turns their cosine into a logit.

    With an ``ensemble_size`` above 1 the model has several pairs of towers, which start from different weights. Each
    pair learns from its own loss (``training.loop.batch_loss``) and makes its own errors, so the mean of their logits
    tends to be better than each (Hansen & Salamon, PAMI 1990; Lakshminarayanan et al., NeurIPS 2017). The mean is one
    dot product, of the concatenated vectors.
    """

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.item_tower = ItemEnsemble(config)
        self.user_tower = UserEnsemble(config)
        self.log_scale = nn.Parameter(torch.tensor(20.0).log())
        # For the pair loss alone: most random pairs are no purchases, whatever their cosine.
        self.pair_bias = nn.Parameter(torch.tensor(-5.0))

    @property
    def scale(self) -> Tensor:
        """The learned scale, at most 100 (as in CLIP), for stable training."""
        return self.log_scale.exp().clamp(max=100.0)
