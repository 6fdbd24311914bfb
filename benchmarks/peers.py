"""Recommenders of other projects, on the purchases that `benchmarks.quality` hands over.

    make bench-env
    .venv-peers/bin/python -m benchmarks.peers --interactions x.parquet --customers y.parquet --peer sasrec \\
        --seed 1 --output recs.parquet

The peers need an older numpy and pandas, so they have an environment of their own
(`benchmarks/peers-requirements.txt`), and nothing of `hm_utils` is imported here. Input: purchases with columns `user,
item, day`, in order of purchase, and customers with a column `user`. Output: `user, item, rank` (1 is the best), at
most 100 articles a customer, without customers whom the peer cannot serve. `recs.json` beside it has the seconds.
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
SASREC = {"n_factors": 64, "n_blocks": 1, "n_heads": 4, "lr": 0.003, "batch_size": 64}
# 128 random articles a position: on a CPU several times faster than the softmax over all of them.
SAMPLED = {**SASREC, "loss": "sampled_softmax", "n_negatives": 128}

# The settings to try for each peer; the best on the validation days is taken.
SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "sasrec": (*({**SAMPLED, "epochs": epochs} for epochs in (8, 16)), {**SASREC, "epochs": 12}),
    "item-item": tuple(
        {"model": model, "K": neighbours, "half_life": half_life}
        for half_life in (None, 3.0)
        for model in ("CosineRecommender", "BM25Recommender")
        for neighbours in (20, 100, 500)
    ),
}


def sasrec(interactions: pd.DataFrame, seed: int, epochs: int, **settings: Any) -> Any:
    """SASRec (Kang & McAuley 2018) of RecTools, by default with the softmax over all articles; not fitted.

    A sequence has at most 20 purchases, fewer where most customers have fewer: RecTools computes the softmax for the
    padding too.
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
    """Nearest neighbours of implicit (a class of ``implicit.nearest_neighbours``), through RecTools; not fitted.

    An article is its own nearest neighbour, so a purchase can be recommended again.
    """
    recommender = getattr(importlib.import_module("implicit.nearest_neighbours"), model)
    wrapper = importlib.import_module("rectools.models").ImplicitItemKNNWrapperModel
    return wrapper(recommender(**settings, num_threads=torch.get_num_threads()))


PEERS: dict[str, Callable[..., Any]] = {"sasrec": sasrec, "item-item": item_item}


def make_dataset(interactions: pd.DataFrame, half_life: float | None) -> Any:
    """RecTools' dataset of the purchases; an article counts once a day.

    A purchase weighs half for every ``half_life`` days before the last; None: all weigh the same. SASRec reads the
    order and weighs its loss, nearest neighbours read the weights alone.
    """
    distinct = interactions.drop_duplicates(["user", "item", "day"])
    age = distinct["day"].max() - distinct["day"]
    columns = {
        "user_id": distinct["user"],
        "item_id": distinct["item"],
        "datetime": pd.Timestamp("2000-01-01") + pd.to_timedelta(distinct["day"], unit="D"),
        "weight": 0.5 ** (age / half_life) if half_life else 1.0,
    }
    return importlib.import_module("rectools.dataset").Dataset.construct(pd.DataFrame(columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("interactions", "customers", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="Parquet file")
    parser.add_argument("--peer", choices=list(PEERS), required=True)
    parser.add_argument("--settings", type=json.loads, help="JSON object (default: the first of SETTINGS)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings: dict[str, Any] = dict(options.settings or SETTINGS[options.peer][0])
    interactions, customers = pd.read_parquet(options.interactions), pd.read_parquet(options.customers)["user"]
    dataset = make_dataset(interactions, settings.get("half_life"))
    own = {name: value for name, value in settings.items() if name != "half_life"}
    start = time.perf_counter()
    model = PEERS[options.peer](interactions, options.seed, **own).fit(dataset)
    fitted = time.perf_counter()
    # A purchase may be recommended again. SASRec knows no article that only customers of one purchase bought, and
    # excludes customers who bought nothing else.
    known = customers[customers.isin(interactions["user"])].to_numpy()
    found = model.recommend(known, dataset, TOP_K, filter_viewed=False, on_unsupported_targets="ignore")
    seconds = {"fit": fitted - start, "recommend": time.perf_counter() - fitted}
    table = pd.DataFrame({"user": found["user_id"], "item": found["item_id"], "rank": found["rank"]}).astype(np.int32)
    table.to_parquet(options.output, index=False)
    versions = {name: version(name) for name in ("RecTools", "pm-implicit", "torch", "numpy", "pandas")}
    facts = {"settings": settings, "served": int(table["user"].nunique()), "seconds": seconds, "versions": versions}
    options.output.with_suffix(".json").write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
