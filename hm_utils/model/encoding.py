"""The forward pass: rows of numbers in, unit vectors out. Training, evaluation and service all encode here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hm_utils.arrays import Float32, Int32
from hm_utils.data.histories import Histories
from hm_utils.model.towers import ItemEnsemble, UserEnsemble

# BLAS kernels process rows in blocks (4 on AMD, 16 with AVX-512) and round a partial block differently. Padding makes
# a single query bit-identical to the same query in a batch.
ROW_BLOCK = 16


def to_tensor(array: npt.NDArray | Tensor, device: str) -> Tensor:
    """``array`` on the device; shares memory where it is contiguous and the device is the CPU."""
    if isinstance(array, Tensor):
        return array.to(device)
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def padded(rows: npt.NDArray[Any], block: int) -> npt.NDArray[Any]:
    """``rows``, the last one repeated up to a multiple of ``block``."""
    return np.append(rows, np.repeat(rows[-1:], -len(rows) % block))


def encode_items(
    tower: ItemEnsemble,
    categories: Int32 | Tensor,
    state: Float32 | Tensor,
    device: str,
    features: Float32 | Tensor | None = None,
) -> Tensor:
    """``[n, vector_dim]`` unit vectors of articles.

    Args:
        categories: ``[n, columns]`` codes.
        state: ``[n, n_state]`` see :class:`hm_utils.data.features.CatalogueState`.
        features: ``[n, n_item_features]`` see :class:`hm_utils.data.side_features.SideFeatures`.
    """
    more = None if features is None else to_tensor(features, device)
    return tower(to_tensor(categories, device).long(), to_tensor(state, device), more)


def encode_users(
    tower: UserEnsemble,
    attributes: Int32 | Tensor,
    items: Tensor,
    histories: Histories,
    device: str,
    features: Float32 | Tensor | None = None,
) -> Tensor:
    """``[n, vector_dim]`` unit vectors of customers.

    Args:
        attributes: ``[n, columns]`` codes.
        items: ``[m, vector_dim]`` item vectors.
        histories: of the same customers; their ``articles`` are rows of ``items``.
        features: ``[n, n_customer_features]``.
    """
    return tower(
        to_tensor(attributes, device).long(),
        items,
        to_tensor(histories.articles, device),
        to_tensor(histories.days_since, device).long(),
        to_tensor(histories.mask, device),
        None if features is None else to_tensor(features, device),
    )


@torch.inference_mode()
def encode_articles(
    tower: ItemEnsemble,
    categories: Int32,
    state: Float32,
    device: str = "cpu",
    chunk: int = 16_384,
    features: Float32 | None = None,
) -> Float32:
    """:func:`encode_items` for the whole catalogue, a chunk at a time."""
    tower.eval()
    parts = (slice(start, start + chunk) for start in range(0, len(state), chunk))
    vectors = (
        encode_items(tower, categories[part], state[part], device, None if features is None else features[part])
        for part in parts
    )
    return torch.cat([part.cpu() for part in vectors]).numpy()


@torch.inference_mode()
def encode_customers(
    tower: UserEnsemble,
    article_vectors: Float32,
    attributes: Int32,
    histories: Histories,
    device: str = "cpu",
    chunk: int = 4_096,
    features: Float32 | None = None,
) -> Float32:
    """:func:`encode_users` for many customers, a chunk at a time, each article of a chunk once.

    Args:
        article_vectors: ``[n_articles, vector_dim]`` as of the day of the histories.
    """
    if tower.training:
        tower.eval()
    n = len(attributes)
    vectors = [np.empty((0, article_vectors.shape[1]), dtype=np.float32)]
    for start in range(0, n, chunk):
        rows = np.arange(start, min(start + chunk, n))
        if len(rows) < ROW_BLOCK:
            rows = padded(rows, ROW_BLOCK)
        part = histories[rows]
        articles, places = np.unique(part.articles, return_inverse=True)
        items = to_tensor(article_vectors[padded(articles, ROW_BLOCK)], device)
        part = replace(part, articles=places)
        more = None if features is None else features[rows]
        vectors.append(encode_users(tower, attributes[rows], items, part, device, more)[: n - start].cpu().numpy())
    return np.concatenate(vectors)
