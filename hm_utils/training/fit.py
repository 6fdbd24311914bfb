"""Training on what notebook 02 saved: what is trained on, what validates it, and where, here or on Ray."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from hm_utils.cluster import require_ray
from hm_utils.data.examples import BatchMaker
from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import Preprocessed, TrainingData
from hm_utils.data.purchases import PurchaseLog
from hm_utils.engines import check_engine
from hm_utils.model.towers import TowerConfig
from hm_utils.training import vector_health
from hm_utils.training.loop import TrainingInputs, TrainingResult, TrainingSettings, Validate, train
from hm_utils.training.validation import MONITOR, validation


def training_inputs(log: PurchaseLog, training: TrainingData, settings: TrainingSettings) -> TrainingInputs:
    """What a training step reads, cut into batches as the settings say."""
    batches = BatchMaker(
        log, training.examples, settings.batch_size, settings.history_length, settings.use_in_batch_negatives
    )
    return TrainingInputs(batches, training.categories, CatalogueState(log), training.attributes)


def watched_validation(data: Preprocessed, inputs: TrainingInputs, settings: TrainingSettings) -> Validate:
    """The metrics on the validation days, and the health of the vectors on the latest examples."""
    probe = vector_health.probe_batch(inputs.batches, settings.seed)
    return vector_health.watch(validation(data, inputs.state, settings.history_length), probe, inputs)


def fit(
    data: Preprocessed,
    inputs: TrainingInputs,
    tower_config: TowerConfig,
    settings: TrainingSettings,
    checkpoint_path: Path,
    engine: str = "local",
    num_workers: int = 1,
) -> TrainingResult:
    """Train on the training days, watched on the validation days: :func:`hm_utils.training.loop.train`.

    Args:
        inputs: of the training days of ``data``; workers of Ray open their own.
        engine: "local" trains in this process, "ray" on ``num_workers`` workers of a cluster, with the same results.

    Raises:
        ValueError: ``engine`` is neither, or ``num_workers`` does not fit it.
        ClusterError: Ray is not installed, or cannot train.
        FloatingPointError: the loss is not finite.
    """
    if _on_ray(engine, num_workers):
        from hm_utils.cluster.training import train_on_ray

        opens = partial(open_inputs, data.directory / "training", data.directory, settings)
        where = (checkpoint_path, data.fingerprint)
        return train_on_ray(tower_config, opens, settings, *where, monitor=MONITOR, num_workers=num_workers)
    validate = watched_validation(data, inputs, settings)
    return train(tower_config, inputs, settings, checkpoint_path, data.fingerprint, validate, MONITOR)


def fit_everything(
    data: Preprocessed,
    training: TrainingData,
    tower_config: TowerConfig,
    settings: TrainingSettings,
    checkpoint_path: Path,
    engine: str = "local",
    num_workers: int = 1,
) -> TrainingResult:
    """Train on ``training``, made of all days of ``data``: all ``num_epochs``, as there is nothing to validate on.

    The other arguments and errors are :func:`fit`'s.
    """
    where = (checkpoint_path, f"{data.fingerprint}-refit")
    if _on_ray(engine, num_workers):
        from hm_utils.cluster.training import train_on_ray

        folder = checkpoint_path.absolute().with_name(checkpoint_path.name + ".training")
        shutil.rmtree(folder, ignore_errors=True)
        training.save(folder)
        opens = partial(open_inputs, folder, data.directory, settings)
        try:
            return train_on_ray(tower_config, opens, settings, *where, validated=False, num_workers=num_workers)
        finally:
            shutil.rmtree(folder)
    return train(tower_config, training_inputs(data.log, training, settings), settings, *where)


def open_inputs(
    training: Path, preprocessed: Path, settings: TrainingSettings, validates: bool
) -> tuple[TrainingInputs, Validate | None]:
    """What a worker of Ray trains on, memory-mapped: the log, and the training data in the folder ``training``.

    Whoever started the training has verified the files; the worker that validates does so again.
    """
    log = PurchaseLog.load(preprocessed / "log")
    inputs = training_inputs(log, TrainingData.load(training), settings)
    return inputs, watched_validation(Preprocessed.load(preprocessed), inputs, settings) if validates else None


def _on_ray(engine: str, num_workers: int) -> bool:
    """Whether a cluster trains; raises as :func:`fit` does, before Ray is imported."""
    check_engine(engine, num_workers)
    if engine == "ray":
        require_ray()
    return engine == "ray"
