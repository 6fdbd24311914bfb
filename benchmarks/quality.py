"""How good the two-tower is: beside the baselines and other projects' recommenders, and without each of its parts.

    python -m benchmarks.quality --data-dir data/raw [--only ours baselines peers ablation] [--json out.json]
    python -m benchmarks.quality --data-dir data/week data/shop --val-days 1 7 --test-days 2 7 --only ours baselines

Several data folders make one table. Below it stands each folder's published ranking less the best chain of baselines,
customer by customer, with a 95 % interval.

All rows of a folder share the split, and count every customer who bought in the test days:

* ours: the two-tower as notebook 03 trains and 04 evaluates it, alone and with repurchase. "refitted" is trained again
  with the validation days, for the epochs that they chose, as it is published. Baselines and peers learn from these
  days too.
* baselines: those of `hm_utils.evaluation.baselines`, and the oracle where the data is a sample.
* peers: RecTools' SASRec and implicit's item-item (`benchmarks.peers`, needs `make bench-env`), fitted on everything
  before the test days, with the settings that do best on the validation days.
* ablation: the two-tower with repurchase with one part switched off, trained and calibrated anew, minus the whole one.
  "alone" is without repurchase, "as if new" also with every history hidden.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measuring import Run, chosen_of, machine, notebook_parameters, parser, save, show
from benchmarks.peers import SETTINGS, TOP_K
from hm_utils.arrays import Int32
from hm_utils.data.features import MISSING, UNKNOWN, CatalogueState
from hm_utils.data.preprocessing import Preprocessed, preprocess
from hm_utils.data.purchases import Baskets
from hm_utils.data.raw import read_raw
from hm_utils.evaluation.baselines import BASELINES, chain, popularity_by_age, recent_popularity
from hm_utils.evaluation.bootstrap import interval, resampled_means
from hm_utils.evaluation.comparison import EVERYONE, METRICS, evaluate
from hm_utils.evaluation.decision import PUBLISHED
from hm_utils.files import repository_root, resolve
from hm_utils.model import snapshot
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.towers import ID_COLUMNS, TOWER_SIZES, ItemTower, UserTower
from hm_utils.pipeline.parameters import ParameterError
from hm_utils.sample import NoTruthError, oracle_ranking, truth_of
from hm_utils.training import batches, loop, negatives, optimizer
from hm_utils.training.calibration import calibrate
from hm_utils.training.fit import tower_config, training_inputs
from hm_utils.training.loop import TrainingSettings, train
from hm_utils.training.refit import refit
from hm_utils.training.validation import MONITOR, validation

PARTS = ("ours", "baselines", "peers", "ablation")
PEER_PYTHON = Path(".venv-peers/bin/python")
FULL = "two-tower"
ALONE = "MAP@12 alone"
AS_IF_NEW = {"MAP@12 as if new": "MAP@12", "recall@100 as if new": "recall@100"}
SLICES = {"": EVERYONE, "warm ": "bought before", "cold ": "never bought"}
# Columns of the table: metric and slice of `hm_utils.evaluation.comparison`.
COLUMNS = {f"{short}{metric}": (metric, part) for short, part in SLICES.items() for metric in ("MAP@12", "recall@100")}
COLUMNS |= {f"{part} recall@100": ("recall@100", part) for part in ("new to the customer", "new in the shop")}

GAIN = ("MAP@12", "recall@100")
PER_CUSTOMER = "per customer"

Patch = tuple[Any, str, Any]  # a class or module, the name of its attribute, and the replacement


def blank(owner: Any, name: str, **changes: Callable[[Any], Any]) -> Patch:
    """Replace a function by itself with ``changes[argument]`` of these arguments.

    A tower does not see an input then, whoever calls it, and needs no switch for it.
    """
    original = getattr(owner, name)
    signature = inspect.signature(original)
    assert set(changes) <= set(signature.parameters), f"{name} has no argument {', '.join(changes)}"

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.arguments |= {argument: change(bound.arguments[argument]) for argument, change in changes.items()}
        return original(*bound.args, **bound.kwargs)

    return owner, name, call


def hide_ids(categories: Tensor) -> Tensor:
    return torch.cat([torch.full_like(categories[:, :ID_COLUMNS], UNKNOWN), categories[:, ID_COLUMNS:]], dim=1)


def hide_content(categories: Tensor) -> Tensor:
    return F.pad(categories[:, :ID_COLUMNS], (0, categories.shape[1] - ID_COLUMNS), value=MISSING)


# The patches, in training and afterwards, and the fields of BatchMaker.
ABLATIONS: dict[str, tuple[Sequence[Patch], dict[str, Any]]] = {
    "without ids": ([blank(ItemTower, "forward", categories=hide_ids)], {}),
    "without categories and price": ([blank(ItemTower, "forward", categories=hide_content)], {}),
    "without the catalogue's state": ([blank(ItemTower, "forward", state=torch.zeros_like)], {}),
    "without history": ([blank(UserTower, "forward", mask=torch.zeros_like)], {}),
    "without recency": ([blank(UserTower, "forward", days_since=torch.zeros_like)], {}),
    "without customer attributes": ([blank(UserTower, "forward", attributes=torch.zeros_like)], {}),
    "without context": ([], {"context_share": 0.0}),
    "without logQ": ([blank(negatives, "sampled_softmax_loss", log_expected_count=torch.zeros_like)], {}),
    "without history dropout": ([], {"history_dropout": 0.0}),
    "without log popularity": (
        [
            blank(batches, "log_popularity", sales=np.zeros_like),
            (snapshot, "popularity_as_of", lambda log, *_: np.zeros(log.n_articles, dtype=np.float32)),
        ],
        {},
    ),
    "without logit adjustment": ([(loop, "LOGIT_ADJUSTMENT", 0.0)], {}),
    "logit adjustment of 1": ([(loop, "LOGIT_ADJUSTMENT", 1.0)], {}),
    "without averaged weights": ([(optimizer, "AVERAGE_POWER", 1e12), (loop, "STEPS_PER_AVERAGE", 1)], {}),
}


@dataclass(frozen=True)
class Bench:
    """The input of every part.

    Attributes:
        data_dir: the raw tables.
        folder: for checkpoints and the peers' files.
        data: split by ``val_days`` and ``test_days``.
        truth: the baskets of the test days.
        parameters: of the notebooks.
    """

    data_dir: Path
    folder: Path
    data: Preprocessed
    state: CatalogueState
    truth: Baskets
    parameters: dict[str, Any]

    @classmethod
    def prepare(cls, data_dir: Path, folder: Path, parameters: dict[str, Any]) -> Bench:
        """Read and preprocess the tables as notebook 02 does."""
        chosen = {name: parameters[name] for name in ("val_days", "test_days", "train_weeks")}
        data = preprocess(read_raw(data_dir), folder / "preprocessed", **chosen, seed=42)
        truth = data.log.baskets_between(data.split.val_end, data.split.test_end)
        return cls(data_dir, folder, data, CatalogueState(data.log), truth, parameters)

    @property
    def as_of(self) -> int:
        """The first test day."""
        return self.data.split.val_end

    def run(self, rank: Callable[[], Int32], seconds: float = 0.0, **facts: Any) -> Run:
        """The columns of a ranking of the test days' customers; its time is added to ``seconds``.

        ``PER_CUSTOMER`` holds the customers' own values of the metrics of :data:`GAIN`.
        """
        start = time.perf_counter()
        ranked = rank()
        seconds += time.perf_counter() - start
        evaluation = evaluate({"it": ranked}, self.truth, self.data.log, self.as_of)
        values = {name: evaluation.mean("it", metric, part) for name, (metric, part) in COLUMNS.items()}
        per_customer = evaluation.per_customer[:, 0, [METRICS.index(metric) for metric in GAIN]]
        return {"seed": None, **facts, "seconds": seconds, **values, PER_CUSTOMER: per_customer}


def two_tower(bench: Bench, seed: int, ablation: str = "", and_refit: bool = False) -> dict[str, Run]:
    """Train as notebook 03 does and rank as notebook 04 does; with ``and_refit``, once more as it is published."""
    data, log, parameters, customers = bench.data, bench.data.log, bench.parameters, bench.truth.customers
    training, checkpoint = data.training, bench.folder / "two_tower.pt"
    settings = TrainingSettings(**chosen_of(TrainingSettings, parameters) | {"seed": seed})
    config = tower_config(training, **{name: parameters[name] for name in TOWER_SIZES})
    patches, of_batches = ABLATIONS.get(ablation, ([], {}))
    start = time.perf_counter()
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(mock.patch.object(*patch))
        inputs = replace(training_inputs(log, training, settings), state=bench.state)
        inputs = replace(inputs, batches=replace(inputs.batches, **of_batches))
        validate = validation(data, bench.state, settings.history_length)
        result = train(config, inputs, settings, checkpoint, data.fingerprint, validate, MONITOR)

        def taken(day: int) -> Snapshot:
            categories = training.categories_as_of(data.articles, log, day)
            now = bench.state.as_of(day)
            return Snapshot.take(result.model, categories, now, training.attributes, log, day, settings.history_length)

        calibration = calibrate(taken(data.split.train_end), log.baskets_between(data.split.train_end, bench.as_of))
        tested = taken(bench.as_of)
        seconds = time.perf_counter() - start
        facts = {"seed": seed, "epochs": result.best_epoch, "calibration": asdict(calibration)}
        models = {FULL: calibration.towers, PUBLISHED: calibration.scoring}
        runs = {
            name: bench.run(lambda: tested.rank(customers, TOP_K, scoring), seconds, **facts)  # noqa: B023
            for name, scoring in models.items()
        }
    hidden = bench.run(lambda: tested.without_histories().rank(customers, TOP_K, calibration.towers))
    runs[PUBLISHED] |= {ALONE: runs[FULL]["MAP@12"]} | {name: hidden[column] for name, column in AS_IF_NEW.items()}
    if and_refit:
        start = time.perf_counter()
        known = replace(data, log=log.before(bench.as_of))
        refitted = refit(known, checkpoint, bench.folder / "refit.pt", settings.device).snapshot
        seconds = time.perf_counter() - start
        for name, scoring in models.items():
            rank = lambda: refitted.rank(customers, TOP_K, scoring)  # noqa: B023, E731
            runs[f"{name}, refitted"] = bench.run(rank, seconds, **facts)
    return runs


def run_baselines(bench: Bench) -> Iterator[tuple[str, Run]]:
    log, customers = bench.data.log, bench.truth.customers
    for name, rank in {**BASELINES, "popularity by age": popularity_by_age(bench.data.customers["age"])}.items():
        yield name, bench.run(lambda: rank(log, customers, bench.as_of, TOP_K))  # noqa: B023
    try:
        oracle = truth_of(bench.data_dir, bench.data.manifest["raw_fingerprint"])
    except NoTruthError as reason:
        print(f"no oracle: {reason}", file=sys.stderr)
        return
    yield "oracle", bench.run(lambda: oracle_ranking(oracle, log, customers, bench.as_of, TOP_K))


def run_peers(bench: Bench, seeds: Sequence[int]) -> Iterator[tuple[str, Run]]:
    """Every peer, with the settings that do best on the validation days."""
    split, log = bench.data.split, bench.data.log
    held_out = log.baskets_between(split.train_end, split.val_end)
    for peer, settings in SETTINGS.items():
        tried: list[tuple[float, dict[str, Any]]] = []
        for candidate in settings:
            ranked, _ = ask_peer(bench, peer, candidate, seeds[0], split.train_end, held_out.customers)
            score = evaluate({peer: ranked}, held_out, log, split.train_end).mean(peer, "MAP@12")
            print(f"{peer} with {candidate}: validation MAP@12 {score:.4f}", file=sys.stderr)
            tried.append((score, candidate))
        best = max(tried, key=lambda each: each[0])[1]
        for seed in seeds if peer == "sasrec" else seeds[:1]:
            ranked, facts = ask_peer(bench, peer, best, seed, bench.as_of, bench.truth.customers)
            seconds = sum(facts.pop("seconds").values())
            run = bench.run(lambda: ranked, seconds, **facts | {"seed": seed, "tried": tried})  # noqa: B023
            yield f"{peer}, recent popularity", run


def ask_peer(
    bench: Bench, peer: str, settings: dict[str, Any], seed: int, as_of: int, customers: Int32
) -> tuple[Int32, dict[str, Any]]:
    """``[n, 100]`` a peer's ranking, filled with the recent best-sellers, and its facts."""
    log = bench.data.log.before(as_of)
    files = {name: bench.folder / f"{name}.parquet" for name in ("interactions", "customers", "output")}
    purchases = pd.DataFrame({"user": log.customer, "item": log.article, "day": log.day})
    purchases.to_parquet(files["interactions"], index=False)
    pd.DataFrame({"user": customers}).to_parquet(files["customers"], index=False)
    command = [str(peer_python()), "-m", "benchmarks.peers", "--peer", peer, "--settings", json.dumps(settings)]
    command += ["--seed", str(seed), "--threads", str(torch.get_num_threads())]
    command += [argument for name, path in files.items() for argument in (f"--{name}", str(path))]
    subprocess.run(command, cwd=repository_root(), check=True, stdout=sys.stderr)
    found = pd.read_parquet(files["output"])
    ranked = np.full((len(customers), TOP_K), -1, dtype=np.int32)
    ranked[np.searchsorted(customers, found["user"]), found["rank"] - 1] = found["item"]
    fill = recent_popularity(log, customers[:1], as_of, TOP_K)[0]
    return chain(ranked, fill, k=TOP_K), json.loads(files["output"].with_suffix(".json").read_text())


def peer_python() -> Path:
    """The Python of the peers' environment. Raises FileNotFoundError."""
    path = repository_root() / PEER_PYTHON
    if not path.exists():
        raise FileNotFoundError(f"the peers' environment {path.parents[1]} is missing: run `make bench-env`")
    return path


def cells(frame: pd.DataFrame, spread: str, sign: str = "") -> dict[str, str]:
    """Each column's mean ± its ``spread`` (a method of DataFrame), where there are several rows."""
    means, spreads = frame.mean().to_dict(), frame.agg(spread).to_dict()
    shown = {column: f"{mean:{sign}.4f}" if mean == mean else "–" for column, mean in means.items()}
    more = len(frame) > 1
    return {str(column): text + (f" ± {spreads[column]:.4f}" if more else "") for column, text in shown.items()}


def comparison(rows: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """A line a row: mean over the seeds ± their standard deviation."""
    lines = {name: cells(pd.DataFrame(runs)[[*COLUMNS, "seconds"]], "std") for name, runs in rows.items()}
    return pd.DataFrame.from_dict(lines, orient="index")


def gain(rows: Mapping[str, Sequence[Run]], seed: int = 0) -> dict[str, str]:
    """The published ranking (mean over seeds, refitted if it was) less the best baseline by MAP@12, paired by customer.

    Empty without one of the two.
    """
    ours = rows.get(f"{PUBLISHED}, refitted", rows.get(PUBLISHED, ()))
    baselines = {name: runs[0] for name, runs in rows.items() if name in {*BASELINES, "popularity by age"}}
    if not ours or not baselines:
        return {}
    best = max(baselines, key=lambda name: baselines[name]["MAP@12"])
    less = np.mean([run[PER_CUSTOMER] for run in ours], axis=0) - baselines[best][PER_CUSTOMER]
    low, high = interval(resampled_means(less, seed))
    ends = zip(GAIN, less.mean(axis=0), low, high, strict=True)
    return {"best baseline": best} | {name: f"{mean:+.4f} [{a:+.4f}, {b:+.4f}]" for name, mean, a, b in ends}


def differences(rows: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """A line an ablation: itself minus the whole model of the same seed, mean ± standard error over its seeds."""
    frames = {
        name: pd.DataFrame(list(rows[name])).set_index("seed")[[*COLUMNS, ALONE, *AS_IF_NEW]]
        for name in (PUBLISHED, *ABLATIONS)
        if name in rows
    }
    whole = frames.pop(PUBLISHED)
    lines = {name: cells(frame - whole.loc[frame.index], "sem", "+") for name, frame in frames.items()}
    return pd.DataFrame.from_dict(lines, orient="index")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("quality", __doc__)
    options.add_argument("--data-dir", nargs="+", default=["data/sample"], help="folders of raw tables (data/sample)")
    options.add_argument("--val-days", nargs="+", help="days held out for choices, before the test days; one a folder")
    options.add_argument("--test-days", nargs="+", help="the last days of the log; one a folder, or one for all")
    options.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run (all)")
    options.add_argument("--seeds", type=int, default=3, help="trainings of a row (%(default)s)")
    options.add_argument("--ablation-seeds", type=int, default=1, help="trainings of an ablation (%(default)s)")
    options.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
                         help="of notebook 02 or 03, e.g. -p num_epochs 5; may be given many times")  # fmt: skip
    chosen = options.parse_args(arguments)
    folders = chosen.data_dir
    days = {name: getattr(chosen, name) or [] for name in ("val_days", "test_days")}
    for name, values in days.items():
        if len(values) not in (0, 1, len(folders)):
            options.error(f"--{name.replace('_', '-')} takes one value, or one for each of the {len(folders)} folders")
    report: Run = {"machine": machine("torch", "numpy", "pandas", "scipy"), "rows": {}, "data": {}}
    try:
        if "peers" in chosen.only:
            peer_python()  # fails now rather than after an hour
        every = []
        for place, data_dir in enumerate(folders):
            own = {name: values[place % len(values)] for name, values in days.items() if values}
            every.append((data_dir, notebook_parameters(dict(chosen.parameter) | own)))
        for data_dir, parameters in every:
            with tempfile.TemporaryDirectory() as folder:
                measure(data_dir, Bench.prepare(resolve(data_dir), Path(folder), parameters), chosen, report)
    except (ParameterError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return summary(report, "ablation" in chosen.only)


def measure(data: str, bench: Bench, chosen: Any, report: Run) -> None:
    """Run the parts that are wanted for the folder ``data``, add them to the report, and write it as JSON."""
    seeds, ablation_seeds = range(1, chosen.seeds + 1), range(1, chosen.ablation_seeds + 1)
    log, split, customers = bench.data.log, bench.data.split, bench.truth.customers
    warm = int(log.has_history(customers, bench.as_of).sum())
    counts = {"all": len(customers), "warm": warm, "cold": len(customers) - warm}
    rows: dict[str, list[Run]] = report["rows"].setdefault(data, {})
    facts = {"parameters": bench.parameters, "split": asdict(split), "customers": counts}
    report["data"][data] = facts | {"days": f"{log.date(split.val_end)} to {log.date(log.last_day)}"}

    def wanted() -> Iterator[tuple[str, Run]]:
        if "ours" in chosen.only:
            for seed in seeds:
                yield from two_tower(bench, seed, and_refit=True).items()
        if "baselines" in chosen.only:
            yield from run_baselines(bench)
        if "peers" in chosen.only:
            yield from run_peers(bench, seeds)
        for seed in ablation_seeds if "ablation" in chosen.only else ():
            if seed not in [run["seed"] for run in rows.get(FULL, [])]:
                yield from two_tower(bench, seed).items()
            for name in ABLATIONS:
                yield name, two_tower(bench, seed, name)[PUBLISHED]

    for name, run in wanted():
        rows.setdefault(name, []).append(run)
        figures = ", ".join(f"{column} {run[column]:.4f}" for column in COLUMNS)
        print(f"{data}, {name}, seed {run['seed']}, {run['seconds']:.0f} s: {figures}", file=sys.stderr, flush=True)
        report["data"][data]["gain"] = gain(rows)
        save(chosen.json, without_customers(report))


def without_customers(report: Run) -> Run:
    """The report without the values of single customers."""
    rows = {
        data: {
            name: [{key: value for key, value in run.items() if key != PER_CUSTOMER} for run in runs]
            for name, runs in of_data.items()
        }
        for data, of_data in report["rows"].items()
    }
    return report | {"rows": rows}


def summary(report: Run, ablation: bool) -> int:
    """Print the tables."""
    every: dict[str, dict[str, list[Run]]] = report["rows"]
    shown = {**report, "rows": {}}
    whole = {
        data: comparison({name: runs for name, runs in rows.items() if name not in ABLATIONS})
        for data, rows in every.items()
    }
    show("± is the standard deviation over seeds", pd.concat(whole, names=["data", "ranking"]), shown)
    for data, facts in report["data"].items():
        counts = facts["customers"]
        print(f"\n{data}: {counts['all']:,} customers of {facts['days']}, {counts['cold']:,} of them cold.")
        if facts.get("gain"):
            gains = dict(facts["gain"])
            best = gains.pop("best baseline")
            print(f"{PUBLISHED} - ({best}): " + ", ".join(f"{name} {text}" for name, text in gains.items()))
        for name, (first, *_) in every[data].items():
            if "served" in first:
                print(f"{name}: {first['settings']}; it serves {first['served']:,} of the customers.")
        if ablation:
            heading = f"{data}: one part switched off, minus the whole model; ± is the standard error"
            show(heading, differences(every[data]), shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
