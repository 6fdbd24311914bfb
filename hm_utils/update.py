"""Newer purchases, customers and articles in the published model, with its towers as they are.

    python -m hm_utils.update --data-dir data/raw [--artifacts-dir artifacts]
    python -m hm_utils.update --data-dir data/raw --epochs 2     # and a few epochs from the published weights

The tables replace those that the model was made from: they hold the old purchases and the new ones. Histories, the
catalogue's state, popularity, the rates of buying again and the index are made anew. A customer who is new has their
purchases, and an article that is new its categories, so both get vectors from the same towers. Weights of the score,
and the evaluation, are the parent's. The result is a version of its own, published atomically, that names its parent.

Values that the towers have not seen (a new colour) stay unknown to them until a training.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hm_utils.data.examples import make_examples
from hm_utils.data.features import CatalogueState, Encoders, mean_prices
from hm_utils.data.preprocessed_folder import PreprocessedError
from hm_utils.data.preprocessing import TrainingData, first_example_day, preprocess
from hm_utils.data.raw import read_raw
from hm_utils.data.schema import RawDataError
from hm_utils.files import follow, resolve
from hm_utils.model.checkpoint import read_checkpoint, restore
from hm_utils.model.scoring import Scoring
from hm_utils.model.snapshot import Snapshot
from hm_utils.pipeline.artifacts import own_path
from hm_utils.serving import bundle
from hm_utils.serving.bundle import BundleError
from hm_utils.serving.model_folder import CHECKPOINT, REPLAY, SCORING, articles_of
from hm_utils.serving.publishing import index_for_serving, publish_model
from hm_utils.training.fit import training_inputs
from hm_utils.training.loop import TrainingSettings, train

logger = logging.getLogger(__name__)

TUNED_ON = 1_000  # customers whose queries choose the index's leaves


class UpdateError(Exception):
    """The tables cannot update the published model; the message says why and what to do."""


def update(data_dir: Path, artifacts_dir: Path, epochs: int = 0, seed: int = 42) -> Path:
    """Publish the model in ``artifacts_dir`` again with the tables in ``data_dir``; returns the new version's folder.

    Args:
        epochs: epochs of training from the published weights, on the examples of the last ``train_weeks``.
        seed: of the customers that the index is tuned on, and of the training.

    Raises:
        BundleError: no model is published, or it is damaged.
        UpdateError: the tables are older than the model, or lack articles of its replay; or the model has features
            from files of their own, or is of an older version of this program.
        RawDataError, PreprocessedError: the tables cannot be read, or leave nothing.
    """
    parent = bundle.current(artifacts_dir) or artifacts_dir / "model"  # verify says that there is none
    manifest = bundle.verify(parent)
    if "ranking" not in manifest["metrics"]:
        raise UpdateError(f"{parent.name} was published by an older version of this program: train a new model")
    parameters = dict(manifest["parameters"]["preprocessing"])
    if side := {"item_features", "customer_features"} & parameters.keys():
        raise UpdateError(
            f"the published model reads {', '.join(sorted(side))} from files, which an update cannot: train a new model"
        )
    columns = {name: parameters.pop(name) for name in ("article_columns", "customer_columns")}
    tables = read_raw(data_dir, **columns)
    folder = own_path(artifacts_dir / "preprocessed", tables.fingerprint, parameters, columns)
    data = preprocess(tables, folder, **parameters)
    if data.manifest["last_date"] < manifest["data"]["last_date"]:
        raise UpdateError(
            f"{data_dir}: the last purchase is of {data.manifest['last_date']}, and the published model knows those "
            f"until {manifest['data']['last_date']}: give the tables with the newer purchases"
        )
    replay = json.loads((parent / REPLAY).read_text())
    if missing := set(articles_of(replay)) - set(data.articles["article_id"]):
        raise UpdateError(
            f"{data_dir}: {len(missing):,} articles of the published model are missing, such as {min(missing)}: keep "
            "the articles of earlier purchases in the table, or train a new model with `make run`"
        )
    encoders, checkpoint_path = Encoders.load(parent), parent / CHECKPOINT
    facts = read_checkpoint(checkpoint_path)
    model, log, as_of = restore(facts, checkpoint_path), data.log, data.log.last_day + 1
    categories = encoders.encode_articles(data.articles, mean_prices(log, as_of))
    attributes = encoders.encode_customers(data.customers)
    if epochs:
        first = first_example_day(as_of, parameters["train_weeks"])
        training = TrainingData(as_of, encoders, categories, attributes, make_examples(log, first, as_of))
        settings = TrainingSettings(**facts["settings"] | {"num_epochs": epochs, "seed": seed, "device": "auto"})
        identity = f"{data.fingerprint}-{parent.name}"
        checkpoint_path = own_path(artifacts_dir / "checkpoints" / "update", identity, epochs, seed) / "two_tower.pt"
        checkpoint_path.parent.mkdir(parents=True, exist_ok=True)
        inputs = training_inputs(log, training, settings)
        model = train(model.config, inputs, settings, checkpoint_path, identity, start=model).model
    length = facts["settings"]["history_length"]
    snapshot = Snapshot.take(model, categories, CatalogueState(log).as_of(as_of), attributes, log, as_of, length)
    scoring = Scoring.from_dict(json.loads((parent / SCORING).read_text()))
    buyers = np.flatnonzero(log.has_bought(np.arange(log.n_customers), as_of))
    sample = np.random.default_rng(seed).choice(buyers, min(TUNED_ON, len(buyers)), replace=False)
    scorer = snapshot.scorer(scoring)
    index, choice = index_for_serving(scorer.vectors, np.unique(snapshot.queries(np.sort(sample), scorer), axis=0))
    return publish_model(
        artifacts_dir,
        data,
        checkpoint_path=checkpoint_path,
        snapshot=snapshot,
        encoders=encoders,
        index=index,
        scoring=scoring,
        replay=replay,
        metrics=manifest["metrics"] | {"index": {"kind": index.kind, "recall@100": choice.recall}},
        parameters=manifest["parameters"]["evaluation"],
        parent=parent.name,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hm_utils.update", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="the tables with old and new purchases")
    parser.add_argument("--artifacts-dir", type=Path, default=Path("artifacts"), help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=0, help="epochs from the published weights (%(default)s)")
    options = parser.parse_args(arguments)
    if options.epochs < 0:
        parser.error(f"--epochs must be 0 or more, not {options.epochs}")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        version = update(resolve(options.data_dir), follow(resolve(options.artifacts_dir)), options.epochs)
    except (UpdateError, BundleError, RawDataError, PreprocessedError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"published {version.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
