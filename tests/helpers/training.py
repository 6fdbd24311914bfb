"""A training on the small data that takes a second."""

from dataclasses import replace
from pathlib import Path

from hm_utils.data.preprocessing import make_training_data
from hm_utils.training.fit import tower_config, training_inputs
from hm_utils.training.loop import TrainingSettings, train
from tests.helpers.data import article_table, customer_table, random_log

LENGTH = 5
SMALL = TrainingSettings(batch_size=64, num_epochs=4, history_length=LENGTH, device="cpu")


def fixed_parts():
    log = random_log()
    return log, make_training_data(article_table(), customer_table(), log, 40, 4, negatives_per_positive=2)


def run(parts, path: Path, validate=None, fingerprint="data", **changes):
    log, training = parts
    settings = replace(SMALL, **changes)
    return train(
        tower_config(training, 8, [16], 8),
        training_inputs(log, training, settings),
        settings,
        path,
        fingerprint,
        validate,
        "score",
    )


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}
