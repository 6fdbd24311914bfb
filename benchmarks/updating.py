"""A model a week later: left as it is, updated with the new purchases, and trained again.

    python -m benchmarks.updating [--data-dir data/sample] [--seeds 3] [--json updating.json] [-p num_epochs 5]

The last week of the log is the test. A model is validated and trained until a week before it, as it would have been
published then. Its rankings for the buyers of the test week:

* stale: as of the day of its publication, without the purchases of the week since.
* updated: the same towers, with histories, the catalogue's state and popularity as of the test (`hm_utils.update`).
* retrained: towers trained on everything before the test, for as many epochs. The weights of the score are the same.

Rows are means over seeds. Differences are paired by customer, with 95 % intervals, of the mean over seeds.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
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


def rankings(data: Preprocessed, parameters: dict[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    """The rankings of each of :data:`KINDS` for the buyers of the last week of ``data.log``.

    Args:
        data: split so that its validation ends a week before the test week. The model is published then.
    """
    log, state = data.log, CatalogueState(data.log)
    published = data.split.val_end
    test = published + WEEK
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
        weeks = parameters["train_weeks"]
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
    options.add_argument("--seeds", type=int, default=3, help="trainings (%(default)s)")
    options.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
                         help="of notebook 02 or 03, e.g. -p num_epochs 5; may be given many times")  # fmt: skip
    chosen = options.parse_args(arguments)
    parameters = notebook_parameters(dict(chosen.parameter))
    weeks = parameters["train_weeks"]
    scores: list[Any] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = read_raw(resolve(chosen.data_dir))
        data = preprocess(tables, folder / "data", val_days=WEEK, test_days=WEEK, train_weeks=weeks)
        # Everything that is published is known a week before the test, so validation ends there too.
        split = replace(data.split, train_end=data.split.val_end - 2 * WEEK, val_end=data.split.val_end - WEEK)
        training = make_training_data(data.articles, data.customers, data.log, split.train_end, weeks)
        data = replace(data, split=split, training=training)
        truth = data.log.baskets_between(split.test_end - WEEK, split.test_end)
        for seed in range(1, chosen.seeds + 1):
            hits = [hit_matrix(ranked, truth) for ranked in rankings(data, parameters, seed, folder).values()]
            scores.append([[average_precision(hit, truth.sizes), recall(hit, truth.sizes, 100)] for hit in hits])
    mean = dict(zip(KINDS, np.mean(scores, axis=0), strict=True))  # kind: [metrics, customers]
    rows = {kind: dict(zip(METRICS, values.mean(axis=1), strict=True)) for kind, values in mean.items()}
    differences = {}
    for better, worse in (("updated", "stale"), ("retrained", "updated"), ("retrained", "stale")):
        less = (mean[better] - mean[worse]).T
        ends = zip(METRICS, less.mean(axis=0), *interval(resampled_means(less, 0)), strict=True)
        cells = {name: f"{middle:+.4f} [{low:+.4f}, {high:+.4f}]" for name, middle, low, high in ends}
        differences[f"{better} - {worse}"] = cells
    report: Run = {"machine": machine("torch", "numpy"), "customers": len(truth), "seeds": chosen.seeds}
    save(chosen.json, report | {"rows": rows, "differences": differences})
    show(f"{len(truth):,} customers, {chosen.seeds} seeds", pd.DataFrame(rows).T.map("{:.4f}".format), report)
    return show("Paired differences", pd.DataFrame(differences).T, report)


if __name__ == "__main__":
    sys.exit(main())
