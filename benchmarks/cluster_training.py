"""How many examples a second are trained on Ray, beside the plain loop, and what its workers send each other.

    python -m benchmarks.cluster_training [--data-dir data/sample] [--workers 1 2] [--steps 300] [--json out.json]

Every row trains the same towers on the same batches with the notebooks' default settings, without validation, for some
epochs of as many steps; the fastest but the first counts, as the first fills the caches. The plain loop runs in a
process of its own, with all cores and with one; the workers of a row of Ray share the cores of this machine. So on one
machine two workers say what working together costs, not what a second machine brings.

"sent" is what a worker sends in a step; "the least" is what it would have to send with rings and nothing twice
(`hm_utils.cluster.gradient_exchange.Traffic`). All rows are run in turn, once a round. Needs `make cluster-env`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.measuring import machine, measured, save
from benchmarks.quality import chosen_of, notebook_parameters
from benchmarks.training import BUSY, describe, prepare
from hm_utils.cluster import ClusterError, require_ray
from hm_utils.data.preprocessed_folder import PreprocessedError
from hm_utils.data.preprocessing import TrainingData
from hm_utils.data.raw import RawDataError
from hm_utils.files import resolve
from hm_utils.model.towers import TOWER_SIZES, TowerConfig
from hm_utils.training.fit import open_inputs
from hm_utils.training.loop import TrainingResult, TrainingSettings, train

logger = logging.getLogger(__name__)

COLUMNS = ["examples/s", "× plain", "sent, kB", "dense, kB", "rows, kB", "vectors, kB", "the least, kB"]


@dataclass(frozen=True)
class Task:
    """What is trained on: the preprocessed folder, the notebooks' parameters, and how long."""

    folder: Path
    parameters: dict[str, Any]
    epochs: int
    steps: int

    @property
    def settings(self) -> TrainingSettings:
        chosen = chosen_of(TrainingSettings, self.parameters)
        return TrainingSettings(**{**chosen, "num_epochs": self.epochs, "steps_per_epoch": self.steps, "device": "cpu"})

    @property
    def training(self) -> Path:
        return self.folder / "training"

    def towers(self) -> TowerConfig:
        sizes = [self.parameters[name] for name in TOWER_SIZES]
        return TrainingData.load(self.training).tower_config(*sizes)


def found_of(result: TrainingResult) -> dict[str, float]:
    later = result.history[1:] or result.history
    return {
        "examples/s": max(record["examples_per_second"] for record in later),
        "train_loss": result.history[-1]["train_loss"],
    }


def plain(task: Task, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    inputs, _ = open_inputs(task.training, task.folder, task.settings, False)
    with tempfile.TemporaryDirectory() as scratch:
        return found_of(train(task.towers(), inputs, task.settings, Path(scratch) / "c.pt", ""))


def with_workers(task: Task, workers: int) -> dict[str, float]:
    from hm_utils.cluster.training import train_on_ray

    opens = partial(open_inputs, task.training, task.folder, task.settings)
    with tempfile.TemporaryDirectory() as scratch:
        result = train_on_ray(
            task.towers(), opens, task.settings, Path(scratch) / "c.pt", "", validated=False, num_workers=workers
        )
    kinds = ("sent", "dense", "rows", "vectors")
    sent = {f"{kind}, kB": result.traffic[kind] / 1e3 for kind in kinds}
    return {**found_of(result), **sent, "the least, kB": result.traffic["least"] / 1e3}


def table(rows: dict[str, list[dict[str, float]]]) -> pd.DataFrame:
    """A line a row, its fastest run; ``× plain`` beside the first row."""
    best = {name: max(runs, key=lambda run: run["examples/s"]) for name, runs in rows.items()}
    frame = pd.DataFrame.from_dict(best, orient="index")
    frame["× plain"] = frame["examples/s"] / frame["examples/s"].iloc[0]
    return frame.reindex(columns=COLUMNS)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster_training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", default="data/sample", help="folder of the raw tables (%(default)s)")
    parser.add_argument("--preprocessed", help="folder of preprocessed data, instead of --data-dir")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], help="of Ray, a row each (%(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="of a run (%(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="of an epoch at most (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="times that every row is run (%(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        require_ray()
        measure(options)
    except (RawDataError, PreprocessedError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def measure(options: argparse.Namespace) -> None:
    """Run the rows, print the table and write the JSON."""
    parameters, load, cores = notebook_parameters({}), os.getloadavg()[0], os.cpu_count() or 1
    if load > BUSY:
        logger.warning("the machine is busy (load average %.1f): the figures say more of what else runs", load)
    with tempfile.TemporaryDirectory() as scratch:
        folder = resolve(options.preprocessed) if options.preprocessed else Path(scratch) / "preprocessed"
        if not options.preprocessed:
            prepare(resolve(options.data_dir), folder, parameters)
        task, data = Task(folder, parameters, options.epochs, options.steps), describe(folder)
        runs: dict[str, Callable[[], dict[str, float]]] = {
            f"plain, {threads} thread{'s' if threads > 1 else ''}": partial(measured, plain, task, threads)
            for threads in dict.fromkeys([cores, 1])
        }
        runs |= {
            f"Ray, {workers} worker{'s' if workers > 1 else ''}": partial(with_workers, task, workers)
            for workers in options.workers
        }
        rows: dict[str, list[dict[str, float]]] = {}
        report: dict[str, Any] = {
            **machine("torch", "numpy", "ray"),
            "load average before": load,
            "steps": options.steps,
            "epochs": options.epochs,
            "parameters": parameters,
            "data": data,
            "rows": rows,
        }
        for _ in range(options.rounds):
            for name, run in runs.items():
                found = run()
                rows.setdefault(name, []).append(found)
                logger.info("%s: %.0f examples/s", name, found["examples/s"])
                save(options.json, report)
    print(
        f"\n{data['examples']:,} examples, {data['articles']:,} articles; batches of {parameters['batch_size']}, "
        f"{cores} cores shared by the workers; the best of {options.rounds} rounds; kB a worker and step.\n"
    )
    print(table(rows).to_string(float_format="{:,.2f}".format, na_rep="–"))


if __name__ == "__main__":
    sys.exit(main())
