"""A model a week later: left as it is, updated with the new purchases, and trained again.

    python -m benchmarks.updating [--data-dir data/sample] [--weeks 6] [--json updating.json] [-p num_epochs 5]

Each of the last weeks of the log is a test. A model is validated and trained until a week before it, as it would have
been published then. Its rankings for the buyers of the test week:

* stale: as of the day of its publication, without the purchases of the week since.
* updated: the same towers, with histories, the catalogue's state and popularity as of the test (`hm_utils.update`).
* retrained: towers trained on everything before the test, for as many epochs. The weights of the score are the same.

A customer's score is the mean over the weeks in which she buys. Rows are means over customers, and differences are
paired by customer, with 95 % intervals.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.measuring import Run, chosen_of, machine, notebook_parameters, parser, save, show
from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import Preprocessed, TrainingData, make_training_data, preprocess
from hm_utils.data.raw import read_raw
from hm_utils.evaluation.bootstrap import interval, resampled_means
from hm_utils.evaluation.metrics import average_precision, hit_matrix, recall
from hm_utils.files import resolve
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.towers import TOWER_SIZES, TwoTower
from hm_utils.training.calibration import calibrate
from hm_utils.training.fit import fit, fit_everything, tower_config, training_inputs
from hm_utils.training.loop import TrainingSettings

WEEK = 7
KINDS = ("stale", "updated", "retrained")
METRICS = ("MAP@12", "recall@100")


def rankings(data: Preprocessed, test: int, parameters: dict[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    """The rankings of each of :data:`KINDS` for the buyers of the week from day ``test``."""
    log, state = data.log, CatalogueState(data.log)
    published, weeks = test - WEEK, parameters["train_weeks"]
    # Everything that is published is known a week before the test, so validation ends there too.
    split = replace(data.split, train_end=published - WEEK, val_end=published)
    training = make_training_data(data.articles, data.customers, log, split.train_end, weeks)
    data = replace(data, split=split, training=training)
    settings = TrainingSettings(**chosen_of(TrainingSettings, parameters) | {"seed": seed})
    sizes = {name: parameters[name] for name in TOWER_SIZES}

    def taken(model: TwoTower, training: TrainingData, day: int) -> Snapshot:
        categories = training.categories_as_of(data.articles, log, day)
        length = settings.history_length
        return Snapshot.take(model, categories, state.as_of(day), training.attributes, log, day, length)

    config = tower_config(data.training, **sizes)
    inputs = training_inputs(log, data.training, settings)
    validated = fit(data, inputs, config, settings, folder / f"validated{seed}.pt")
    before = taken(validated.model, data.training, data.split.train_end)
    scoring = calibrate(before, log.baskets_between(data.split.train_end, data.split.val_end)).scoring
    settings = replace(settings, num_epochs=validated.best_epoch)

    def trained(as_of: int, name: str) -> tuple[TwoTower, TrainingData]:
        training = make_training_data(data.articles, data.customers, log, as_of, weeks)
        path = folder / f"{name}{seed}.pt"
        return fit_everything(data, training, tower_config(training, **sizes), settings, path).model, training

    first, second = trained(published, "published"), trained(test, "retrained")
    customers = log.baskets_between(test, test + WEEK).customers
    snapshots = (taken(*first, published), taken(*first, test), taken(*second, test))
    return {kind: one.rank(customers, 100, scoring) for kind, one in zip(KINDS, snapshots, strict=True)}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("updating", __doc__)
    options.add_argument("--data-dir", default="data/sample", help="folder of raw tables (%(default)s)")
    options.add_argument("--weeks", type=int, default=6, help="tests, each with a seed of its own (%(default)s)")
    options.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
                         help="of notebook 02 or 03, e.g. -p num_epochs 5; may be given many times")  # fmt: skip
    chosen = options.parse_args(arguments)
    parameters = notebook_parameters(dict(chosen.parameter))
    scores: list[pd.DataFrame] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = read_raw(resolve(chosen.data_dir))
        data = preprocess(tables, folder / "data", val_days=WEEK, test_days=WEEK, train_weeks=parameters["train_weeks"])
        for back in range(1, chosen.weeks + 1):
            test = data.split.test_end - back * WEEK
            truth = data.log.baskets_between(test, test + WEEK)
            columns = {}
            for kind, ranked in rankings(data, test, parameters, back, folder).items():
                hits = hit_matrix(ranked, truth)
                columns[kind, "MAP@12"] = average_precision(hits, truth.sizes)
                columns[kind, "recall@100"] = recall(hits, truth.sizes, 100)
            scores.append(pd.DataFrame(columns, index=truth.customers))
    customers = pd.concat(scores).groupby(level=0).mean()
    rows = pd.DataFrame({kind: customers[kind].mean() for kind in KINDS}).T[list(METRICS)]
    differences = {}
    for better, worse in (("updated", "stale"), ("retrained", "updated"), ("retrained", "stale")):
        less = (customers[better] - customers[worse]).to_numpy()
        ends = zip(METRICS, less.mean(axis=0), *interval(resampled_means(less, 0)), strict=True)
        cells = {name: f"{middle:+.4f} [{low:+.4f}, {high:+.4f}]" for name, middle, low, high in ends}
        differences[f"{better} - {worse}"] = cells
    report: Run = {"machine": machine("torch", "numpy"), "customers": len(customers), "weeks": chosen.weeks}
    save(chosen.json, report | {"rows": rows.to_dict("index"), "differences": differences})
    show(f"{len(customers):,} customers, {chosen.weeks} weeks", rows.map("{:.4f}".format), report)
    return show("Paired differences", pd.DataFrame(differences).T, report)


if __name__ == "__main__":
    sys.exit(main())
