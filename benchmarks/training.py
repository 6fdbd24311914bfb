"""How many examples a second are trained, where a step's time goes, and what feeding the towers in other ways costs.

    python -m benchmarks.training [--data-dir data/raw] [--only ours ceiling dataloader naive] [--json out.json]

Every row reads the same preprocessed data, with the notebooks' default settings, in a process of its own. The first
four train the same towers with the same loss and optimizers, as `hm_utils.training.loop` does an epoch:

* ours: `BatchMaker` cuts the batches out of the memory-mapped log.
* ceiling: the same on batches that were made before. What is missing to it is what feeding costs.
* dataloader: a `torch.utils.data.Dataset`, an example an item, that slices the same arrays with numpy; `DataLoader`
  shuffles and collates them, with 0 and with 2 workers, and the better is in the table. In the usual way the item
  tower encodes the articles of a batch as they come, an example's own and its padded history's ("articles a step"),
  with torch's own choice of how to multiply. "our step" encodes the distinct articles and looks them up, and
  multiplies as ours does (`loop.quick_products`): what is left of the difference is what an example at a
  time costs, and that batches of any day, which tear baskets apart, have more distinct articles.
* naive: a `Dataset` that finds the customer's history by comparing every row of a DataFrame of the purchases. What
  is compared is integers, which is quicker than Kaggle's ids of 64 letters. A batch may take longer than the whole
  measurement, so single examples are timed, and a batch is taken to last 512 times as long. No same-basket context.
* tfrs: TensorFlow Recommenders' retrieval task on arrays of finished histories (`benchmarks.tfrs`, which says how its
  towers differ; needs `make bench-env`), with the articles of a batch as they come, and once. Its peak is of its own
  process.

The clock starts after a hundred steps, when memory is where it stays, with the catalogue's state and the popularity of
every day at hand, as they are from the second epoch on; a later epoch's shuffling counts. All rows are run in turn, and
again for every further round; of a row's runs the table shows the fastest. Peak memory is without a DataLoader's
workers.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from benchmarks.measuring import machine, measured, save
from benchmarks.quality import chosen_of, notebook_parameters
from hm_utils.data.examples import Batch, BatchMaker, Examples, gather_histories
from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import Preprocessed, preprocess
from hm_utils.data.raw import read_raw
from hm_utils.files import repository_root, resolve
from hm_utils.model.towers import TOWER_SIZES, TwoTower
from hm_utils.training.loop import (
    STEPS_PER_AVERAGE,
    Optimizers,
    TrainingInputs,
    TrainingSettings,
    batch_loss,
    polynomial_decay_average,
    quick_products,
)

logger = logging.getLogger(__name__)

BUSY = 0.5  # load average above which the figures say more of what else runs
ROWS = ("ours", "ceiling", "dataloader", "naive", "tfrs")
TFRS_PYTHON = Path(".venv-tfrs/bin/python")
OURS = "ours: BatchMaker"
LOADER = "DataLoader, array Dataset"
TFRS = "TensorFlow Recommenders"
OUR_STEP = ", our step"  # of the DataLoader's rows; the others take the usual one
ONCE = ", articles once"  # of TensorFlow Recommenders'
WORKERS = (0, 2)

WARM_UP = 100  # steps before the clock starts: until memory is where it stays
MADE_BEFORE = 1_000  # batches of the ceiling: fewer, which come again and again, would stay in the processor's caches
MOST_FOR_TFRS = 500_000  # examples handed over: more would take memory and change nothing
PARTS = ("batch, ms", "forward, ms", "backward, ms", "update, ms")

Item = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What a row's process is told.

    Attributes:
        folder: of the preprocessed data.
        parameters: of the notebooks.
        seconds: to measure for, after the warm-up.
        threads: of torch and of TensorFlow.
    """

    folder: Path
    parameters: dict[str, Any]
    seconds: float
    threads: int


# ---- the training loop ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Setup:
    """Fresh towers and what they are trained on."""

    model: TwoTower
    inputs: TrainingInputs
    settings: TrainingSettings

    @property
    def batches(self) -> BatchMaker:
        return self.inputs.batches

    @classmethod
    def of(cls, task: Task) -> Setup:
        """As notebook 03 builds them, with the caches filled that an epoch fills."""
        torch.set_num_threads(task.threads)
        data = Preprocessed.load(task.folder)
        training, settings = data.training, TrainingSettings(**chosen_of(TrainingSettings, task.parameters))
        batches = BatchMaker(data.log, training.examples, **chosen_of(BatchMaker, task.parameters))
        inputs = TrainingInputs(batches, training.categories, CatalogueState(data.log), training.attributes)
        days = np.unique(training.examples.day)
        batches.share_and_popularity(days)
        for day in days.tolist():
            inputs.state.as_of(day)
        torch.manual_seed(settings.seed)
        sizes = [task.parameters[name] for name in TOWER_SIZES]
        return cls(TwoTower(training.tower_config(*sizes)).train(), inputs, settings)

    def generator(self) -> np.random.Generator:
        """That of training's first pass."""
        return np.random.default_rng([self.settings.seed, 1])


class _TimedBackward:
    """Stands for a loss in `Optimizers.step`, which calls ``backward``, and keeps the ``seconds`` of that."""

    def __init__(self, loss: Tensor) -> None:
        self._loss, self.seconds = loss, 0.0

    def backward(self) -> None:
        start = time.perf_counter()
        self._loss.backward()
        self.seconds = time.perf_counter() - start


def train_steps(setup: Setup, feed: Iterable[Batch], seconds: float, warm_up: int | None = None) -> dict[str, float]:
    """Train on the batches of ``feed`` as an epoch of `hm_utils.training.loop` does.

    Args:
        seconds: to go on for after the warm-up, a step at least; a feed that ends first ends the training too.
        warm_up: steps that are trained and not counted, by default ``WARM_UP``.

    Returns:
        examples/s, the milliseconds of ``PARTS``, the mean number of distinct articles a step, ``train_loss`` (mean
        an example) and ``steps``; nan where no step was counted.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    model, inputs = setup.model, setup.inputs
    warm_up = WARM_UP if warm_up is None else warm_up
    averaged = AveragedModel(model, multi_avg_fn=polynomial_decay_average)
    optimizers = Optimizers(model, setup.settings.learning_rate)
    spent, total, examples, articles, steps = np.zeros(len(PARTS)), 0.0, 0, 0, 0
    batches = iter(feed)
    while steps <= warm_up or spent.sum() < seconds:
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        made = time.perf_counter()
        loss = batch_loss(model, batch, inputs, "cpu")
        forward = time.perf_counter()
        timed = _TimedBackward(loss)
        optimizers.step(cast(Tensor, timed))
        of_epoch = steps % len(inputs.batches) + 1
        if of_epoch % STEPS_PER_AVERAGE == 0 or of_epoch == len(inputs.batches):
            averaged.update_parameters(model)
        value = loss.item()
        updated = time.perf_counter()
        if not np.isfinite(value):
            raise FloatingPointError(f"the loss of step {steps + 1} is {value}")
        if steps >= warm_up:
            spent += (made - start, forward - made, timed.seconds, updated - forward - timed.seconds)
            total, examples = total + value * len(batch.customers), examples + len(batch.customers)
            articles += len(batch.items)
        steps += 1
    counted = max(steps - warm_up, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = dict(zip(PARTS, (1_000 * spent / counted).tolist(), strict=True))
        means = np.array([examples, total, articles]) / (spent.sum(), examples, counted)
    return {
        "examples/s": float(means[0]),
        **parts,
        "articles a step": float(means[2]),
        "train_loss": float(means[1]),
        "steps": counted,
        "seconds": float(spent.sum()),
    }


# ---- ours, and batches made before ---------------------------------------------------------------


def endless(batches: BatchMaker, rng: np.random.Generator) -> Iterator[Batch]:
    """Epoch after epoch."""
    while True:
        yield from batches.epoch(rng)


def ours(task: Task) -> dict[str, float]:
    setup = Setup.of(task)
    with quick_products():
        return train_steps(setup, endless(setup.batches, setup.generator()), task.seconds)


def ceiling(task: Task) -> dict[str, float]:
    setup = Setup.of(task)
    made = list(islice(setup.batches.epoch(setup.generator()), MADE_BEFORE))
    with quick_products():
        return train_steps(setup, cycle(made), task.seconds)


# ---- a Dataset and a DataLoader ------------------------------------------------------------------


def padded(articles: np.ndarray, days_since: np.ndarray, length: int) -> Item:
    """``history``, ``days_since`` and ``mask`` of a history of at most ``length`` purchases, newest first."""
    n = len(articles)
    item: Item = {"history": np.zeros(length, np.int32), "days_since": np.zeros(length, np.int32)}
    item["history"][:n], item["days_since"][:n] = articles, days_since
    item["mask"] = np.arange(length) < n
    return item


def example_of(examples: Examples, index: int) -> tuple[int, int, int]:
    """Customer, article and day of an example."""
    return int(examples.customer[index]), int(examples.article[index]), int(examples.day[index])


class ArrayDataset(Dataset[Item]):
    """The examples of a `BatchMaker`, one at a time, with the histories that it gives them.

    An item is ``customer``, ``article``, ``day`` (numbers), and ``history``, ``days_since``, ``mask``
    (``[history_length]``, as in :class:`hm_utils.data.examples.Histories`).
    """

    def __init__(self, batches: BatchMaker, seed: int = 0) -> None:
        self._log, self._examples = batches.log, batches.examples
        self._length = batches.history_length
        self._context_share = batches.context_share
        self._history_dropout = batches.history_dropout
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Item:
        log = self._log
        customer, article, day = example_of(self._examples, index)
        context = self.rng.random() < self._context_share
        first, last = log.offsets[customer], log.offsets[customer + 1]
        end = first + np.searchsorted(log.day[first:last], day + context)
        start = max(first, end - 2 * self._length)
        articles: np.ndarray = log.article[start:end][::-1]
        days_since = day - log.day[start:end][::-1].astype(np.int32)
        if context:  # of the basket a random part is seen, and never the article to be predicted
            part = self.rng.random(len(articles)) >= self.rng.random()
            seen = (days_since > 0) | (part & (articles != article))
            articles, days_since = articles[seen], days_since[seen]
        length = 0 if self.rng.random() < self._history_dropout else self._length
        history = padded(articles[:length], days_since[:length], self._length)
        return {"customer": customer, "article": article, "day": day, **history}


def to_batch(batches: BatchMaker, collated: Mapping[str, Tensor], once: bool) -> Batch:
    """What `BatchMaker.make` makes, of collated items.

    Args:
        batches: whose negatives and sampling probabilities are used.
        collated: the items' fields with a first dimension ``n``.
        once: the batch's ``items`` are its distinct articles, as in `BatchMaker`'s; otherwise all as they come.
    """
    fields = {name: column.numpy() for name, column in collated.items()}
    # Collating makes 64 bits of Python's integers; half of that is quicker to compare.
    customers, articles, days = (fields[name].astype(np.int32) for name in ("customer", "article", "day"))
    history, n = fields["history"], len(customers)
    share, popularity = batches.share_and_popularity(days)
    expected = (n - 1) * share[articles]
    collisions = (articles[None, :] == articles[:, None]) | (customers[None, :] == customers[:, None])
    items = np.concatenate([articles, history.ravel()])
    places = np.arange(len(items))
    if once:
        items, places = np.unique(items, return_inverse=True)
    return Batch(
        day=int(days.min()),
        items=items,
        popularity=popularity[items],
        customers=customers,
        positives=places[:n],
        negatives=places[:n],
        log_expected_count=np.log(np.maximum(expected, 1e-9)).astype(np.float32),
        collisions=collisions,
        history=places[n:].reshape(history.shape),
        days_since=fields["days_since"],
        mask=fields["mask"],
    )


def _seed_worker(worker: int) -> None:
    """Draw other numbers in every worker."""
    info = get_worker_info()
    assert info is not None
    cast(ArrayDataset, info.dataset).rng = np.random.default_rng(info.seed)


def dataloader(task: Task, workers: int, our_step: bool) -> dict[str, float]:
    setup = Setup.of(task)
    loader = DataLoader(
        ArrayDataset(setup.batches),
        batch_size=setup.settings.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_seed_worker,
    )

    def feed() -> Iterator[Batch]:
        while True:
            for collated in loader:
                yield to_batch(setup.batches, collated, once=our_step)

    with quick_products() if our_step else nullcontext():
        return train_steps(setup, feed(), task.seconds)


# ---- a Dataset that searches the purchases for every example -------------------------------------


class ScanDataset(Dataset[Item]):
    """The items of :class:`ArrayDataset`, strictly before the day, the history found by comparing every purchase."""

    def __init__(self, batches: BatchMaker) -> None:
        log, examples = batches.log, batches.examples
        self._dates = pd.date_range(log.date(0), periods=log.last_day + 1, unit="s")
        self._transactions = pd.DataFrame(
            {
                "customer_id": log.customer,
                "article_id": np.asarray(log.article),
                "t_dat": self._dates.to_numpy()[log.day],
            }
        )
        self._examples, self._length = examples, batches.history_length

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Item:
        customer, article, day = example_of(self._examples, index)
        date, transactions = self._dates[day], self._transactions
        past = transactions[(transactions["customer_id"] == customer) & (transactions["t_dat"] < date)]
        newest = past.tail(self._length).iloc[::-1]
        days_since = (date - newest["t_dat"]).dt.days
        history = padded(newest["article_id"].to_numpy(), days_since.to_numpy(), self._length)
        return {"customer": customer, "article": article, "day": day, **history}


def naive(task: Task) -> dict[str, float]:
    """Look single examples up for ``seconds``, then train on batches of them for a quarter as long."""
    setup = Setup.of(task)
    rng = setup.generator()
    dataset, batch_size = ScanDataset(setup.batches), setup.settings.batch_size
    order = rng.permutation(len(dataset)).tolist()
    dataset[order[0]]  # the warm-up
    items: list[Item] = []
    start = time.perf_counter()
    while len(items) < len(order) and (not items or time.perf_counter() - start < task.seconds):
        items.append(dataset[order[len(items)]])
    per_example = (time.perf_counter() - start) / len(items)

    def feed() -> Iterator[Batch]:
        found = cycle(items)
        while True:
            yield to_batch(setup.batches, default_collate(list(islice(found, batch_size))), once=False)

    found = train_steps(setup, feed(), task.seconds / 4)
    found["batch, ms"] += 1_000 * per_example * batch_size
    found["examples/s"] = 1_000 * batch_size / sum(found[part] for part in PARTS)
    return {**found, "looked up": len(items), "lookup, ms": 1_000 * per_example}


# ---- TensorFlow Recommenders ---------------------------------------------------------------------


def write_arrays(task: Task, folder: Path) -> dict[str, Any]:
    """Write what `benchmarks.tfrs` reads: one ``.npy`` an array, and ``settings.json``.

    A row an example (at random, at most ``MOST_FOR_TFRS``): customer, article, history, mask. A row an article:
    categories, state (of the last day that has examples), sampling_probability. A row a customer: attributes.
    """
    data, parameters = Preprocessed.load(task.folder), task.parameters
    log, training = data.log, data.training
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(training.examples))[:MOST_FOR_TFRS])
    customers, days = training.examples.customer[chosen], training.examples.day[chosen]
    histories = gather_histories(log, customers, log.history_ends(customers, days), days, parameters["history_length"])
    counts = np.bincount(training.examples.article, minlength=log.n_articles)
    arrays = {
        "customer": customers,
        "article": training.examples.article[chosen],
        "history": histories.articles,
        "mask": histories.mask,
        "categories": training.categories,
        "state": CatalogueState(log).as_of(int(training.examples.day[-1])),
        "sampling_probability": (counts / counts.sum()).astype(np.float32),
        "attributes": training.attributes,
    }
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    config = training.tower_config(*(parameters[name] for name in TOWER_SIZES))
    settings = {**asdict(config), "batch_size": parameters["batch_size"]}
    (folder / "settings.json").write_text(json.dumps(settings))
    return {}


def tfrs(task: Task, python: Path, arrays: Path, once: bool) -> dict[str, Any]:
    """Run `benchmarks.tfrs` in its environment; what it says."""
    output = arrays / "result.json"
    command = [str(python), "-m", "benchmarks.tfrs", "--arrays", str(arrays), "--output", str(output)]
    command += ["--seconds", str(task.seconds), "--threads", str(task.threads)]
    command += ["--articles-once"] if once else []
    subprocess.run(command, cwd=repository_root(), check=True, stdout=sys.stderr)
    return dict(json.loads(output.read_text()))


# ---- the table -----------------------------------------------------------------------------------


def prepare(data_dir: Path, folder: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Preprocess the tables as notebook 02 does."""
    names = ("val_days", "test_days", "train_weeks")
    preprocess(read_raw(data_dir), folder, **{name: parameters[name] for name in names}, seed=parameters["seed"])
    return {}


def describe(folder: Path) -> dict[str, Any]:
    """What is trained on, for the JSON and the table's first line."""
    data = Preprocessed.load(folder)
    examples = len(data.training.examples)
    return {"examples": examples, "articles": data.log.n_articles, "purchases": len(data.log)}


def loader_name(step: str, workers: int) -> str:
    """What a row of the DataLoader is called; ``step`` is ``OUR_STEP`` or "", the usual one."""
    return f"{LOADER}{step}, {workers} workers"


def table(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """A line a row, its fastest run; of the DataLoader's numbers of workers the faster."""
    best = {name: max(runs, key=lambda run: run["examples/s"]) for name, runs in rows.items()}
    slower = []
    for step in ("", OUR_STEP):
        loaders = [name for workers in WORKERS if (name := loader_name(step, workers)) in best]
        slower += sorted(loaders, key=lambda name: best[name]["examples/s"])[:-1]
    frame = pd.DataFrame.from_dict({name: run for name, run in best.items() if name not in slower}, orient="index")
    frame["× ours"] = frame["examples/s"] / (best[OURS]["examples/s"] if OURS in best else np.nan)
    return frame.reindex(columns=["examples/s", "× ours", *PARTS, "articles a step", "peak GiB"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", default="data/sample", help="folder of the raw tables (%(default)s)")
    parser.add_argument("--preprocessed", help="folder of preprocessed data, instead of --data-dir")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="rows to run (all)")
    parser.add_argument("--seconds", type=float, default=20.0, help="that a row is measured for (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="times that every row is run (%(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="(%(default)s)")
    parser.add_argument(
        "--tfrs-python", type=Path, default=TFRS_PYTHON, help="of TensorFlow's environment (%(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        measure(options)
    except RuntimeError as error:  # a process that could not read its data, or died
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def measure(options: argparse.Namespace) -> None:
    """Run the rows that are wanted, print the table and write the JSON."""
    parameters = notebook_parameters({})
    load = os.getloadavg()[0]
    if load > BUSY:
        # OpenMP's threads spin while they wait for the one whose core is taken: not a bit slower, but many times.
        logger.warning("the machine is busy (load average %.1f): with several threads, torch's rows suffer most", load)
    # Not resolved: the python of a virtual environment is a link, and what it points to knows no environment.
    python = repository_root() / options.tfrs_python
    without_tfrs = "tfrs" in options.only and not python.exists()
    if without_tfrs:
        logger.warning("no TensorFlow Recommenders: %s is missing; run `make bench-env`", options.tfrs_python)
    with tempfile.TemporaryDirectory() as scratch:
        if options.preprocessed:
            folder = resolve(options.preprocessed)
        else:
            folder = Path(scratch) / "preprocessed"
            measured(prepare, resolve(options.data_dir), folder, parameters)  # a child's peak begins at its parent's
        task = Task(folder, parameters, options.seconds, options.threads)
        arrays = Path(scratch) / "arrays"
        runs: dict[str, dict[str, Callable[[], dict[str, Any]]]] = {
            "ours": {OURS: partial(measured, ours, task)},
            "ceiling": {"ceiling: batches made before": partial(measured, ceiling, task)},
            "dataloader": {
                loader_name(step, workers): partial(measured, dataloader, task, workers, step == OUR_STEP)
                for step in ("", OUR_STEP)
                for workers in WORKERS
            },
            "naive": {"Dataset that scans a DataFrame": partial(measured, naive, task)},
            "tfrs": {
                TFRS + once: partial(tfrs, task, python, arrays, once == ONCE)
                for once in ("", ONCE)
                if not without_tfrs
            },
        }
        if "tfrs" in options.only and not without_tfrs:
            measured(write_arrays, task, arrays)
        rows: dict[str, list[dict[str, Any]]] = {}
        data = describe(folder)
        report: dict[str, Any] = {
            **machine("torch", "numpy", "pandas"),
            "threads": options.threads,
            "load average before": load,
            "seconds": options.seconds,
            "parameters": parameters,
            "data": data,
            "rows": rows,
        }
        for _ in range(options.rounds):
            for part in (part for part in ROWS if part in options.only):
                for name, run in runs[part].items():
                    found = run()
                    rows.setdefault(name, []).append(found)
                    logger.info("%s: %.0f examples/s", name, found["examples/s"])
                    save(options.json, report)
    print(
        f"\n{data['examples']:,} examples, {data['articles']:,} articles, {data['purchases']:,} purchases; "
        f"batches of {parameters['batch_size']}, {options.threads} threads; the best of {options.rounds} rounds.\n"
    )
    if rows:
        print(table(rows).to_string(float_format="{:,.2f}".format, na_rep="–"))
    if without_tfrs:
        print(f"\nTensorFlow Recommenders is left out: {options.tfrs_python} is missing, run `make bench-env`.")


if __name__ == "__main__":
    sys.exit(main())
