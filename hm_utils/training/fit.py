"""Training on the preprocessed data: the towers that fit it, the inputs of a step, and the validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from hm_utils.data.features import STATE_COLUMNS, CatalogueState
from hm_utils.data.preprocessing import Preprocessed, TrainingData
from hm_utils.data.purchases import PurchaseLog
from hm_utils.model.tower_classes import tower_name
from hm_utils.model.towers import TowerConfig
from hm_utils.training import vector_health
from hm_utils.training.batches import BatchMaker
from hm_utils.training.loop import AfterEpoch, TrainingInputs, TrainingResult, TrainingSettings, Validate, train
from hm_utils.training.validation import MONITOR, validation


def tower_config(
    training: TrainingData,
    embedding_dim: int,
    hidden_dims: Sequence[int],
    output_dim: int,
    ensemble_size: int = 1,
    user_tower: str | type[nn.Module] = "",
    item_tower: str | type[nn.Module] = "",
) -> TowerConfig:
    """The towers that fit the vocabularies and the side features of ``training``.

    Args:
        user_tower, item_tower: classes of one's own, or their names ``package.module:Class``.

    Raises:
        TowerError: there is no such class, or it is no ``torch.nn.Module``.
    """
    return TowerConfig(
        article_sizes=tuple(training.encoders.article_sizes),
        n_state=len(STATE_COLUMNS),
        customer_sizes=tuple(training.encoders.customer_sizes),
        embedding_dim=embedding_dim,
        hidden_dims=tuple(hidden_dims),
        output_dim=output_dim,
        ensemble_size=ensemble_size,
        user_tower=tower_name(user_tower),
        item_tower=tower_name(item_tower),
        n_item_features=0 if training.side.articles is None else training.side.articles.shape[1],
        n_customer_features=0 if training.side.customers is None else training.side.customers.shape[1],
    )


def training_inputs(log: PurchaseLog, training: TrainingData, settings: TrainingSettings) -> TrainingInputs:
    """The inputs of the training loop, cut into batches as the settings say."""
    batches = BatchMaker(
        log, training.examples, settings.batch_size, settings.history_length, settings.use_in_batch_negatives
    )
    return TrainingInputs(batches, training.categories, CatalogueState(log), training.attributes, training.side)


def watched_validation(data: Preprocessed, inputs: TrainingInputs, settings: TrainingSettings) -> Validate:
    """The metrics on the validation days, and the health of the vectors on the latest examples."""
    probe = vector_health.probe_batch(inputs.batches, settings.seed)
    return vector_health.watch(validation(data, inputs.state, settings.history_length), probe, inputs)


def fit(
    data: Preprocessed,
    inputs: TrainingInputs,
    config: TowerConfig,
    settings: TrainingSettings,
    checkpoint_path: Path,
    after_epoch: AfterEpoch | None = None,
) -> TrainingResult:
    """Train on the training days, watched on the validation days: :func:`hm_utils.training.loop.train`.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    validate = watched_validation(data, inputs, settings)
    fingerprint = data.fingerprint
    return train(config, inputs, settings, checkpoint_path, fingerprint, validate, MONITOR, after_epoch=after_epoch)


def fit_everything(
    data: Preprocessed, training: TrainingData, config: TowerConfig, settings: TrainingSettings, checkpoint_path: Path
) -> TrainingResult:
    """Train on ``training``, made of all days of ``data``, for all ``num_epochs``: no day is left to validate on."""
    inputs = training_inputs(data.log, training, settings)
    return train(config, inputs, settings, checkpoint_path, refit_fingerprint(data))


def refit_fingerprint(data: Preprocessed) -> str:
    """Identifies the data of :func:`fit_everything`."""
    return f"{data.fingerprint}-refit"


def open_inputs(
    training: Path, preprocessed: Path, settings: TrainingSettings, validates: bool
) -> tuple[TrainingInputs, Validate | None]:
    """The inputs of a worker on Ray, memory-mapped: the log, and the training data in the folder ``training``.

    The process that started the training has verified the files. The worker that validates verifies them again.
    """
    log = PurchaseLog.load(preprocessed / "log")
    inputs = training_inputs(log, TrainingData.load(training), settings)
    return inputs, watched_validation(Preprocessed.load(preprocessed), inputs, settings) if validates else None
