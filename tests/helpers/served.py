"""A recommender of random towers over the small data, as loaded or as published."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from hm_utils.data.features import Encoders
from hm_utils.data.ids import as_bytes
from hm_utils.data.purchases import PurchaseLog
from hm_utils.evaluation.replay import replay
from hm_utils.files import file_entries
from hm_utils.model.checkpoint import FORMAT, plain, save_checkpoint
from hm_utils.model.scoring import Repurchase, Scoring
from hm_utils.model.snapshot import Snapshot
from hm_utils.retrieval.index import build_index
from hm_utils.serving import bundle
from hm_utils.serving.article_map import layout, pack
from hm_utils.serving.bundle import publish
from hm_utils.serving.catalogue import COLUMNS, Catalogue, with_sales
from hm_utils.serving.model_folder import ModelContent, write_model
from hm_utils.serving.recommender import Recommender
from tests.helpers.data import article_table, customer_table, random_log
from tests.helpers.files import write_over
from tests.helpers.snapshots import random_training, snapshot_of

SCORING = Scoring(0.9, 0.4, 1.0, 0.1, Repurchase(0.5, 0.2, 2.0, 0.3, -0.4, 0.6, -0.2, 0.4, -0.3, 0.5, 1.0))

DECISION = {"verdict": "not worse", "reason": "Published although it is new", "against": ["It finds few."]}


def random_replay(log: PurchaseLog) -> dict[str, Any]:
    """Random rankings and best-sellers for the buyers of the last week."""
    as_of = log.last_day - 6
    truth = log.baskets_between(as_of, log.last_day + 1)
    rng = np.random.default_rng(0)
    rankings = {
        "two-tower + repurchase": np.stack([rng.permutation(log.n_articles)[:12] for _ in range(len(truth))]),
        "recent popularity": np.tile(np.argsort(-log.sales_between(0, as_of), kind="stable")[:12], (len(truth), 1)),
    }
    typed = {name: ranked.astype(np.int32) for name, ranked in rankings.items()}
    return replay(typed, truth, log, as_of, customer_table()["customer_id"], article_table()["article_id"])


def publish_random(artifacts: Path, scoring: Scoring = SCORING) -> Path:
    """Publish such a model in ``artifacts``; returns the folder of its version."""
    log = random_log()
    training = random_training(log, log.last_day + 1)
    snapshot = snapshot_of(training, log, log.last_day + 1)
    return publish_snapshot(artifacts, snapshot, training.encoders, article_table(), customer_table(), scoring)


def publish_snapshot(
    artifacts: Path,
    snapshot: Snapshot,
    encoders: Encoders,
    articles: pd.DataFrame,
    customers: pd.DataFrame,
    scoring: Scoring = SCORING,
) -> Path:
    identity = {
        "format": FORMAT,
        "tower_config": plain(asdict(snapshot.model.config)),
        "settings": {"history_length": snapshot.history_length},
    }
    checkpoint = artifacts / "towers.pt"
    save_checkpoint(checkpoint, snapshot.model, identity, [], 1)

    def write(folder: Path) -> dict[str, Any]:
        write_model(
            folder,
            checkpoint_path=checkpoint,
            snapshot=snapshot,
            index=build_index(snapshot.scorer(scoring).vectors),
            scoring=scoring,
            encoders=encoders,
            articles=articles,
            customers=customers,
            replay=random_replay(snapshot.log),
            packed_map=map_of(snapshot),
        )
        Recommender.open(folder).store_vectors(folder)
        golden = Recommender.open(folder).golden([1, 2, 3])
        return {"data": {"last_date": "2020-09-22"}, "parameters": {}, "metrics": {}, "golden": golden}

    return publish(artifacts, write, check=lambda folder: Recommender.load(folder))


def reseal(folder: Path, **facts: Any) -> Path:
    """Make an altered model consistent again, as somebody with bad luck or intent would; returns its new folder."""
    manifest = json.loads((folder / bundle.MANIFEST).read_text()) | facts
    manifest["files"] = file_entries(folder, exclude={bundle.MANIFEST})
    manifest["version"] = f"{manifest['version'].rpartition('-')[0]}-{bundle._digest(manifest)}"
    write_over(folder / bundle.MANIFEST, json.dumps(manifest).encode())
    return folder.rename(folder.with_name(manifest["version"]))


def random_recommender(log: PurchaseLog | None = None, scoring: Scoring = SCORING) -> Recommender:
    """As of the day after the log's last day; the index of 40 articles is exact."""
    log = log or random_log()
    training = random_training(log, log.last_day + 1)
    snapshot = snapshot_of(training, log, log.last_day + 1)
    customers = customer_table()
    content = ModelContent(
        user_tower=snapshot.model.user_tower,
        scale=snapshot.scale,
        history_length=snapshot.history_length,
        article_vectors=snapshot.article_vectors,
        popularity=snapshot.popularity,
        index=build_index(snapshot.scorer(scoring).vectors),
        scoring=scoring,
        variants=snapshot.variants,
        rates=snapshot.rates,
        catalogue=catalogue_of(article_table(), log),
        encoders=training.encoders,
        customer_ids=as_bytes(customers["customer_id"]),
        customer_table=pa.Table.from_pandas(customers.drop(columns="customer_id"), preserve_index=False),
        attributes=snapshot.attributes,
        log=log,
        manifest={"version": "test", "metrics": {"decision": DECISION}},
        replay=random_replay(log),
        packed_map=map_of(snapshot),
        card="# Model card\n",
    )
    return Recommender(content)


def catalogue_of(articles: pd.DataFrame, log: PurchaseLog) -> Catalogue:
    return Catalogue(pa.Table.from_pandas(with_sales(articles, log)[COLUMNS]))


def map_of(snapshot: Snapshot) -> bytes:
    articles = article_table()
    places = layout(snapshot.article_vectors)
    return pack(places, articles["article_id"].tolist(), articles["index_group_name"])


def unpacked(packed: bytes) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Groups, ids, places ``[n, 2]`` and codes, read as the page reads them."""
    n, length = np.frombuffer(packed, "<u4", 2)
    at = 8 + length
    assert at % 4 == 0
    product = np.frombuffer(packed, "<u4", n, at)
    variant, x, y = (np.frombuffer(packed, "<u2", n, at + (4 + 2 * i) * n) for i in range(3))
    group = np.frombuffer(packed, "u1", n, at + 10 * n)
    assert len(packed) == at + 11 * n
    ids = [f"{p * 1000 + v:010d}" for p, v in zip(product.tolist(), variant.tolist(), strict=True)]
    return json.loads(packed[8:at])["groups"], ids, np.stack([x, y], axis=1).astype(float), group
