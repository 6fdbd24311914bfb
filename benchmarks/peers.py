"""Recommenders of other projects, on the purchases that `benchmarks.quality` hands over.

    make bench-env
    .venv-peers/bin/python -m benchmarks.peers --interactions x.parquet --customers y.parquet --peer sasrec \\
        --seed 1 --output recs.parquet

The peers want an older numpy and pandas than this project. So they have an environment of their own
(`benchmarks/peers-requirements.txt`), nothing of `hm_utils` is imported here, and files of integers go to and fro:
purchases with columns `user, item, day` come in, in order of purchase, and customers with a column `user`;
`user, item, rank` (1 is the best) goes out, at most 100 articles a customer. A customer whom the peer cannot serve
is left out. `recs.json` beside the output says how long it took, and with which settings and versions.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

TOP_K = 100

# Against 128 random articles a place: on a CPU several times quicker than the softmax over all of them.
SAMPLED = {"loss": "sampled_softmax", "n_negatives": 128, "lr": 0.003, "batch_size": 64}

# What is tried for each peer; the best on the validation days is taken.
SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "sasrec": (
        *({**SAMPLED, "n_factors": 64, "n_blocks": 1, "n_heads": 4, "epochs": epochs} for epochs in (8, 16)),
        {"n_factors": 64, "n_blocks": 1, "n_heads": 4, "lr": 0.003, "batch_size": 64, "epochs": 12},
    ),
    "item-item": tuple(
        {"model": model, "K": neighbours, "half_life": half_life}
        for half_life in (None, 3.0)
        for model in ("CosineRecommender", "BM25Recommender")
        for neighbours in (20, 100, 500)
    ),
}


def sasrec(interactions: pd.DataFrame, seed: int, epochs: int, **settings: Any) -> Any:
    """SASRec (Kang & McAuley 2018) of RecTools, with the softmax over all articles if nothing else is said; not fitted.

    Args:
        interactions: tell how long the sequences are: 20 purchases, or fewer where most customers have fewer, as
            RecTools computes the softmax for the padding too.
        seed: of the weights and the batches.
        epochs: passes over the customers.
        settings: further arguments of RecTools' ``SASRecModel``.
    """
    lightning = importlib.import_module("pytorch_lightning")
    lightning.seed_everything(seed)

    def trainer() -> Any:
        return lightning.Trainer(
            max_epochs=epochs, deterministic=True, accelerator="cpu", logger=False, enable_checkpointing=False
        )

    lengths = interactions["user"].value_counts()
    length = int(np.clip(lengths[lengths > 1].quantile(0.95), 2, 20))
    model = importlib.import_module("rectools.models").SASRecModel
    return model(**{"loss": "softmax", "session_max_len": length, **settings}, get_trainer_func=trainer)


def item_item(interactions: pd.DataFrame, seed: int, model: str, **settings: Any) -> Any:
    """Nearest neighbours of implicit, through RecTools; not fitted yet.

    An article is its own nearest neighbour, so what was bought can be recommended again.

    Args:
        interactions, seed: not read, there is nothing random in it.
        model: name of the class in ``implicit.nearest_neighbours``.
        settings: its arguments.
    """
    recommender = getattr(importlib.import_module("implicit.nearest_neighbours"), model)
    wrapper = importlib.import_module("rectools.models").ImplicitItemKNNWrapperModel
    return wrapper(recommender(**settings, num_threads=torch.get_num_threads()))


PEERS: dict[str, Callable[..., Any]] = {"sasrec": sasrec, "item-item": item_item}


def make_dataset(interactions: pd.DataFrame, half_life: float | None) -> Any:
    """RecTools' dataset of the purchases, an article counting once a day.

    A purchase weighs half for every ``half_life`` days before the last; None: all weigh the same. SASRec reads the
    order and weighs its loss, nearest neighbours read the weights alone.
    """
    distinct = interactions.drop_duplicates(["user", "item", "day"])
    age = distinct["day"].max() - distinct["day"]
    table = pd.DataFrame(
        {
            "user_id": distinct["user"],
            "item_id": distinct["item"],
            "datetime": pd.Timestamp("2000-01-01") + pd.to_timedelta(distinct["day"], unit="D"),
            "weight": 0.5 ** (age / half_life) if half_life else 1.0,
        }
    )
    return importlib.import_module("rectools.dataset").Dataset.construct(table)


def run(
    peer: str, interactions: pd.DataFrame, customers: pd.Series, settings: dict[str, Any], seed: int
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Fit a peer and ask it for recommendations.

    Returns:
        the table ``user, item, rank``, and the seconds of fitting and of recommending.
    """
    settings = dict(settings)
    dataset = make_dataset(interactions, settings.pop("half_life", None))
    start = time.perf_counter()
    model = PEERS[peer](interactions, seed, **settings).fit(dataset)
    fitted = time.perf_counter()
    # What was bought may be bought again. SASRec knows no article that only customers of one purchase bought, and
    # leaves out whoever bought nothing else.
    known = customers[customers.isin(interactions["user"])].to_numpy()
    found = model.recommend(known, dataset, TOP_K, filter_viewed=False, on_unsupported_targets="ignore")
    table = pd.DataFrame({"user": found["user_id"], "item": found["item_id"], "rank": found["rank"]}).astype(np.int32)
    return table, {"fit": fitted - start, "recommend": time.perf_counter() - fitted}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=Path, required=True, help="Parquet file: user, item, day")
    parser.add_argument("--customers", type=Path, required=True, help="Parquet file: user")
    parser.add_argument("--peer", choices=list(PEERS), required=True)
    parser.add_argument("--settings", type=json.loads, help="JSON object (default: the first of SETTINGS)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, required=True, help="Parquet file: user, item, rank")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = options.settings if options.settings is not None else SETTINGS[options.peer][0]
    interactions, customers = pd.read_parquet(options.interactions), pd.read_parquet(options.customers)["user"]
    table, seconds = run(options.peer, interactions, customers, settings, options.seed)
    table.to_parquet(options.output, index=False)
    facts = {
        "peer": options.peer,
        "settings": settings,
        "seed": options.seed,
        "served": int(table["user"].nunique()),
        "seconds": seconds,
        "versions": {name: version(name) for name in ("RecTools", "pm-implicit", "torch", "numpy", "pandas")},
    }
    options.output.with_suffix(".json").write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
