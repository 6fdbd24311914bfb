"""Random towers and their snapshot over the small data."""

from __future__ import annotations

import torch

from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import TrainingData, make_training_data
from hm_utils.data.purchases import PurchaseLog
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.towers import TwoTower
from hm_utils.training.fit import tower_config
from tests.helpers.data import article_table, customer_table

HISTORY_LENGTH = 5
ENSEMBLE_SIZE = 2


def random_towers(training: TrainingData, ensemble_size: int = ENSEMBLE_SIZE) -> TwoTower:
    torch.manual_seed(0)
    model = TwoTower(tower_config(training, 8, [16], 8, ensemble_size)).eval()
    # New embeddings are small beside the state, which makes all articles nearly alike.
    for tower in model.item_tower.towers:
        torch.nn.init.normal_(tower.id_embedding.table.weight)
        torch.nn.init.normal_(tower.categories.table.weight)
    return model


def random_training(log: PurchaseLog, as_of: int) -> TrainingData:
    return make_training_data(article_table(), customer_table(), log, as_of, train_weeks=4)


def random_snapshot(log: PurchaseLog, as_of: int, train_end: int = 33) -> Snapshot:
    """As of ``as_of``; the towers' vocabularies are those of the days before ``train_end``."""
    return snapshot_of(random_training(log, train_end), log, as_of)


def snapshot_of(training: TrainingData, log: PurchaseLog, as_of: int) -> Snapshot:
    return Snapshot.take(
        random_towers(training),
        training.categories_as_of(article_table(), log, as_of),
        CatalogueState(log).as_of(as_of),
        training.attributes,
        log,
        as_of,
        HISTORY_LENGTH,
    )
