"""How the cost of every stage grows with the data.

    python -m benchmarks.growth [--rows 1 3 10 31.8] [--json growth.json]

For each size (in million purchases) a synthetic set is made, with the real set's purchases a customer, over two years
and the whole catalogue. It goes through every stage, each in a process of its own:

* sample: generate it and write the three CSV files.
* preprocessing: `read_raw` and `preprocess`, as in notebook 02.
* training: an epoch, from the time of 200 steps with the notebooks' settings.
* index: encode the catalogue, build and tune the index.
* recommending: the first 12 for every customer, from the time of 20,000 of them, each encoded anew.

The exponent of rows is fitted by least squares of the logarithms: 1 is in proportion, 0 does not depend on the rows.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measuring import Run, chosen_of, machine, measured, notebook_parameters, parser, save, show

CUSTOMERS, ARTICLES, DAYS, ROWS = 1_371_980, 105_542, 734, 31_788_324  # of the real set
STEPS = 200
ASKED = 20_000  # customers
STAGES = ("sample", "preprocessing", "training, an epoch", "index", "recommending to all")


def make_sample(folder: Path, customers: int, articles: int, days: int) -> Run:
    from hm_utils.sample import SampleSize, write_sample

    write_sample(folder, SampleSize(customers=customers, articles=articles, days=days))
    return {}


def preprocess_sample(raw: Path, folder: Path) -> Run:
    from hm_utils.data.preprocessing import preprocess
    from hm_utils.data.raw import read_raw

    return {"rows": len(preprocess(read_raw(raw), folder).log)}


def train_and_recommend(folder: Path, steps: int) -> Run:
    """Seconds of an epoch; with the towers trained so far, of the index and of everybody's recommendations."""
    from hm_utils.data.preprocessing import Preprocessed
    from hm_utils.model.scoring import CHAIN
    from hm_utils.model.snapshot import Snapshot
    from hm_utils.model.towers import TOWER_SIZES
    from hm_utils.serving.publishing import index_for_serving
    from hm_utils.training.fit import tower_config, training_inputs
    from hm_utils.training.loop import TrainingSettings, train

    data, parameters = Preprocessed.load(folder), notebook_parameters({})
    training, as_of = data.training, data.split.train_end
    settings = TrainingSettings(**chosen_of(TrainingSettings, parameters))
    inputs = training_inputs(data.log.before(as_of), training, settings)
    for day in np.unique(training.examples.day).tolist():
        inputs.state.as_of(day)  # once a day, not once a step
    config = tower_config(training, **{name: parameters[name] for name in TOWER_SIZES})
    two_epochs = replace(settings, num_epochs=2, steps_per_epoch=steps, device="cpu")
    trained = train(config, inputs, two_epochs, folder / "checkpoint.pt", data.fingerprint)
    rate = trained.history[-1]["examples_per_second"]  # the first epoch fills the caches

    start = time.perf_counter()
    state, length = inputs.state.as_of(as_of), settings.history_length
    snapshot = Snapshot.take(trained.model, training.categories, state, training.attributes, data.log, as_of, length)
    scorer = snapshot.scorer(replace(CHAIN, taste=1.0))
    asked = np.random.default_rng(0).permutation(data.log.n_customers)[:ASKED].astype(np.int32)
    index, choice = index_for_serving(scorer.vectors, snapshot.queries(asked[:1_000], scorer))
    indexed = time.perf_counter()
    for part in np.array_split(asked, max(1, len(asked) // 8_192)):
        scorer.rank(index.search, snapshot.customers(part), snapshot.relatives(part), 12)
    seconds = (time.perf_counter() - indexed) * data.log.n_customers / len(asked)
    costs = {"epoch": len(training.examples) / rate, "index": indexed - start, "recommending": seconds}
    return {**costs, "examples/s": rate, "index kind": index.kind, "index recall": choice.recall}


def measure(rows: float, articles: int = ARTICLES, days: int = DAYS, steps: int = STEPS) -> Run:
    """Seconds and peak memory of every stage, for a number of million purchases."""
    customers = max(50, round(CUSTOMERS * rows * 1e6 / ROWS))
    folder = Path(tempfile.mkdtemp(prefix="growth-"))
    try:
        sample = measured(make_sample, folder / "raw", customers, articles, days)
        prepared = measured(preprocess_sample, folder / "raw", folder / "preprocessed")
        shutil.rmtree(folder / "raw")  # at full size its CSV files are 4 GB
        trained = measured(train_and_recommend, folder / "preprocessed", steps)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    parts = (sample["seconds"], prepared["seconds"], trained["epoch"], trained["index"], trained["recommending"])
    peaks = {"preprocessing": prepared["peak GiB"], "training to recommending": trained["peak GiB"]}
    facts = {"rows": prepared["rows"], "customers": customers, "peak GiB": {"sample": sample["peak GiB"], **peaks}}
    return {**facts, "seconds": dict(zip(STAGES, parts, strict=True)), "training": trained}


def exponent(rows: Sequence[float], seconds: Sequence[float]) -> float:
    """The e for which seconds = c x rows^e fits best; nan for a single size."""
    return float(np.polyfit(np.log(rows), np.log(seconds), 1)[0]) if len(rows) > 1 else float("nan")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("growth", __doc__)
    options.add_argument(
        "--rows", type=float, nargs="+", default=[1, 3, 10, 31.8], help="million purchases (%(default)s)"
    )
    chosen = options.parse_args(arguments)
    report: Run = {"machine": machine("torch", "numpy", "pandas", "pyarrow"), "runs": []}
    for rows in sorted(chosen.rows):
        print(f"{rows:g} million purchases …", file=sys.stderr)
        report["runs"].append(measure(rows))
        save(chosen.json, report)
    names = [f"{run['rows'] / 1e6:.3g} M rows" for run in report["runs"]]
    for part in ("seconds", "peak GiB"):
        frame = pd.DataFrame({name: run[part] for name, run in zip(names, report["runs"], strict=True)})
        rows_of = [run["rows"] for run in report["runs"]]
        frame["exponent"] = [exponent(rows_of, frame.loc[stage, names].tolist()) for stage in frame.index]
        show(part, frame, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
