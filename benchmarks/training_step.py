"""How fast a training step is, by number of threads, and where its time goes.

    python -m benchmarks.training_step [--size tiny|sample] [--steps 60] [--json out.json]

Every row is measured in this run, on a synthetic sample made for it; compare rows, not machines.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from hm_utils.dataset import BatchMaker
from hm_utils.features import CatalogueState
from hm_utils.preprocessing import make_training_data
from hm_utils.purchases import PurchaseLog
from hm_utils.raw import read_raw
from hm_utils.sample import write_sample
from hm_utils.towers import TwoTower
from hm_utils.training import Optimizers, TrainingInputs, TrainingSettings, batch_loss


def make_inputs(size: str, settings: TrainingSettings) -> tuple[TwoTower, TrainingInputs]:
    """Towers and data of a fresh sample."""
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder), size)
        tables = read_raw(Path(folder))
    log = PurchaseLog.from_transactions(tables.transactions, len(tables.customers), len(tables.articles))
    training = make_training_data(tables.articles, tables.customers, log, log.last_day + 1, 16)
    batches = BatchMaker(log, training.examples, settings.batch_size, settings.history_length)
    torch.manual_seed(0)
    model = TwoTower(training.tower_config(64, [128], 64)).train()
    return model, TrainingInputs(batches, training.categories, CatalogueState(log), training.attributes)


def measure(model: TwoTower, inputs: TrainingInputs, settings: TrainingSettings, steps: int) -> dict[str, float]:
    """Milliseconds a step: making the batch, forward, backward with the update; and examples a second."""
    optimizers = Optimizers(model, settings.learning_rate)
    rng = np.random.default_rng(0)
    chosen = np.arange(len(inputs.batches.examples) - settings.batch_size)
    spent = np.zeros(3)
    for step in range(steps + 3):
        start = int(rng.choice(chosen))
        times = [time.perf_counter()]
        batch = inputs.batches.make(np.arange(start, start + settings.batch_size), rng)
        times.append(time.perf_counter())
        loss = batch_loss(model, batch, inputs, "cpu", settings.identity_dropout, rng)
        times.append(time.perf_counter())
        optimizers.step(loss)
        times.append(time.perf_counter())
        if step >= 3:  # the first steps warm up
            spent += np.diff(times)
    make, forward, backward = (1_000 * spent / steps).tolist()
    return {
        "batch, ms": make,
        "forward, ms": forward,
        "backward and update, ms": backward,
        "examples/s": settings.batch_size * steps / spent.sum(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="sample", choices=["tiny", "sample"])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--json", type=Path, help="write the table here too")
    options = parser.parse_args()
    settings = TrainingSettings(batch_size=512 if options.size == "sample" else 128)
    model, inputs = make_inputs(options.size, settings)
    rows = {}
    for threads in sorted({1, os.cpu_count() or 1}):
        torch.set_num_threads(threads)
        rows[f"{threads} thread{'s' * (threads > 1)}"] = measure(model, inputs, settings, options.steps)
    print(pd.DataFrame(rows).T.round(1).to_string())
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
