"""Training and ranking on a GPU, with the CPU beside it: one command, sized for less than eight minutes.

    python -m benchmarks.gpu [--size full] [--device auto] [--batch-sizes 512 8192] [--steps 300] [--json out.json]

It makes a synthetic set in a temporary folder. Nothing beyond `pip install .` is needed. On a machine without a GPU, or
with `--device cpu`, only the CPU is measured. Every row has a process of its own, and the rows run one after the other.

* training: two epochs of the training loop, with towers of full width. The second epoch counts: then the tables are on
  the device and the catalogue's state of every day is cached. The CPU trains with the first of the batch sizes.
* ranking: the first 12 articles of the whole catalogue for every customer, by brute force. The CPU ranks the first
  4,096 customers.
* parts: the time of a step by part, from `torch.profiler`. On a GPU the parts overlap: Python works ahead of the
  device, and a thread makes the batches.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from torch.autograd import DeviceType
from torch.optim.swa_utils import AveragedModel
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.measuring import Run, chosen_of, machine, measured, notebook_parameters, parser, save
from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import Preprocessed, preprocess
from hm_utils.data.raw import read_raw
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.towers import TOWER_SIZES, TwoTower
from hm_utils.sample import SIZES, write_sample
from hm_utils.training import loop
from hm_utils.training.batches import BatchMaker
from hm_utils.training.fit import tower_config, training_inputs
from hm_utils.training.loop import TrainingSettings, resolve_device, train

K = 12
RANKED_ON_CPU = 4_096  # customers: all of them would take many minutes
PROFILED = 30  # steps of each of two epochs
GIB = 2**30


def trained(folder: Path, device: str, batch_size: int, steps: int) -> Run:
    """Two epochs of ``steps`` steps, or of a pass where it is shorter; the second's figures."""
    data, parameters = Preprocessed.load(folder), notebook_parameters({})
    rate = parameters["learning_rate"] * (batch_size / parameters["batch_size"]) ** 0.5
    changes = {"batch_size": batch_size, "learning_rate": rate, "steps_per_epoch": steps, "num_epochs": 2}
    settings = TrainingSettings(**chosen_of(TrainingSettings, parameters | changes | {"device": device}))
    config = tower_config(data.training, **{name: parameters[name] for name in TOWER_SIZES})
    inputs = training_inputs(data.log, data.training, settings)
    with tempfile.TemporaryDirectory() as scratch:
        result = train(config, inputs, settings, Path(scratch) / "towers.pt", data.fingerprint)
    rate = result.history[-1]["examples_per_second"]
    figures = {"examples/s": rate, "s a pass": len(data.training.examples) / rate}
    return {**figures, "train_loss": result.history[-1]["train_loss"], **memory(device)}


def ranked(folder: Path, device: str, most: int | None) -> Run:
    """The first K articles for all customers, or the first ``most``, by towers with their initial weights."""
    data = Preprocessed.load(folder)
    parameters, as_of = notebook_parameters({}), data.split.train_end
    config = tower_config(data.training, **{name: parameters[name] for name in TOWER_SIZES})
    state, training = CatalogueState(data.log).as_of(as_of), data.training
    tables = (training.categories, state, training.attributes, data.log, as_of, parameters["history_length"])
    snapshot = Snapshot.take(TwoTower(config).to(device), *tables)
    customers = np.arange(min(most or data.log.n_customers, data.log.n_customers), dtype=np.int32)
    snapshot.rank(customers[:1], K)  # the first search prepares
    start = time.perf_counter()
    snapshot.rank(customers, K)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "customers": len(customers), "customers/s": len(customers) / seconds, **memory(device)}


def memory(device: str) -> Run:
    """The most memory of the GPU that tensors had at once."""
    return {"GPU GiB": torch.cuda.max_memory_allocated(device) / GIB} if device.startswith("cuda") else {}


@contextmanager
def around(owner: Any, name: str, context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Inside, every call of a function is within a ``context()``."""
    function: Callable[..., Any] = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        with context():
            return function(*arguments, **options)

    with mock.patch.object(owner, name, call):
        yield


def parts(folder: Path, device: str, batch_size: int) -> Run:
    """Milliseconds of a step by part: of the host (Python and, without a GPU, the computation), and of the device."""
    making: list[float] = []

    @contextmanager
    def clock() -> Iterator[None]:  # the profiler does not see the thread that makes a GPU's batches
        start = time.perf_counter()
        yield
        making.append(time.perf_counter() - start)

    with ExitStack() as calls:
        calls.enter_context(around(BatchMaker, "make", clock))
        for owner, name in ((loop, "encode_batch"), (loop, "batch_loss"), (AveragedModel, "update_parameters")):
            calls.enter_context(around(owner, name, partial(record_function, name)))
        gpu = [ProfilerActivity.CUDA] if device.startswith("cuda") else []
        with profile(activities=[ProfilerActivity.CPU, *gpu]) as profiler:
            trained(folder, device, batch_size, PROFILED)
    # A label is on the host, with the kernels that it started, and once more on the device.
    events = [event for event in profiler.key_averages() if event.device_type == DeviceType.CPU]
    steps = len(making)

    def spent(prefix: str) -> tuple[float, float]:
        of_part = [event for event in events if event.key.startswith(prefix)]
        host, on_device = sum(e.cpu_time_total for e in of_part), sum(e.device_time_total for e in of_part)
        return host / steps / 1_000, on_device / steps / 1_000

    towers, forward = spent("encode_batch"), spent("batch_loss")
    return {
        "parts": {
            "make the batch": (sum(making) / steps * 1_000, 0.0),
            "towers, forward": towers,
            "loss, forward": (forward[0] - towers[0], forward[1] - towers[1]),
            "backward": spent("autograd::engine::evaluate_function"),
            "Adam": spent("Optimizer.step#Adam"),
            "row-wise Adam": spent("Optimizer.step#RowAdam"),
            "average of the weights": spent("update_parameters"),
        }
    }


def parts_table(times: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """Milliseconds a step, and the share of the device's time, or of the host's without a GPU."""
    frame = pd.DataFrame.from_dict(times, orient="index", columns=["host ms", "device ms"])
    device = frame["device ms"] if frame["device ms"].any() else frame["host ms"]
    return frame.assign(share=device / device.sum())


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("gpu", __doc__)
    options.add_argument("--size", choices=list(SIZES), default="full", help="size of the synthetic set (%(default)s)")
    options.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:0, … (%(default)s)")
    options.add_argument("--batch-sizes", type=int, nargs="+", default=[512, 8_192], help="(512 8192)")
    options.add_argument("--steps", type=int, default=300, help="steps of an epoch (%(default)s)")
    chosen = options.parse_args(arguments)
    device = resolve_device(chosen.device)
    report: Run = {"machine": machine("torch", "numpy"), "size": chosen.size, "rows": {}}
    report["card"] = torch.cuda.get_device_name(device) if device != "cpu" else None
    smallest, steps = chosen.batch_sizes[0], chosen.steps
    with tempfile.TemporaryDirectory() as scratch:
        raw, folder = Path(scratch) / "raw", Path(scratch) / "preprocessed"
        write_sample(raw, chosen.size)
        preprocess(read_raw(raw), folder)
        calls: dict[str, tuple[Any, ...]] = {}
        if device != "cpu":
            for size in chosen.batch_sizes:
                calls[f"training, {device}, batch {size:,}"] = trained, folder, device, size, steps
            calls[f"ranking, {device}"] = ranked, folder, device, None
            for size in chosen.batch_sizes:
                calls[f"parts, {device}, batch {size:,}"] = parts, folder, device, size
        calls[f"training, cpu, batch {smallest:,}"] = trained, folder, "cpu", smallest, steps
        calls["ranking, cpu"] = ranked, folder, "cpu", RANKED_ON_CPU
        calls[f"parts, cpu, batch {smallest:,}"] = parts, folder, "cpu", smallest
        for name, call in calls.items():
            report["rows"][name] = measured(*call)
            save(chosen.json, report)
            print(f"{name} took {report['rows'][name]['seconds']:.0f} s", file=sys.stderr, flush=True)
    print(f"\n{chosen.size}: {report['card'] or 'no GPU'}; {report['machine']['processor']}\n")
    figures = {name: run for name, run in report["rows"].items() if "parts" not in run}
    print(pd.DataFrame.from_dict(figures, orient="index").to_string(float_format="{:,.2f}".format, na_rep="–"))
    for name, run in report["rows"].items():
        if "parts" in run:
            print(f"\n{name}\n{parts_table(run['parts']).to_string(float_format='{:,.3f}'.format)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
