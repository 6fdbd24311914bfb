"""Whether a model may be published, and publishing it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather

from hm_utils.arrays import Float32, Int32
from hm_utils.data.features import Encoders
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.data.purchases import PurchaseLog
from hm_utils.evaluation.comparison import Evaluation
from hm_utils.evaluation.replay import write_replay
from hm_utils.model.checkpoint import read_checkpoint
from hm_utils.model.scoring import Scoring, Variants
from hm_utils.model.towers import TOWER_SIZES
from hm_utils.retrieval.index import ExactIndex, Index, ScannIndex, build_index
from hm_utils.retrieval.index_tuning import Choice, choose_leaves
from hm_utils.serving import bundle
from hm_utils.serving.article_map import write_map
from hm_utils.serving.catalogue import with_sales
from hm_utils.serving.layout import layout
from hm_utils.serving.recommender import Recommender
from hm_utils.training.refit import Refit

logger = logging.getLogger(__name__)

GOLDEN_CUSTOMERS = 5
TWO_TOWER = "two-tower"
PUBLISHED = "two-tower + repurchase"  # what is published, by its name in the tables


@dataclass(frozen=True)
class Decision:
    """Whether to publish, and the reason in words."""

    publish: bool
    reason: str


# Each model has to rank better than these. The two-tower alone too, as popularity and repurchase would carry
# towers that have learned nothing.
FLOORS = {TWO_TOWER: ("popularity",), PUBLISHED: ("popularity", "recent popularity")}


def decide(evaluation: Evaluation, floors: Mapping[str, tuple[str, ...]] = FLOORS) -> Decision:
    """A model must rank better than showing everybody the best-sellers, by MAP@12 on the test days."""
    compared = []
    for model, rivals in floors.items():
        floor = max(rivals, key=evaluation.mean)
        ours, theirs = evaluation.mean(model), evaluation.mean(floor)
        compared.append(f"MAP@12 {ours:.4f} of {model} against {theirs:.4f} of {floor}")
        if not ours > theirs:
            reason = f"{compared[-1]}: no better than the best-sellers, so the published model stays as it was"
            return Decision(False, reason)
    return Decision(True, f"{'; '.join(compared)}: better than the best-sellers, so it may be published")


def index_for_serving(vectors: Float32, queries: Float32) -> tuple[Index, Choice]:
    """The cheapest index that finds 99 % of exact search's first 100; exact search where none does.

    Args:
        vectors: ``[n_articles, d]`` unit vectors.
        queries: ``[m, d]`` customers' vectors to measure with.

    Returns:
        The index and what was measured of that very index, also where exact search takes ScaNN's place.
    """
    choice = choose_leaves(build_index(vectors), queries)
    if not choice.reached and isinstance(choice.index, ScannIndex):
        logger.warning("ScaNN finds %.1f %% of the list at most: serving exact search", 100 * choice.recall)
        choice = choose_leaves(choice.index.exact, queries)
    return choice.index, choice


def publish_model(
    artifacts_dir: Path,
    data: Preprocessed,
    refit: Refit,
    index: Index,
    scoring: Scoring,
    evaluation: Evaluation,
    parameters: Mapping[str, Any],
    index_recall: float,
    replay: Mapping[str, Any],
) -> Path:
    """Write the model beside what is served, check it, and swap it in. See :func:`hm_utils.serving.bundle.publish`.

    Args:
        index: of the refit's ``snapshot.index_vectors(scoring)``.
        scoring: the weights of popularity and repurchase.
        parameters: of the evaluation; those of preprocessing and of the refit's training are known from them.
        replay: some of the lists that the evaluation scored, from :func:`hm_utils.evaluation.replay.replay`.

    Returns:
        The folder of the published version.
    """

    def write(folder: Path) -> dict[str, Any]:
        write_model(
            folder,
            refit.checkpoint_path,
            refit.snapshot.article_vectors,
            index,
            scoring,
            refit.snapshot.variants,
            data.articles,
            data.customers,
            refit.training.encoders,
            refit.training.attributes,
            data.log,
        )
        write_replay(folder, replay)
        logger.info("laying out the map of the articles")
        embeddings = refit.snapshot.article_vectors[:, : refit.result.model.config.total_output_dim]
        write_map(folder, layout(embeddings), data.articles)
        Recommender.open(folder, {}).store_queries(folder / "queries.npy")
        recommender = Recommender.open(folder, {})
        rows = np.random.default_rng(0).choice(
            recommender.n_customers, min(GOLDEN_CUSTOMERS, recommender.n_customers), replace=False
        )
        checkpoint = read_checkpoint(refit.checkpoint_path)
        sizes = {name: checkpoint["tower_config"][name] for name in TOWER_SIZES}
        return {
            "data": {
                "fingerprint": data.fingerprint,
                "raw_fingerprint": data.manifest["raw_fingerprint"],
                "last_date": data.manifest["last_date"],
                "counts": data.manifest["counts"],
            },
            # Apart, as one name says different things: the seed of the weights is not that of the bootstrap.
            "parameters": {
                "preprocessing": data.manifest["parameters"],
                "training": {**checkpoint["settings"], **sizes},
                "evaluation": parameters,
            },
            "metrics": {
                "index": {"kind": "exact" if isinstance(index, ExactIndex) else "scann", "recall@100": index_recall},
                "held_out_test": evaluation.to_dict(),
            },
            "golden": recommender.golden(sorted(rows.tolist())),
        }

    return bundle.publish(artifacts_dir, write, check=lambda folder: Recommender.load(folder))


def write_model(
    folder: Path,
    checkpoint_path: Path,
    article_vectors: Float32,
    index: Index,
    scoring: Scoring,
    variants: Variants,
    articles: pd.DataFrame,
    customers: pd.DataFrame,
    encoders: Encoders,
    attributes: Int32,
    log: PurchaseLog,
) -> None:
    """Write the files of a model into an empty ``folder`` (all but the manifest, which publishing adds)."""
    shutil.copyfile(checkpoint_path, folder / "checkpoint.pt")
    np.save(folder / "article_vectors.npy", article_vectors, allow_pickle=False)
    index.save(folder / "index")
    (folder / "scoring.json").write_text(json.dumps(asdict(scoring)))
    variants.save(folder / "variants")
    encoders.save(folder)
    with_sales(articles, log).to_parquet(folder / "articles.parquet", index=False)
    known = pa.Table.from_pandas(customers.drop(columns="customer_id"), preserve_index=False)
    for place, name in enumerate(known.column_names):
        if not pa.types.is_floating(known[name].type):  # texts repeat
            known = known.set_column(place, name, known[name].combine_chunks().dictionary_encode())
    # Not Parquet: a row of an Arrow file is read where it lies, without the rest.
    pa.feather.write_feather(known, folder / "customers.arrow", compression="uncompressed", chunksize=len(known))
    ids = customers["customer_id"].to_numpy(dtype="U64").astype("S64")
    np.save(folder / "customer_ids.npy", ids, allow_pickle=False)
    np.save(folder / "attributes.npy", attributes, allow_pickle=False)
    log.save(folder / "log")
