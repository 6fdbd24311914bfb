"""The model to publish: the validated settings, trained again on everything up to the last day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import Preprocessed, TrainingData, make_training_data
from hm_utils.model.checkpoint import read_checkpoint
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.towers import TOWER_CLASSES, TOWER_SIZES
from hm_utils.training.fit import fit_everything, tower_config
from hm_utils.training.loop import TrainingResult, TrainingSettings


@dataclass(frozen=True)
class Refit:
    """A model trained on every purchase, as of the morning after the last one."""

    training: TrainingData
    result: TrainingResult
    snapshot: Snapshot
    checkpoint_path: Path


def settings_of(checkpoint: dict[str, Any], **changes: Any) -> TrainingSettings:
    """The settings that a checkpoint was trained with, some of them changed."""
    return TrainingSettings(**{**checkpoint["settings"], **changes})


def refit(
    data: Preprocessed,
    checkpoint_path: Path,
    refit_path: Path,
    device: str = "auto",
    train: Callable[..., TrainingResult] = fit_everything,
) -> Refit:
    """Train on everything, with the settings and the number of epochs that validation chose.

    No days are held out, so nothing can be measured: the evaluation of the validated model is the estimate. An
    interrupted refit resumes, as any training does.

    Args:
        checkpoint_path: the validated model's checkpoint.
        refit_path: file for the new checkpoint.
        train: trains, with the arguments of :func:`fit_everything`.

    Raises:
        CheckpointError: the checkpoint cannot be used, or was trained on other preprocessed data.
        TowerError: it names tower classes that this process was not told to use.
    """
    checkpoint = read_checkpoint(checkpoint_path, data.fingerprint)
    settings = settings_of(checkpoint, num_epochs=checkpoint["epoch"], device=device)
    as_of = data.log.last_day + 1
    parameters = data.manifest["parameters"]
    training = make_training_data(
        data.articles,
        data.customers,
        data.log,
        as_of,
        parameters["train_weeks"],
        0 if settings.use_in_batch_negatives else parameters["negatives_per_positive"],
        parameters["seed"],
    )
    training = replace(training, side=data.training.side)
    facts = checkpoint["tower_config"]
    config = tower_config(training, **{name: facts[name] for name in TOWER_SIZES})
    # Not through tower_config, which would allow any class that a file names.
    config = replace(config, **{name: facts.get(name, "") for name in TOWER_CLASSES})
    result = train(data, training, config, settings, refit_path)
    snapshot = Snapshot.take(
        result.model,
        training.categories,
        CatalogueState(data.log).as_of(as_of),
        training.attributes,
        data.log,
        as_of,
        settings.history_length,
        side=training.side,
    )
    return Refit(training, result, snapshot, refit_path)
