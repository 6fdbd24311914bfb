"""Publishing a model: the index to serve, the files, and the swap."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hm_utils.arrays import Float32
from hm_utils.data.features import Encoders
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.model.checkpoint import read_checkpoint
from hm_utils.model.scoring import Scoring
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.towers import TOWER_CLASSES, TOWER_SIZES
from hm_utils.retrieval.index import Index, ScannIndex, build_index
from hm_utils.retrieval.index_tuning import Choice, choose_leaves
from hm_utils.serving import bundle
from hm_utils.serving.article_map import layout, pack
from hm_utils.serving.model_card import model_card
from hm_utils.serving.model_folder import CARD, write_model
from hm_utils.serving.recommender import Recommender

logger = logging.getLogger(__name__)

GOLDEN_CUSTOMERS = 5


def index_for_serving(vectors: Float32, queries: Float32) -> tuple[Index, Choice]:
    """The cheapest index that finds 99 % of exact search's first 100; exact search where none does.

    Args:
        vectors: ``[n_articles, d]`` unit vectors.
        queries: ``[m, d]`` customers' vectors to measure with.

    Returns:
        The index and its own measurements, also where exact search replaces ScaNN.
    """
    choice = choose_leaves(build_index(vectors), queries)
    if not choice.reached and isinstance(choice.index, ScannIndex):
        logger.warning("ScaNN finds %.1f %% of the ranking at most: serving exact search", 100 * choice.recall)
        choice = choose_leaves(choice.index.exact, queries)
    return choice.index, choice


def published_verdict(artifacts_dir: Path) -> str | None:
    """The verdict of the decision on the published model, None without one; see hm_utils.evaluation.decision."""
    try:
        return str(bundle.read_manifest(artifacts_dir / "model")["metrics"]["decision"]["verdict"])
    except (bundle.BundleError, KeyError, TypeError):
        return None


def publish_model(
    artifacts_dir: Path,
    data: Preprocessed,
    *,
    checkpoint_path: Path,
    snapshot: Snapshot,
    encoders: Encoders,
    index: Index,
    scoring: Scoring,
    replay: Mapping[str, Any],
    metrics: Mapping[str, Any],
    parameters: Mapping[str, Any],
    parent: str | None = None,
) -> Path:
    """Write the model beside the served one, check it, and swap it in. See :func:`hm_utils.serving.bundle.publish`.

    Args:
        data: the preprocessed data that the model was made from.
        checkpoint_path: of the snapshot's towers.
        snapshot: on the morning after the last day.
        encoders: the vocabularies of these towers.
        index: of the vectors of ``snapshot.scorer(scoring)``.
        scoring: the weights of a score.
        replay: rankings of the evaluation beside the purchases that followed.
        metrics: for the manifest, plain values: ``held_out_test``, ``ranking`` (the published one of these),
            ``decision`` and ``index``.
        parameters: those of the evaluation; preprocessing's and training's are in ``data`` and in the checkpoint.
        parent: the version whose towers these are, if they were not trained for this one.

    Returns:
        The folder of the published version.
    """

    def write(folder: Path) -> dict[str, Any]:
        logger.info("computing the map of the articles")
        ids, groups = data.articles["article_id"].tolist(), data.articles["index_group_name"]
        write_model(
            folder,
            checkpoint_path=checkpoint_path,
            snapshot=snapshot,
            index=index,
            scoring=scoring,
            encoders=encoders,
            articles=data.articles,
            customers=data.customers,
            replay=replay,
            packed_map=pack(layout(snapshot.article_vectors), ids, groups),
        )
        Recommender.open(folder).store_vectors(folder)
        recommender = Recommender.open(folder)
        rows = np.random.default_rng(0).choice(
            recommender.n_customers, min(GOLDEN_CUSTOMERS, recommender.n_customers), replace=False
        )
        checkpoint = read_checkpoint(checkpoint_path)
        towers = checkpoint["tower_config"]
        chosen = {name: towers[name] for name in TOWER_SIZES}
        chosen |= {name: towers[name] for name in TOWER_CLASSES if towers.get(name)}
        facts = {
            "data": {
                "fingerprint": data.fingerprint,
                "raw_fingerprint": data.manifest["raw_fingerprint"],
                "origin": data.manifest.get("origin"),
                "last_date": data.manifest["last_date"],
                "counts": data.manifest["counts"],
                "parent": parent,
                "hm_ids": data.manifest.get("hm_ids", True),
            },
            # Apart: one name can mean different things, such as the seed of the weights and that of the bootstrap.
            "parameters": {
                "preprocessing": data.manifest["parameters"],
                "training": {**checkpoint["settings"], **chosen},
                "evaluation": parameters,
            },
            "metrics": metrics,
            "golden": recommender.golden(sorted(rows.tolist())),
        }
        (folder / CARD).write_text(model_card(facts, data.split.test_end), encoding="utf-8")
        return facts

    return bundle.publish(artifacts_dir, write, check=lambda folder: Recommender.load(folder))
