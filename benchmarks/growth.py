"""How the cost of every stage grows with the data.

    python -m benchmarks.growth [--rows 1 3 10 31.8] [--steps 200] [--json out.json]

For each size (in million purchases) a synthetic set is made, with as many customers as the real set has for so many
purchases and the whole catalogue over two years, and goes through every stage in a process of its own:

* sample: generating it and writing the three CSV files;
* preprocessing: `raw.read_raw` and `preprocessing.preprocess`, as notebook 02 calls them;
* training: an epoch, from the time of ``--steps`` steps at the notebooks' settings;
* index: encoding the catalogue, building and tuning the index;
* recommending: the first 12 for every customer, from the time of 20,000 of them.

The last column is the exponent of rows that fits the seconds best (least squares of the logarithms): 1 is in
proportion, and what does not depend on the rows is near 0.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measuring import machine, measured, save
from benchmarks.quality import notebook_parameters

# Of the real set: what a size is a part of.
CUSTOMERS, ARTICLES, DAYS, ROWS = 1_371_980, 105_542, 734, 31_788_324
BATCH_SIZE, HISTORY_LENGTH = 512, 20
ASKED = 20_000  # customers, for the time of everybody's recommendations
STAGES = ("sample", "preprocessing", "training, an epoch", "index", "recommending to all")


def make_sample(folder: Path, customers: int, articles: int, days: int) -> dict[str, Any]:
    from hm_utils.sample import SampleSize, write_sample

    write_sample(folder, SampleSize(customers=customers, articles=articles, days=days))
    return {}


def preprocess_sample(raw: Path, folder: Path) -> dict[str, Any]:
    from hm_utils.data.preprocessing import preprocess
    from hm_utils.data.raw import read_raw

    data = preprocess(read_raw(raw), folder)
    return {"rows": len(data.log), "examples": len(data.training.examples)}


def train_and_recommend(folder: Path, steps: int) -> dict[str, Any]:
    """Seconds of an epoch, of the index and of everybody's recommendations, the last two with the towers so far."""
    import pyarrow as pa
    import torch

    from hm_utils.data.examples import BatchMaker
    from hm_utils.data.features import CatalogueState
    from hm_utils.data.preprocessing import Preprocessed
    from hm_utils.model.scoring import Scoring
    from hm_utils.model.snapshot import Snapshot
    from hm_utils.model.towers import TOWER_SIZES, TwoTower
    from hm_utils.serving.catalogue import Catalogue
    from hm_utils.serving.publishing import index_for_serving
    from hm_utils.serving.recommender import Recommender
    from hm_utils.training.loop import Optimizers, TrainingInputs, TrainingSettings, batch_loss

    data, settings, rng = Preprocessed.load(folder), TrainingSettings(), np.random.default_rng(0)
    log, training, as_of = data.log, data.training, data.split.train_end
    state = CatalogueState(log)
    batches = BatchMaker(log.before(as_of), training.examples, BATCH_SIZE, HISTORY_LENGTH)
    torch.manual_seed(0)
    parameters = notebook_parameters({})
    sizes = [parameters[name] for name in TOWER_SIZES]
    model = TwoTower(training.tower_config(*sizes)).train()
    optimizers = Optimizers(model, settings.learning_rate)
    inputs = TrainingInputs(batches, training.categories, state, training.attributes)
    for day in np.unique(training.examples.day).tolist():
        state.as_of(day)  # once a day, not once a step: an epoch has few of them
    start = time.perf_counter()
    taken = list(islice(batches.epoch(rng), 1))  # sorting the epoch's examples is not a step's cost either
    sorting = time.perf_counter() - start
    start = time.perf_counter()
    for batch in islice(batches.epoch(rng), steps):
        optimizers.step(batch_loss(model, batch, inputs, "cpu"))
        taken.append(batch)
    per_step = (time.perf_counter() - start - sorting) / max(len(taken) - 1, 1)

    start = time.perf_counter()
    catalogue = state.as_of(as_of)
    snapshot = Snapshot.take(model, training.categories, catalogue, training.attributes, log, as_of, HISTORY_LENGTH)
    customers = np.sort(rng.choice(log.n_customers, min(ASKED, log.n_customers), replace=False)).astype(np.int32)
    index, choice = index_for_serving(snapshot.index_vectors(), snapshot.queries(customers[:1_000]))
    index_seconds = time.perf_counter() - start

    recommender = Recommender(
        model=model.eval(),
        index=index,
        article_vectors=snapshot.article_vectors,
        catalogue=Catalogue.of(data.articles, log),
        customer_ids=data.customers["customer_id"].to_numpy(dtype="U64").astype("S64"),
        encoders=training.encoders,
        customer_table=pa.Table.from_pandas(data.customers),
        attributes=training.attributes,
        log=log,
        history_length=HISTORY_LENGTH,
        scoring=Scoring(bought=1.0),
        variants=snapshot.variants,
        manifest={},
    )
    start = time.perf_counter()
    for part in np.array_split(customers, max(1, len(customers) // 8_192)):
        recommender.recommend(recommender.customers(part), 12)
    recommending = (time.perf_counter() - start) * log.n_customers / len(customers)
    return {
        "epoch": per_step * len(batches),
        "index": index_seconds,
        "recommending": recommending,
        "examples/s": BATCH_SIZE / per_step,
        "index kind": index.kind,
        "index recall": choice.recall,
    }


def measure(rows: float, steps: int, articles: int, days: int) -> dict[str, Any]:
    """Seconds and peak memory of every stage, for so many million purchases."""
    customers = max(50, round(CUSTOMERS * rows * 1e6 / ROWS))
    folder = Path(tempfile.mkdtemp(prefix="growth-"))
    try:
        sample = measured(make_sample, folder / "raw", customers, articles, days)
        preprocessing = measured(preprocess_sample, folder / "raw", folder / "preprocessed")
        shutil.rmtree(folder / "raw")  # at full size its CSV files are 4 GB
        trained = measured(train_and_recommend, folder / "preprocessed", steps)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    parts = (sample["seconds"], preprocessing["seconds"], trained["epoch"], trained["index"], trained["recommending"])
    return {
        "rows": preprocessing["rows"],
        "customers": customers,
        "examples": preprocessing["examples"],
        "examples/s": trained["examples/s"],
        "index": {"kind": trained["index kind"], "recall": trained["index recall"]},
        "seconds": dict(zip(STAGES, parts, strict=True)),
        "peak GiB": {
            "sample": sample["peak GiB"],
            "preprocessing": preprocessing["peak GiB"],
            "training to recommending": trained["peak GiB"],
        },
    }


def exponent(rows: Sequence[float], seconds: Sequence[float]) -> float:
    """The e for which seconds = c x rows^e fits best; nan for a single size."""
    if len(rows) < 2:
        return float("nan")
    return float(np.polyfit(np.log(rows), np.log(seconds), 1)[0])


def tables(runs: Sequence[dict[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Seconds a stage with its exponent, and peak memory; a column a size."""
    names = [f"{run['rows'] / 1e6:.3g} M rows" for run in runs]
    seconds = pd.DataFrame({name: run["seconds"] for name, run in zip(names, runs, strict=True)})
    rows = [run["rows"] for run in runs]
    seconds["exponent"] = [exponent(rows, seconds.loc[stage, names].tolist()) for stage in seconds.index]
    return seconds, pd.DataFrame({name: run["peak GiB"] for name, run in zip(names, runs, strict=True)})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=float, nargs="+", default=[1, 3, 10, 31.8], help="million purchases (%(default)s)"
    )
    parser.add_argument("--articles", type=int, default=ARTICLES, help="of the catalogue (%(default)s)")
    parser.add_argument("--days", type=int, default=DAYS, help="of the log (%(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="training steps that are timed (%(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {"machine": machine("torch", "numpy", "pandas", "pyarrow"), "runs": []}
    for rows in sorted(options.rows):
        print(f"{rows:g} million purchases …", file=sys.stderr)
        report["runs"].append(measure(rows, options.steps, options.articles, options.days))
        save(options.json, report)
    seconds, memory = tables(report["runs"])
    report["exponents"] = seconds["exponent"].to_dict()
    save(options.json, report)
    print("\nSeconds:\n")
    print(seconds.round(2).to_string())
    print("\nPeak memory, GiB:\n")
    print(memory.round(2).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
