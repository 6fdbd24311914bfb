"""Training on Ray Train: `hm_utils.training.loop.train` in every worker, on its part of every batch.

Ray starts the workers, connects them (torch.distributed: nccl between GPUs, else gloo), keeps the state after every
epoch, and replaces a worker that dies, whereupon all go on from there. The folders of the preprocessed data and of the
checkpoint have to be the same on every machine (a shared file system).
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.collective
import torch
from ray.train.torch import TorchTrainer
from ray.util.queue import Queue

from hm_utils.cluster import ClusterError, connected
from hm_utils.cluster.gradient_exchange import TorchWorkers, Traffic
from hm_utils.cluster.shard_batches import ShardMaker
from hm_utils.model.checkpoint import atomic_save, load_checkpoint
from hm_utils.model.towers import TowerConfig, TwoTower
from hm_utils.training.loop import TrainingInputs, TrainingResult, TrainingSettings, Validate, train
from hm_utils.training.run_files import RunFiles

logger = logging.getLogger(__name__)

# Opens, in a worker, what it trains on, and for the one that validates (true) the validation, if there is one.
Open = Callable[[bool], tuple[TrainingInputs, Validate | None]]

MAX_FAILURES = 3  # times that workers are replaced before the run fails
MAX_WAITS = 10  # minutes to wait for workers to start, for example until the cluster has grown
STATE = "state.pt"  # in a checkpoint of Ray's
NOT_CONNECTED = (
    "\nThe workers do not reach each other: does a machine's own name resolve to loopback? Then set GLOO_SOCKET_IFNAME "
    "to its network's interface before `ray start`"
)


@dataclass(frozen=True)
class Task:
    """What every worker is told; the fields are as in :func:`train_on_ray`.

    Attributes:
        threads: of torch in a worker; 0 divides the cores of its machine among the workers there.
        records: takes what the first worker logs.
    """

    tower_config: TowerConfig
    open_inputs: Open
    settings: TrainingSettings
    checkpoint_path: Path
    data_fingerprint: str
    validated: bool
    monitor: str
    threads: int
    records: Queue


@dataclass
class RayTrainingResult(TrainingResult):
    """Attributes: traffic: bytes that a worker sent in a step (:meth:`Traffic.a_step`)."""

    traffic: dict[str, float] = field(default_factory=dict)


def train_on_ray(
    tower_config: TowerConfig,
    open_inputs: Open,
    settings: TrainingSettings,
    checkpoint_path: Path,
    data_fingerprint: str,
    validated: bool = True,
    monitor: str = "MAP@12",
    num_workers: int = 2,
) -> RayTrainingResult:
    """:func:`hm_utils.training.loop.train` on ``num_workers`` workers: the same steps, to float error, however many.

    While it runs, ``<checkpoint_path>.ray`` has Ray's checkpoints; a later call with the same settings and data goes
    on from the last epoch there.

    Args:
        open_inputs: is called in every worker; a function of a module, or a ``partial`` of one, with plain arguments.
        validated: whether ``open_inputs`` makes a validation; the first worker runs it, and all hear the result.

    Raises:
        ClusterError: if Ray is not installed, workers failed more than ``MAX_FAILURES`` times, or none could start.
        FloatingPointError: if the loss is not finite; the last good epoch stays on disk.
    """
    checkpoint_path = checkpoint_path.absolute()
    kept = checkpoint_path.with_name(checkpoint_path.name + ".ray")
    with connected(num_workers), _logged_here() as records:
        there = ray.cluster_resources()
        enough = settings.device == "auto" and there.get("GPU", 0) >= num_workers
        use_gpu = enough or settings.device.startswith("cuda")
        if there.get("CPU", 0) < num_workers:
            logger.warning("num_workers=%d, and the cluster has %d CPUs: waiting for more", num_workers, there["CPU"])
        task = Task(
            tower_config,
            open_inputs,
            settings,
            checkpoint_path,
            data_fingerprint,
            validated,
            monitor,
            int(os.environ.get("OMP_NUM_THREADS", 0)),
            records,
        )
        # mypy knows the old version of Ray Train alone.
        failures = ray.train.FailureConfig(MAX_FAILURES, controller_failure_limit=MAX_WAITS)  # type: ignore[call-arg]
        trainer = TorchTrainer(
            partial(_train, task),  # type: ignore[arg-type]
            scaling_config=ray.train.ScalingConfig(num_workers=num_workers, use_gpu=use_gpu),
            run_config=ray.train.RunConfig(
                name=kept.name,
                storage_path=str(kept.parent),
                failure_config=failures,
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            ),
        )
        try:
            found = trainer.fit().return_value  # type: ignore[attr-defined]
        except ray.train.TrainingFailedError as error:
            hint = NOT_CONNECTED if "connectFullMesh" in str(error) else ""
            raise ClusterError(
                f"training on Ray failed: {error}{hint}\n"
                f"Finished epochs are kept in {kept}: run again to go on from there"
            ) from error
    shutil.rmtree(kept, ignore_errors=True)
    if "error" in found:
        raise FloatingPointError(found["error"])
    traffic = {name: value / 1e6 for name, value in found["traffic"].items()}
    logger.info(
        "%d workers: a step sends %.2f MB a worker (dense gradients %.2f, rows of ids %.2f, article vectors %.2f); "
        "the least is %.2f",
        *(num_workers, traffic["sent"], traffic["dense"], traffic["rows"], traffic["vectors"], traffic["least"]),
    )
    return RayTrainingResult(load_checkpoint(checkpoint_path), **found)


def _train(task: Task) -> dict[str, Any]:
    """In a worker: train, and say how it went in plain values."""
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    if rank == 0:
        logging.getLogger("hm_utils").setLevel(logging.INFO)
        logging.getLogger("hm_utils").addHandler(logging.handlers.QueueHandler(task.records))
    torch.set_num_threads(task.threads or max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    inputs, own_validation = task.open_inputs(rank == 0 and task.validated)
    # One worker has nobody to exchange with: it runs the plain loop.
    exchange = TorchWorkers() if workers > 1 else None
    if exchange:
        inputs = replace(inputs, batches=ShardMaker.of(inputs.batches, rank, workers))

    def validate(model: TwoTower) -> dict[str, float]:
        metrics = own_validation(model) if own_validation else {}
        return ray.train.collective.broadcast_from_rank_zero(metrics)

    device = str(ray.train.torch.get_device())
    try:
        result = train(
            task.tower_config,
            inputs,
            replace(task.settings, device=device),
            task.checkpoint_path,
            task.data_fingerprint,
            validate if task.validated else None,
            task.monitor,
            exchange,
            RayRunFiles,
        )
    except FloatingPointError as error:  # on all workers in the same step: training again would end there again
        return {"error": str(error)}
    facts = {"history": result.history, "best_epoch": result.best_epoch, "resumed_from": result.resumed_from}
    return {**facts, "traffic": (exchange.traffic if exchange else Traffic()).a_step()}


@dataclass(frozen=True)
class RayRunFiles(RunFiles):
    """The state goes into a checkpoint of Ray's; the first worker alone writes."""

    def save_best(self, model: TwoTower, history: list[dict[str, float]], epoch: int) -> None:
        if ray.train.get_context().get_world_rank() == 0:
            super().save_best(model, history, epoch)

    def save_state(self, state: dict[str, Any]) -> None:
        metrics = {"epoch": len(state["history"])}
        if ray.train.get_context().get_world_rank() != 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            atomic_save(Path(folder) / STATE, {**self.identity, **state})
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def load_state(self) -> dict[str, Any] | None:
        checkpoint = ray.train.get_checkpoint()
        if not checkpoint:
            return None
        with checkpoint.as_directory() as folder:
            return self.read_state(Path(folder) / STATE)

    def end(self) -> None:
        """Ray's checkpoints are removed when all workers have ended."""


class _Here(logging.Handler):
    """Gives a record from elsewhere to the logger of its name."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)


@contextmanager
def _logged_here() -> Iterator[Queue]:
    """A queue whose log records are logged in this process."""
    queue = Queue()
    listener = logging.handlers.QueueListener(queue, _Here())
    listener.start()
    try:
        yield queue
    finally:
        listener.stop()
        queue.shutdown()
