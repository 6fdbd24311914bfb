"""The towers over whole tables: a model as of a day, and its exact ranking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from hm_utils.dataset import histories_as_of
from hm_utils.features import ArticleFeatures
from hm_utils.purchases import Int32, PurchaseLog
from hm_utils.towers import ItemTower, TwoTower, UserTower

Float32 = npt.NDArray[np.float32]


@torch.inference_mode()
def encode_articles(
    tower: ItemTower, features: ArticleFeatures, state: Float32, device: str = "cpu", chunk: int = 16_384
) -> Float32:
    """``[n_articles, output_dim]`` unit vectors of the whole catalogue, as of the day of ``state``."""
    tower.eval()
    vectors = []
    for start in range(0, len(state), chunk):
        rows = slice(start, start + chunk)
        vectors.append(
            tower(
                torch.from_numpy(features.categories[rows]).long().to(device),
                torch.from_numpy(features.text[rows]).to(device),
                torch.from_numpy(state[rows]).to(device),
            ).cpu()
        )
    return torch.cat(vectors).numpy()


@torch.inference_mode()
def encode_customers(
    tower: UserTower,
    article_vectors: Float32,
    attributes: Int32,
    log: PurchaseLog,
    customers: Int32,
    as_of: int,
    history_length: int,
    device: str = "cpu",
    chunk: int = 4_096,
) -> Float32:
    """``[n, output_dim]`` unit vectors of ``customers``, their histories strictly before ``as_of``.

    Args:
        article_vectors: ``[n_articles, output_dim]`` as of the same day.
        attributes: ``[n_customers, columns]`` codes of every customer.
    """
    tower.eval()
    table = torch.from_numpy(article_vectors).to(device)
    vectors = [np.empty((0, article_vectors.shape[1]), dtype=np.float32)]
    for start in range(0, len(customers), chunk):
        some = customers[start : start + chunk]
        histories = histories_as_of(log, some, as_of, history_length)
        encoded = tower(
            torch.from_numpy(attributes[some]).long().to(device),
            table[torch.from_numpy(histories.articles).long().to(device)],
            torch.from_numpy(histories.days_since).long().to(device),
            torch.from_numpy(histories.mask).to(device),
        )
        vectors.append(encoded.cpu().numpy())
    return np.concatenate(vectors)


@dataclass(frozen=True)
class Snapshot:
    """A model on the morning of a day: the catalogue's vectors, and any customer's with what they had bought.

    Attributes:
        model: the towers.
        article_vectors: ``[n_articles, output_dim]`` unit vectors as of ``as_of``.
        attributes: ``[n_customers, columns]`` codes of every customer.
        log: read strictly before ``as_of``.
        as_of: day number.
        history_length: purchases of a history at most.
    """

    model: TwoTower
    article_vectors: Float32
    attributes: Int32
    log: PurchaseLog
    as_of: int
    history_length: int

    @classmethod
    def take(
        cls,
        model: TwoTower,
        features: ArticleFeatures,
        state: Float32,
        attributes: Int32,
        log: PurchaseLog,
        as_of: int,
        history_length: int,
    ) -> Snapshot:
        """Encode the catalogue; ``features`` and ``state`` are those of the morning of ``as_of``."""
        device = str(model.log_scale.device)
        vectors = encode_articles(model.item_tower, features, state, device)
        return cls(model, vectors, attributes, log, as_of, history_length)

    def customers(self, rows: Int32) -> Float32:
        """``[n, output_dim]`` unit vectors of customers."""
        return encode_customers(
            self.model.user_tower,
            self.article_vectors,
            self.attributes,
            self.log,
            rows,
            self.as_of,
            self.history_length,
            str(self.model.log_scale.device),
        )

    @torch.inference_mode()
    def rank(self, rows: Int32, k: int = 100, chunk: int = 1_024) -> Int32:
        """``[n, k]`` article rows by falling cosine over the whole catalogue, by brute force.

        Padded with -1 where the catalogue has fewer than k articles.
        """
        device = self.model.log_scale.device
        table = torch.from_numpy(self.article_vectors).to(device).T
        queries = torch.from_numpy(self.customers(rows)).to(device)
        found = min(k, len(self.article_vectors))
        ranked = np.full((len(rows), k), -1, dtype=np.int32)
        if len(rows):
            best = [torch.topk(part @ table, found).indices.int().cpu() for part in queries.split(chunk)]
            ranked[:, :found] = torch.cat(best).numpy()
        return ranked
