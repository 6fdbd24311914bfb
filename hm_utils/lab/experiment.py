"""Training in a cell: other towers, other inputs, other settings. Nothing is left on the disk."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from torch import nn

from hm_utils.data import side_features
from hm_utils.data.features import CatalogueState
from hm_utils.data.ids import as_bytes
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.files import resolve
from hm_utils.lab.tables import TableRecommender
from hm_utils.model.scoring import Scoring
from hm_utils.model.snapshot import Snapshot
from hm_utils.plotting.live_curve import live_curve
from hm_utils.retrieval.index import ExactIndex
from hm_utils.serving.catalogue import COLUMNS, Catalogue, with_sales
from hm_utils.serving.model_folder import ModelContent
from hm_utils.serving.recommender import Recommender
from hm_utils.training.calibration import calibrate
from hm_utils.training.fit import fit as fit_towers
from hm_utils.training.fit import tower_config, training_inputs
from hm_utils.training.loop import TrainingResult, TrainingSettings
from hm_utils.training.vector_health import PREFIX


class Experiment(TableRecommender):
    """Towers trained without the validation and the test days; they know every purchase of the log.

    Attributes:
        history: a row an epoch: the loss, and the metrics on the validation days.
        metrics: those of the epoch that was kept. Choose by these: the test days stay unseen.
    """

    def __init__(self, data: Preprocessed, result: TrainingResult, settings: TrainingSettings) -> None:
        split, side = data.split, data.training.side
        state, log = CatalogueState(data.log), data.log

        def as_of(day: int) -> Snapshot:
            categories = data.training.categories_as_of(data.articles, log, day)
            inputs = (categories, state.as_of(day), data.training.attributes, log, day, settings.history_length)
            return Snapshot.take(result.model, *inputs, side=side)

        scoring = calibrate(as_of(split.train_end), log.baskets_between(split.train_end, split.val_end)).scoring
        super().__init__(Recommender(_content(data, as_of(log.last_day + 1), scoring)))
        rows = [{name: value for name, value in row.items() if PREFIX not in name} for row in result.history]
        self.history = pd.DataFrame(rows).set_index("epoch")
        self.metrics = self.history.loc[result.best_epoch]


def fit(
    data: Preprocessed | str | Path = "artifacts/preprocessed",
    *,
    user_tower: str | type[nn.Module] = "",
    item_tower: str | type[nn.Module] = "",
    item_features: str | Path | pd.DataFrame = "",
    customer_features: str | Path | pd.DataFrame = "",
    embedding_dim: int = 64,
    hidden_dims: Sequence[int] = (128,),
    output_dim: int = 128,
    ensemble_size: int = 1,
    **settings: Any,
) -> Experiment:
    """Train as notebook 03 does. In JupyterLab a curve shows the epochs as they end.

    Args:
        data: what notebook 02 saved.
        user_tower, item_tower: classes of one's own, or their names (docs/laboratory.md).
        item_features, customer_features: numbers or a vector of each id: a file (:mod:`hm_utils.data.side_features`)
            or a table with such columns. By default those of ``data``.
        settings: fields of :class:`hm_utils.training.loop.TrainingSettings`.

    Raises:
        PreprocessedError, TowerError, SideFeaturesError: one of the arguments cannot be used.
        FloatingPointError: the loss is not finite.
    """
    data = data if isinstance(data, Preprocessed) else Preprocessed.load(resolve(data))
    chosen = TrainingSettings(**settings)
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, str | Path] = {}
        for name, given in {"item_features": item_features, "customer_features": customer_features}.items():
            if isinstance(given, pd.DataFrame):
                files[name] = Path(folder) / f"{name}.parquet"
                given.to_parquet(files[name])
            else:
                files[name] = given
        if any(map(str, files.values())):
            data = _with_side_features(data, files)
        config = tower_config(
            data.training, embedding_dim, hidden_dims, output_dim, ensemble_size, user_tower, item_tower
        )
        inputs = training_inputs(data.log, data.training, chosen)
        checkpoint = Path(folder) / "two_tower.pt"
        result = fit_towers(data, inputs, config, chosen, checkpoint, after_epoch=live_curve())
    return Experiment(data, result, chosen)


def _with_side_features(data: Preprocessed, files: dict[str, str | Path]) -> Preprocessed:
    """The data with these numbers in place of its own."""
    side = side_features.read(data.articles, data.customers, **files).scaled(data.log, data.split.train_end)
    return replace(data, training=replace(data.training, side=side))


def _content(data: Preprocessed, snapshot: Snapshot, scoring: Scoring) -> ModelContent:
    """What a published model of this snapshot would have, without files and with exact search."""
    vectors = snapshot.scorer(scoring).vectors
    return ModelContent(
        user_tower=snapshot.model.user_tower,
        scale=snapshot.scale,
        history_length=snapshot.history_length,
        article_vectors=snapshot.article_vectors,
        popularity=snapshot.popularity,
        index=ExactIndex(vectors, np.arange(len(vectors), dtype=np.int32)),
        scoring=scoring,
        variants=snapshot.variants,
        rates=snapshot.rates,
        catalogue=Catalogue(pa.Table.from_pandas(with_sales(data.articles, data.log)[COLUMNS])),
        encoders=data.training.encoders,
        customer_ids=as_bytes(data.customers["customer_id"]),
        customer_table=pa.Table.from_pandas(data.customers.drop(columns="customer_id"), preserve_index=False),
        attributes=snapshot.attributes,
        log=data.log,
        customer_features=snapshot.side.customers,
        manifest={"version": "experiment"},
    )
