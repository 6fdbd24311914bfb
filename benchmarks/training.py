"""How many examples a second are trained, beside other ways of feeding the towers, and on Ray.

    python -m benchmarks.training [--data-dir data/sample] [--only ours ceiling dataloader naive tfrs] [--json out.json]
    python -m benchmarks.training --only ours ray

Every row reads the same preprocessed data with the notebooks' default settings, in a process of its own, and trains the
same towers with the same loss and optimizers (but tfrs). The rows run in turn, twice. The clock starts after 100 steps,
when memory is steady and the catalogue's state of every day is cached, as from the second epoch on.

* ours: `BatchMaker` cuts the batches out of the memory-mapped log.
* ceiling: the same on batches made in advance. The difference to it is the cost of feeding.
* dataloader: a `Dataset` that slices the same arrays, an example an item, and `DataLoader` with 0 and 2 workers. The
  item tower encodes the articles of a batch as they come, each example's own and its padded history's. "our step"
  encodes every distinct article once and multiplies as ours does.
* naive: a `Dataset` that finds the history by comparing every row of a DataFrame of the purchases. Single examples are
  timed, and a batch takes 512 times as long.
* tfrs: TensorFlow Recommenders' retrieval task on arrays of finished histories (`benchmarks.tfrs` describes how its
  towers differ; needs `make bench-env`), with the articles of a batch as they come, and once.
* ray: one thread alone, and one and two workers on Ray, which share the cores of this machine: the cost of working
  together, not the gain. "sent" is a worker's traffic in a step, "the least" that of rings and nothing twice. Epochs of
  300 steps; the fastest but the first counts. Needs `make cluster-env`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from benchmarks.measuring import Run, chosen_of, in_turn, machine, measured, notebook_parameters, parser, show, table
from hm_utils.data.examples import DAYS_PER_BLOCK
from hm_utils.data.features import CatalogueState
from hm_utils.data.histories import Histories, gather_histories
from hm_utils.data.popularity import log_popularity
from hm_utils.data.preprocessing import Preprocessed, preprocess
from hm_utils.data.raw import read_raw
from hm_utils.files import repository_root, resolve
from hm_utils.model.towers import TOWER_SIZES, TowerConfig, TwoTower
from hm_utils.training.batches import Batch, BatchMaker
from hm_utils.training.fit import open_inputs, tower_config, training_inputs
from hm_utils.training.loop import TrainingInputs, TrainingSettings, batch_loss, fast_matmul
from hm_utils.training.negatives import InBatchNegatives
from hm_utils.training.optimizer import STEPS_PER_AVERAGE, Optimizers, averaged_model

PARTS = ("ours", "ceiling", "dataloader", "naive", "tfrs")
TFRS_PYTHON = Path(".venv-tfrs/bin/python")
WARM_UP = 100  # steps before the clock starts: until memory is steady
MADE_BEFORE = 1_000  # batches of the ceiling: fewer would stay in the processor's caches
MOST_FOR_TFRS = 500_000  # examples handed over: more would take memory and change nothing
RAY_EPOCHS, RAY_STEPS = 3, 300

Item = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """The preprocessed folder, the notebooks' parameters, seconds of a row after the warm-up, and torch's threads."""

    folder: Path
    parameters: dict[str, Any]
    seconds: float
    threads: int

    @property
    def settings(self) -> TrainingSettings:
        return TrainingSettings(**chosen_of(TrainingSettings, self.parameters))

    def config(self, data: Preprocessed) -> TowerConfig:
        return tower_config(data.training, **{name: self.parameters[name] for name in TOWER_SIZES})

    def setup(self) -> Setup:
        """As in notebook 03, with the caches filled that an epoch fills."""
        torch.set_num_threads(self.threads)
        data, settings = Preprocessed.load(self.folder), self.settings
        inputs = training_inputs(data.log, data.training, settings)
        for day in np.unique(data.training.examples.day).tolist():
            inputs.state.as_of(day)
        torch.manual_seed(settings.seed)
        return Setup(TwoTower(self.config(data)).train(), inputs, settings)


@dataclass(frozen=True)
class Setup:
    """Fresh towers and their data."""

    model: TwoTower
    inputs: TrainingInputs
    settings: TrainingSettings

    @property
    def batches(self) -> BatchMaker:
        return self.inputs.batches

    def epochs(self) -> Iterator[Batch]:
        """Epoch after epoch, as training's first pass begins."""
        rng = np.random.default_rng([self.settings.seed, 1])
        while True:
            yield from self.batches.epoch(rng)


def train_steps(setup: Setup, feed: Iterable[Batch], seconds: float, warm_up: int | None = None) -> Run:
    """Train on the batches of ``feed`` as an epoch of `hm_utils.training.loop` does.

    Args:
        seconds: time after the warm-up, a step at least; a feed that ends first ends the training too.
        warm_up: steps before the clock starts, by default ``WARM_UP``.
    """
    model, warm_up = setup.model, WARM_UP if warm_up is None else warm_up
    averaged, optimizers = averaged_model(model), Optimizers(model, setup.settings.learning_rate)
    loss_sum, examples, articles, start = 0.0, 0, 0, time.perf_counter()
    step, now = 0, start
    for step, batch in enumerate(feed, start=1):
        loss = batch_loss(model, batch, setup.inputs, "cpu")
        optimizers.step(loss)
        of_epoch = (step - 1) % len(setup.batches) + 1
        if of_epoch % STEPS_PER_AVERAGE == 0 or of_epoch == len(setup.batches):
            averaged.update_parameters(model)
        value, now = loss.item(), time.perf_counter()
        if step <= warm_up:
            start = now
            continue
        loss_sum, examples, articles = loss_sum + value * len(batch), examples + len(batch), articles + len(batch.items)
        if now - start >= seconds:
            break
    counted, took = step - warm_up, now - start
    rates = {"examples/s": examples / took, "ms a step": 1_000 * took / counted, "articles a step": articles / counted}
    return {**rates, "train_loss": loss_sum / examples, "steps": counted, "seconds": took}


def ours(task: Task) -> Run:
    setup = task.setup()
    with fast_matmul():
        return train_steps(setup, setup.epochs(), task.seconds)


def ceiling(task: Task) -> Run:
    setup = task.setup()
    made = list(islice(setup.epochs(), min(MADE_BEFORE, len(setup.batches))))
    with fast_matmul():
        return train_steps(setup, cycle(made), task.seconds)


class ArrayDataset(Dataset[Item]):
    """The examples of a `BatchMaker`, one at a time, with the histories that it gives them.

    An item is ``customer``, ``article``, ``day`` (numbers), and ``history``, ``days_since``, ``mask``
    (``[history_length]``, as in :class:`hm_utils.data.histories.Histories`).
    """

    def __init__(self, batches: BatchMaker, seed: int = 0) -> None:
        self.batches, self.rng = batches, np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.batches.examples)

    def __getitem__(self, index: int) -> Item:
        examples, length = self.batches.examples, self.batches.history_length
        customer, article, day = (int(column[index]) for column in (examples.customer, examples.article, examples.day))
        articles, days_since = self.purchases(customer, article, day)
        n = len(articles[:length])
        item: Item = {"history": np.zeros(length, np.int32), "days_since": np.zeros(length, np.int32)}
        item["history"][:n], item["days_since"][:n] = articles[:n], days_since[:n]
        return {"customer": customer, "article": article, "day": day, **item, "mask": np.arange(length) < n}

    def purchases(self, customer: int, article: int, day: int) -> tuple[np.ndarray, np.ndarray]:
        """Articles and days since of the history, newest first."""
        log, batches = self.batches.log, self.batches
        context = self.rng.random() < batches.context_share
        first, last = log.offsets[customer], log.offsets[customer + 1]
        end = first + np.searchsorted(log.day[first:last], day + context)
        start = max(first, end - 2 * batches.history_length)
        articles: np.ndarray = log.article[start:end][::-1]
        days_since: np.ndarray = day - log.day[start:end][::-1].astype(np.int32)
        if context:  # a random part of the basket is seen, and never the article to be predicted
            part = self.rng.random(len(articles)) >= self.rng.random()
            seen = (days_since > 0) | (part & (articles != article))
            articles, days_since = articles[seen], days_since[seen]
        most = 0 if self.rng.random() < batches.history_dropout else batches.history_length
        return articles[:most], days_since[:most]


class ScanDataset(ArrayDataset):
    """The same strictly before the day, by comparing every purchase."""

    @cached_property
    def transactions(self) -> pd.DataFrame:
        log = self.batches.log
        dates = pd.date_range(log.date(0), periods=log.last_day + 1, unit="s").to_numpy()
        return pd.DataFrame({"customer_id": log.customer, "article_id": log.article, "t_dat": dates[log.day]})

    def purchases(self, customer: int, article: int, day: int) -> tuple[np.ndarray, np.ndarray]:
        transactions, date = self.transactions, pd.Timestamp(self.batches.log.date(day))
        past = transactions[(transactions["customer_id"] == customer) & (transactions["t_dat"] < date)]
        newest = past.tail(self.batches.history_length).iloc[::-1]
        return newest["article_id"].to_numpy(), (date - newest["t_dat"]).dt.days.to_numpy()


class Collated:
    """Makes the batch of collated items that `BatchMaker.make` makes of examples.

    Args:
        once: ``items`` are the distinct articles, as in `BatchMaker`'s batches; otherwise all as they come.
    """

    def __init__(self, batches: BatchMaker, once: bool) -> None:
        self._last, self._once = int(batches.examples.day[-1]), once
        blocks = (self._last - batches.examples.day) // DAYS_PER_BLOCK
        counts = np.zeros((int(blocks[0]) + 1, batches.log.n_articles))
        np.add.at(counts, (blocks, batches.examples.article), 1)
        self._shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def __call__(self, collated: Mapping[str, Tensor]) -> Batch:
        columns = {name: column.numpy() for name, column in collated.items()}
        # Collating makes int64 of Python's integers; int32 is faster to compare.
        customers, articles, days = (columns[name].astype(np.int32) for name in ("customer", "article", "day"))
        history, n = columns["history"], len(customers)
        blocks, counts = np.unique((self._last - days) // DAYS_PER_BLOCK, return_counts=True)
        share = counts / n @ self._shares[blocks]
        items = np.concatenate([articles, history.ravel()])
        places = np.arange(len(items))
        if self._once:
            items, places = np.unique(items, return_inverse=True)
        return Batch(
            size=n,
            day=int(days.min()),
            items=items,
            popularity=log_popularity(share)[items],
            customers=customers,
            positives=places[:n],
            negatives=InBatchNegatives.of(places[:n], articles, customers, slice(None), share),
            histories=Histories(places[n:].reshape(history.shape), columns["days_since"], columns["mask"]),
        )


def _seed_worker(worker: int) -> None:
    """Draw other numbers in every worker."""
    info = get_worker_info()
    assert info is not None
    cast(ArrayDataset, info.dataset).rng = np.random.default_rng(info.seed)


def dataloader(task: Task, workers: int, our_step: bool) -> Run:
    setup = task.setup()
    collated, size = Collated(setup.batches, our_step), setup.settings.batch_size
    loader = DataLoader(
        ArrayDataset(setup.batches), size, shuffle=True, num_workers=workers, worker_init_fn=_seed_worker,
        persistent_workers=workers > 0,
    )  # fmt: skip
    feed = (collated(batch) for _ in iter(int, 1) for batch in loader)
    with fast_matmul() if our_step else nullcontext():
        return train_steps(setup, feed, task.seconds)


def naive(task: Task) -> Run:
    """Look single examples up for ``seconds``, then train on batches of them for a quarter as long."""
    setup = task.setup()
    dataset, size, collated = ScanDataset(setup.batches), setup.settings.batch_size, Collated(setup.batches, False)
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()
    items = [dataset[order[0]]]  # the warm-up
    start = time.perf_counter()
    while len(items) < 2 or (len(items) < len(order) and time.perf_counter() - start < task.seconds):
        items.append(dataset[order[len(items)]])
    lookup = (time.perf_counter() - start) / (len(items) - 1)
    found = cycle(items)
    feed = (collated(default_collate(list(islice(found, size)))) for _ in iter(int, 1))
    run = train_steps(setup, feed, task.seconds / 4)
    step = run["ms a step"] + 1_000 * size * lookup
    return {**run, "ms a step": step, "examples/s": 1_000 * size / step}


def write_arrays(task: Task, folder: Path) -> Run:
    """Write the input of `benchmarks.tfrs`: one ``.npy`` an array, and ``settings.json``.

    A row an example (at random, at most ``MOST_FOR_TFRS``): customer, article, history, mask. A row an article:
    categories, state (of the last day that has examples), sampling_probability. A row a customer: attributes.
    """
    data = Preprocessed.load(task.folder)
    log, training, examples = data.log, data.training, data.training.examples
    chosen = np.sort(np.random.default_rng(0).permutation(len(examples))[:MOST_FOR_TFRS])
    customers, days = examples.customer[chosen], examples.day[chosen]
    ends = log.history_ends(customers, days)
    histories = gather_histories(log, customers, ends, days, task.settings.history_length)
    counts = np.bincount(examples.article, minlength=log.n_articles)
    arrays = {
        "customer": customers,
        "article": examples.article[chosen],
        "history": histories.articles,
        "mask": histories.mask,
        "categories": training.categories,
        "state": CatalogueState(log).as_of(int(examples.day[-1])),
        "sampling_probability": (counts / counts.sum()).astype(np.float32),
        "attributes": training.attributes,
    }
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    (folder / "settings.json").write_text(
        json.dumps({**asdict(task.config(data)), "batch_size": task.settings.batch_size})
    )
    return {}


def tfrs(task: Task, python: Path, arrays: Path, once: bool) -> Run:
    """Run `benchmarks.tfrs` in its environment."""
    output = arrays / "result.json"
    command = [str(python), "-m", "benchmarks.tfrs", "--arrays", str(arrays), "--output", str(output)]
    command += ["--seconds", str(task.seconds), "--threads", str(task.threads), *(["--articles-once"] if once else [])]
    subprocess.run(command, cwd=repository_root(), check=True, stdout=sys.stderr)
    return dict(json.loads(output.read_text()))


def on_ray(task: Task, workers: int) -> Run:
    from hm_utils.cluster.training import train_on_ray

    settings = replace(task.settings, num_epochs=RAY_EPOCHS, steps_per_epoch=RAY_STEPS, device="cpu")
    opens = partial(open_inputs, task.folder / "training", task.folder, settings)
    config = task.config(Preprocessed.load(task.folder))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "checkpoint.pt"
        found = train_on_ray(config, opens, settings, path, "", validated=False, num_workers=workers)
    sent = {"sent, kB": found.traffic["sent"] / 1e3, "the least, kB": found.traffic["least"] / 1e3}
    return {"examples/s": max(record["examples_per_second"] for record in found.history[1:]), **sent}


def prepare(data_dir: Path, folder: Path, parameters: dict[str, Any]) -> Run:
    """Preprocess the tables as notebook 02 does."""
    names = ("val_days", "test_days", "train_weeks", "seed")
    preprocess(read_raw(data_dir), folder, **{name: parameters[name] for name in names})
    return {}


def calls_of(task: Task, python: Path, arrays: Path) -> dict[str, dict[str, Callable[[], Run]]]:
    """The rows of every part."""
    loaders = {
        f"DataLoader, array Dataset{', our step' * ours_too}, {workers} workers": (dataloader, task, workers, ours_too)
        for ours_too in (False, True)
        for workers in (0, 2)
    }
    return {
        "ours": {"ours: BatchMaker": partial(measured, ours, task)},
        "ceiling": {"ceiling: batches made in advance": partial(measured, ceiling, task)},
        "dataloader": {name: partial(measured, *call) for name, call in loaders.items()},
        "naive": {"Dataset that scans a DataFrame": partial(measured, naive, task)},
        "tfrs": {
            f"TensorFlow Recommenders{', articles once' * once}": partial(tfrs, task, python, arrays, once)
            for once in (False, True)
        },
        "ray": {
            "ours, 1 thread": partial(measured, ours, replace(task, threads=1)),
            **{f"Ray, {n} worker{'s' * (n > 1)}": partial(measured, on_ray, task, n) for n in (1, 2)},
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("training", __doc__, data_dir="data/sample")
    options.add_argument("--preprocessed", help="folder of preprocessed data, instead of --data-dir")
    options.add_argument("--only", nargs="+", choices=[*PARTS, "ray"], default=list(PARTS), help="parts to run")
    options.add_argument("--seconds", type=float, default=20.0, help="time of a row after the warm-up (%(default)s)")
    options.add_argument("--rounds", type=int, default=2, help="runs of a row (%(default)s)")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of torch (%(default)s)")
    chosen = options.parse_args(arguments)
    # Not resolved: the python of a virtual environment is a link.
    parts, python = [part for part in PARTS if part in chosen.only], repository_root() / TFRS_PYTHON
    parts += ["ray"] if "ray" in chosen.only else []
    if "tfrs" in parts and not python.exists():
        print("TensorFlow Recommenders is excluded: run `make bench-env`", file=sys.stderr)
        parts.remove("tfrs")
    parameters, report = notebook_parameters({}), {"machine": machine("torch", "numpy", "pandas")}
    with tempfile.TemporaryDirectory() as scratch:
        folder = resolve(chosen.preprocessed) if chosen.preprocessed else Path(scratch) / "preprocessed"
        task, arrays = Task(folder, parameters, chosen.seconds, chosen.threads), Path(scratch) / "arrays"
        try:
            if not chosen.preprocessed:
                # In a process of its own: a child's peak begins at its parent's.
                measured(prepare, resolve(chosen.data_dir), folder, parameters)
            if "tfrs" in parts:
                measured(write_arrays, task, arrays)
            counts = Preprocessed.load(folder).manifest["counts"]
        except (RuntimeError, OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        report |= {"threads": chosen.threads, "seconds": chosen.seconds, "parameters": parameters, "counts": counts}
        calls = calls_of(task, python, arrays)
        rows = in_turn({n: c for part in parts for n, c in calls[part].items()}, chosen.rounds, report, chosen.json)
    columns = ["ms a step", "articles a step", "peak GiB", *(["sent, kB", "the least, kB"] if "ray" in parts else [])]
    heading = f"{counts['examples']:,} examples, batches of {task.settings.batch_size}, {chosen.threads} threads"
    return show(heading, table(rows, "examples/s", columns), report)


if __name__ == "__main__":
    sys.exit(main())
