"""How good the two-tower is: beside the baselines, beside other projects' recommenders, and without each of its parts.

    python -m benchmarks.quality --data-dir data/raw [--only ours baselines peers ablation] [--json out.json]
    python -m benchmarks.quality --data-dir data/raw --val-days 1 --test-days 1 --seeds 3 -p num_epochs 5

Everything is measured in this run, on the same split and for every customer who bought in the test days:

* ours: the two-tower as notebook 03 trains and 04 evaluates it, alone and with repurchase; and refitted on the
  validation days too, for the epochs that they chose, as it is published. The baselines and the peers learn from
  these days as well.
* baselines: those of `hm_utils.evaluation.baselines`, and the oracle where the data is a sample.
* peers: RecTools' SASRec and implicit's item-item (`benchmarks.peers`, needs `make bench-env`). Their settings are
  chosen on the validation days; they are then fitted on everything before the test days.
* ablation: the two-tower with repurchase with one part switched off, trained and calibrated anew, less the whole one.
  Also of the two-tower alone, and alone with every customer's history hidden ("as if new"). `--without` says which.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peers import SETTINGS, TOP_K
from hm_utils.arrays import Int32
from hm_utils.data import examples
from hm_utils.data.examples import BatchMaker
from hm_utils.data.features import MISSING, UNKNOWN, CatalogueState
from hm_utils.data.preprocessing import Preprocessed, preprocess
from hm_utils.data.purchases import Baskets
from hm_utils.data.raw import read_raw
from hm_utils.evaluation.baselines import BASELINES, chain, popularity_by_age, recent_popularity
from hm_utils.evaluation.comparison import EVERYONE, evaluate
from hm_utils.files import repository_root, resolve
from hm_utils.model import snapshot
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.towers import ID_COLUMNS, TOWER_SIZES, ItemTower, TowerConfig, UserTower
from hm_utils.pipeline.parameters import ParameterError, check, declared_parameters
from hm_utils.sample import NoTruthError, Truth, oracle_ranking, truth_of
from hm_utils.serving.publishing import PUBLISHED
from hm_utils.training import loop
from hm_utils.training.calibration import calibrate
from hm_utils.training.loop import TrainingInputs, TrainingSettings, train
from hm_utils.training.refit import refit
from hm_utils.training.validation import MONITOR, validation

logger = logging.getLogger(__name__)

PARTS = ("ours", "baselines", "peers", "ablation")
NOTEBOOKS = ("02_preprocessing", "03_training")  # whose parameters are the settings
PEER_PYTHON = Path(".venv-peers/bin/python")
FULL = "two-tower"
# Columns of the ablation alone: the two-tower's own, without repurchase; and with every customer's history hidden, as
# if each of them had just registered.
ALONE = "MAP@12 alone"
AS_IF_NEW = {"MAP@12 as if new": "MAP@12", "recall@100 as if new": "recall@100"}

# Columns of the table: metric and slice of `hm_utils.evaluation.comparison`.
COLUMNS = {
    "MAP@12": ("MAP@12", EVERYONE),
    "recall@100": ("recall@100", EVERYONE),
    "warm MAP@12": ("MAP@12", "bought before"),
    "warm recall@100": ("recall@100", "bought before"),
    "cold MAP@12": ("MAP@12", "never bought"),
    "cold recall@100": ("recall@100", "never bought"),
    "new recall@100": ("recall@100", "new to the customer"),
    "new in the shop recall@100": ("recall@100", "new in the shop"),
}

Run = dict[str, Any]  # seed, seconds, the columns, and what else there is to say


# ---- ablations -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ablation:
    """How a part of the model is switched off; whatever is named is replaced, in training and afterwards.

    Attributes:
        settings: of :class:`TrainingSettings`.
        batches: arguments of :class:`BatchMaker`.
        blank: (a class or module, the name of a function in it, {argument: what it is turned into}).
        constants: (module, name, value).
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    batches: Mapping[str, Any] = field(default_factory=dict)
    blank: tuple[tuple[Any, str, Mapping[str, Callable[[Any], Any]]], ...] = ()
    constants: tuple[tuple[Any, str, Any], ...] = ()


def _hide_identity(categories: Tensor) -> Tensor:
    return torch.cat([torch.full_like(categories[:, :ID_COLUMNS], UNKNOWN), categories[:, ID_COLUMNS:]], dim=1)


def _hide_content(categories: Tensor) -> Tensor:
    return torch.cat([categories[:, :ID_COLUMNS], torch.full_like(categories[:, ID_COLUMNS:], MISSING)], dim=1)


def _hide_names(items: Tensor) -> Tensor:
    return F.pad(items[:, : -TowerConfig.identity_dim], (0, TowerConfig.identity_dim))


ABLATIONS: dict[str, Ablation] = {
    "without names": Ablation(blank=((UserTower, "forward", {"items": _hide_names}),)),
    "without ids": Ablation(blank=((ItemTower, "forward", {"categories": _hide_identity}),)),
    "without categories and price": Ablation(blank=((ItemTower, "forward", {"categories": _hide_content}),)),
    "without the catalogue's state": Ablation(blank=((ItemTower, "forward", {"state": torch.zeros_like}),)),
    "without history": Ablation(blank=((UserTower, "forward", {"mask": torch.zeros_like}),)),
    "without recency": Ablation(blank=((UserTower, "forward", {"days_since": torch.zeros_like}),)),
    "without customer attributes": Ablation(blank=((UserTower, "forward", {"attributes": torch.zeros_like}),)),
    "without context": Ablation(batches={"context_share": 0.0}),
    "without logQ": Ablation(
        blank=((loop, "sampled_softmax_loss", {"log_expected_count": torch.zeros_like}),),
    ),
    "without history dropout": Ablation(batches={"history_dropout": 0.0}),
    "without counted popularity": Ablation(
        blank=(
            (examples, "log_popularity", {"sales": np.zeros_like}),
            (snapshot, "log_popularity", {"sales": np.zeros_like}),
        )
    ),
    "without popularity in training": Ablation(constants=((loop, "LOGIT_ADJUSTMENT", 0.0),)),
    "without halving popularity in training": Ablation(constants=((loop, "LOGIT_ADJUSTMENT", 1.0),)),
    "without averaged weights": Ablation(constants=((loop, "AVERAGE_POWER", 1e12), (loop, "STEPS_PER_AVERAGE", 1))),
}


@contextmanager
def blanked(owner: Any, name: str, changes: Mapping[str, Callable[[Any], Any]]) -> Iterator[None]:
    """Inside the block, ``owner.name`` is called with ``changes[argument]`` of each of these arguments.

    So a tower does not see an input, whoever calls it, and the towers need no switch for it.

    Raises:
        KeyError: when called, if it is not given such an argument.
    """
    original = getattr(owner, name)
    signature = inspect.signature(original)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        for argument, change in changes.items():
            bound.arguments[argument] = change(bound.arguments[argument])
        return original(*bound.args, **bound.kwargs)

    with mock.patch.object(owner, name, call):
        yield


# ---- data, training, measuring -------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """What every part reads: the data, and who bought what in the test days.

    Attributes:
        folder: where checkpoints and the peers' files go.
        data: split by ``val_days`` and ``test_days``.
        state: of the catalogue as of any day.
        truth: the baskets of the test days.
        oracle: the sample's own probabilities, where the data is a sample.
        parameters: of the notebooks.
    """

    folder: Path
    data: Preprocessed
    state: CatalogueState
    truth: Baskets
    oracle: Truth | None
    parameters: dict[str, Any]

    @classmethod
    def prepare(cls, data_dir: Path, folder: Path, parameters: dict[str, Any]) -> Bench:
        """Read and preprocess the tables as notebook 02 does."""
        names = ("val_days", "test_days", "train_weeks")
        data = preprocess(
            read_raw(data_dir), folder / "preprocessed", **{name: parameters[name] for name in names}, seed=42
        )
        truth = data.log.baskets_between(data.split.val_end, data.split.test_end)
        try:
            oracle = truth_of(data_dir, data.manifest["raw_fingerprint"])
        except NoTruthError as reason:
            logger.info("no oracle: %s", reason)
            oracle = None
        return cls(folder, data, CatalogueState(data.log), truth, oracle, parameters)

    @property
    def as_of(self) -> int:
        """The first test day."""
        return self.data.split.val_end

    def run(self, ranked: Int32, seconds: float, **facts: Any) -> Run:
        """What the table says of a ranking of the test days' customers."""
        evaluation = evaluate({"it": ranked}, self.truth, self.data.log, self.as_of)
        values = {name: evaluation.mean("it", metric, part) for name, (metric, part) in COLUMNS.items()}
        return {"seed": None, **facts, "seconds": seconds, **values}


def chosen_of(dataclass_type: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are also fields of a dataclass."""
    return {each.name: parameters[each.name] for each in fields(dataclass_type) if each.name in parameters}


def two_tower(bench: Bench, seed: int, ablation: Ablation | None = None, and_refit: bool = False) -> dict[str, Run]:
    """Train as notebook 03 does and rank as notebook 04 does; with ``and_refit``, once more as it is published."""
    ablation = ablation or Ablation()
    data, log, as_of = bench.data, bench.data.log, bench.as_of
    sizes = [bench.parameters[name] for name in TOWER_SIZES]
    settings = TrainingSettings(**{**chosen_of(TrainingSettings, bench.parameters), "seed": seed, **ablation.settings})
    arguments = {**chosen_of(BatchMaker, bench.parameters), **ablation.batches}
    checkpoint = bench.folder / "two_tower.pt"
    with ExitStack() as stack:
        for owner, name, changes in ablation.blank:
            stack.enter_context(blanked(owner, name, changes))
        for owner, name, value in ablation.constants:
            stack.enter_context(mock.patch.object(owner, name, value))
        start = time.perf_counter()
        batches = BatchMaker(log, data.training.examples, **arguments)
        inputs = TrainingInputs(batches, data.training.categories, bench.state, data.training.attributes)
        validate = validation(data, bench.state, settings.history_length)
        config = data.training.tower_config(*sizes)
        result = train(config, inputs, settings, checkpoint, data.fingerprint, validate, MONITOR)
        snapshots = [
            Snapshot.take(
                result.model,
                data.training.categories_as_of(data.articles, log, day),
                bench.state.as_of(day),
                data.training.attributes,
                log,
                day,
                settings.history_length,
            )
            for day in (data.split.train_end, as_of)
        ]
        calibration = calibrate(snapshots[0], log.baskets_between(data.split.train_end, as_of))
        facts = {"seed": seed, "epochs": result.best_epoch, "calibration": asdict(calibration)}
        models = {FULL: calibration.towers, PUBLISHED: calibration.scoring}
        rankings = {name: snapshots[1].rank(bench.truth.customers, TOP_K, each) for name, each in models.items()}
    seconds = time.perf_counter() - start
    runs = {name: bench.run(ranked, seconds, **facts) for name, ranked in rankings.items()}
    strangers = snapshots[1].without_histories()
    hidden = bench.run(strangers.rank(bench.truth.customers, TOP_K, calibration.towers), seconds)
    runs[PUBLISHED] |= {ALONE: runs[FULL]["MAP@12"]} | {name: hidden[column] for name, column in AS_IF_NEW.items()}
    if and_refit:
        start = time.perf_counter()
        known = replace(data, log=log.before(as_of))
        snapshot = refit(known, checkpoint, bench.folder / "refit.pt", settings.device).snapshot
        seconds = time.perf_counter() - start
        for name, each in models.items():
            runs[f"{name}, refitted"] = bench.run(snapshot.rank(bench.truth.customers, TOP_K, each), seconds, **facts)
    return runs


# ---- the parts: each yields the name of a row and one run of it ----------------------------------


def run_ours(bench: Bench, seeds: Sequence[int]) -> Iterator[tuple[str, Run]]:
    for seed in seeds:
        yield from two_tower(bench, seed, and_refit=True).items()


def run_baselines(bench: Bench) -> Iterator[tuple[str, Run]]:
    log, customers = bench.data.log, bench.truth.customers
    for name, rank in {**BASELINES, "popularity by age": popularity_by_age(bench.data.customers["age"])}.items():
        start = time.perf_counter()
        ranked = rank(log, customers, bench.as_of, TOP_K)
        yield name, bench.run(ranked, time.perf_counter() - start)
    if bench.oracle is not None:
        start = time.perf_counter()
        ranked = oracle_ranking(bench.oracle, log, customers, bench.as_of, TOP_K)
        yield "oracle", bench.run(ranked, time.perf_counter() - start)


def run_ablation(
    bench: Bench, seeds: Sequence[int], whole: Sequence[int], names: Sequence[str]
) -> Iterator[tuple[str, Run]]:
    """The ablations of these names, and the whole model for the seeds not in ``whole``, those that it has run for."""
    for seed in seeds:
        if seed not in whole:
            yield from two_tower(bench, seed).items()
        for name in names:
            yield name, two_tower(bench, seed, ABLATIONS[name])[PUBLISHED]


def run_peers(bench: Bench, seeds: Sequence[int]) -> Iterator[tuple[str, Run]]:
    """Every peer, with the settings that do best on the validation days."""
    split, log = bench.data.split, bench.data.log
    held_out = log.baskets_between(split.train_end, split.val_end)
    for peer, settings in SETTINGS.items():
        tried: list[tuple[float, dict[str, Any]]] = []
        for candidate in settings:
            ranked, _ = ask_peer(bench, peer, candidate, seeds[0], split.train_end, held_out.customers)
            score = evaluate({peer: ranked}, held_out, log, split.train_end).mean(peer, "MAP@12")
            logger.info("%s with %s: validation MAP@12 %.4f", peer, candidate, score)
            tried.append((score, candidate))
        best = max(tried, key=lambda each: each[0])[1]
        for seed in seeds if peer == "sasrec" else seeds[:1]:
            ranked, facts = ask_peer(bench, peer, best, seed, bench.as_of, bench.truth.customers)
            seconds = sum(facts["seconds"].values())
            told = {"served": facts["served"], "settings": best, "tried": tried, "versions": facts["versions"]}
            yield f"{peer}, recent popularity", bench.run(ranked, seconds, seed=seed, **told)


def ask_peer(
    bench: Bench, peer: str, settings: dict[str, Any], seed: int, as_of: int, customers: Int32
) -> tuple[Int32, dict[str, Any]]:
    """``[n, 100]`` a peer's ranking, filled with the recent best-sellers, and what it says of itself."""
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
    """The Python of the peers' environment.

    Raises:
        FileNotFoundError: it has not been made.
    """
    path = repository_root() / PEER_PYTHON
    if not path.exists():
        raise FileNotFoundError(f"the peers' environment {path.parents[1]} is missing: run `make bench-env`")
    return path


# ---- the tables ----------------------------------------------------------------------------------


def comparison(rows: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """A line a row: mean over the seeds and, where there are several, ± their standard deviation."""

    def cell(values: pd.Series, digits: int) -> str:
        if values.isna().all():
            return "–"
        spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
        return f"{values.mean():.{digits}f}{spread}"

    lines = {}
    for name, runs in rows.items():
        table = pd.DataFrame(list(runs))
        lines[name] = {column: cell(table[column], 4) for column in COLUMNS} | {"seconds": cell(table["seconds"], 1)}
    return pd.DataFrame.from_dict(lines, orient="index")


def differences(rows: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """A line an ablation: itself less the whole model of the same seed, mean and standard error over its seeds."""
    columns = [*COLUMNS, ALONE, *AS_IF_NEW]
    whole = pd.DataFrame(list(rows[PUBLISHED])).set_index("seed")[columns]
    lines = {}
    for name in (name for name in ABLATIONS if name in rows):
        without = pd.DataFrame(list(rows[name])).set_index("seed")[columns]
        less = without - whole.loc[without.index]
        mean, error = less.mean(), less.sem()  # nan for a single seed
        lines[name] = {
            column: f"{mean[column]:+.4f}" + (f" ± {error[column]:.4f}" if len(less) > 1 else "") for column in columns
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def notebook_parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings: what the notebooks declare, and what is given instead.

    Raises:
        ParameterError: an unknown name, or a value that does not fit.
    """
    paths = [repository_root() / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS]
    values = {name: each.default for path in paths for name, each in declared_parameters(path).items()}
    for fitting in check(paths, given).values():
        values |= fitting
    return values


def save(path: Path | None, report: dict[str, Any]) -> None:
    """Write the report as it is so far: a long run that is stopped leaves what it has measured."""
    if path:
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(report, indent=1, default=str))
        partial.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", default="data/sample", help="folder of the raw tables (%(default)s)")
    parser.add_argument("--val-days", help="days held out for choices, before the test days")
    parser.add_argument("--test-days", help="the last days of the log")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run (all)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings a row (%(default)s)")
    parser.add_argument("--ablation-seeds", type=int, default=1, help="trainings an ablation (%(default)s)")
    parts = [name.removeprefix("without ") for name in ABLATIONS]
    parser.add_argument("--without", nargs="+", choices=parts, default=parts, help="parts to switch off (all)")
    parser.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters",
        help="of notebook 02 or 03, e.g. -p num_epochs 5; may be given many times",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    given = dict(options.parameters)
    given |= {name: value for name in ("val_days", "test_days") if (value := getattr(options, name)) is not None}
    try:
        parameters = notebook_parameters(given)
        if "peers" in options.only:
            peer_python()  # said now rather than after an hour
        measure(options, parameters)
    except (ParameterError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def measure(options: argparse.Namespace, parameters: dict[str, Any]) -> None:
    """Run the parts that are wanted, print the tables and write the JSON."""
    seeds, ablation_seeds = range(1, options.seeds + 1), range(1, options.ablation_seeds + 1)
    rows: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.prepare(resolve(options.data_dir), Path(folder), parameters)
        log, split = bench.data.log, bench.data.split
        never = int((log.history_ends(bench.truth.customers, bench.as_of) == log.offsets[bench.truth.customers]).sum())
        report: dict[str, Any] = {
            "parameters": parameters,
            "split": {
                **asdict(split),
                "first_test_day": log.date(split.val_end),
                "last_test_day": log.date(log.last_day),
            },
            "customers": {"all": len(bench.truth), "warm": len(bench.truth) - never, "cold": never},
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("torch", "numpy", "pandas", "scipy")},
            "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "platform": platform.platform()},
            "rows": rows,
        }
        parts: dict[str, Callable[[], Iterator[tuple[str, Run]]]] = {
            "ours": lambda: run_ours(bench, seeds),
            "baselines": lambda: run_baselines(bench),
            "peers": lambda: run_peers(bench, seeds),
            "ablation": lambda: run_ablation(
                bench,
                ablation_seeds,
                [run["seed"] for run in rows.get(FULL, [])],
                [f"without {part}" for part in options.without],
            ),
        }
        for part in (part for part in PARTS if part in options.only):
            for name, run in parts[part]():
                rows.setdefault(name, []).append(run)
                shown = ", ".join(f"{column} {run[column]:.4f}" for column in COLUMNS)
                logger.info("%s, seed %s, %.0f s: %s", name, run["seed"], run["seconds"], shown)
                save(options.json, report)
    print(
        f"\n{len(bench.truth):,} customers of {log.date(split.val_end)} to {log.date(log.last_day)}, "
        f"{never:,} of them cold; ± is the standard deviation over seeds.\n"
    )
    print(comparison({name: runs for name, runs in rows.items() if name not in ABLATIONS}).to_string())
    for name, runs in rows.items():
        if "served" in runs[0]:
            print(f"\n{name}: {runs[0]['settings']}. The peer serves {runs[0]['served']:,} of the customers; recent")
            print("popularity is what the others get, and what fills short lists.")
    if "ablation" in options.only:
        of_seeds = f"the mean of {len(ablation_seeds)} seed(s) ± its standard error"
        print(f"\nOne part switched off, less the whole model: {of_seeds}.\n")
        print(differences(rows).to_string())


if __name__ == "__main__":
    sys.exit(main())
