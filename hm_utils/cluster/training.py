"""Training on Ray Train: `hm_utils.training.loop.train` in every worker, on its part of every batch.

Ray starts the workers, connects them (torch.distributed: nccl between GPUs, else gloo) and keeps the state after every
epoch. When a worker dies, Ray replaces it, and all workers resume from that state. The folders of the preprocessed
data and of the checkpoint are on a file system that all machines share.
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
from torch import nn

from hm_utils.cluster import ClusterError, connected
from hm_utils.cluster.gradient_exchange import TorchWorkers, Traffic
from hm_utils.cluster.shard_batches import ShardMaker
from hm_utils.model.checkpoint import atomic_save, load_checkpoint
from hm_utils.model.tower_classes import tower_class, tower_name
from hm_utils.model.towers import TOWER_CLASSES, TowerConfig, TwoTower
from hm_utils.training.loop import TrainingInputs, TrainingResult, TrainingSettings, Validate, train
from hm_utils.training.run_files import RunFiles

logger = logging.getLogger(__name__)

# Opens the inputs in a worker, and the validation, if there is one, in the worker that validates (true).
Open = Callable[[bool], tuple[TrainingInputs, Validate | None]]

MAX_FAILURES = 3  # failures of workers after which the run fails
MAX_WAITS = 10  # minutes to wait for workers to start, for example until the cluster has grown
STATE = "state.pt"  # file in a Ray checkpoint
NOT_CONNECTED = (
    "\nThe workers cannot connect to each other. If a machine's host name resolves to loopback, set GLOO_SOCKET_IFNAME "
    "to its network interface before `ray start`"
)


@dataclass
class RayTrainingResult(TrainingResult):
    """Attributes: traffic: bytes that a worker sends in a step, see :meth:`Traffic.per_step`."""

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
    """:func:`hm_utils.training.loop.train` on workers. The steps are the same, to float error, with any number of them.

    During training Ray's checkpoints are in ``<checkpoint_path>.ray``. A later call with the same settings and data
    resumes from the last epoch there.

    Args:
        open_inputs: called in every worker; a function of a module, or a ``partial`` of one, with plain arguments.
        validated: whether ``open_inputs`` makes a validation. The first worker runs it and sends all the result.

    Raises:
        ClusterError: if Ray is not installed, workers failed more than ``MAX_FAILURES`` times, or none could start.
        FloatingPointError: if the loss is not finite; the last good epoch stays on disk.
    """
    checkpoint_path = checkpoint_path.absolute()
    ray_folder = checkpoint_path.with_name(checkpoint_path.name + ".ray")
    with connected(num_workers), _forwarded_log() as log_records:
        resources = ray.cluster_resources()
        enough = settings.device == "auto" and resources.get("GPU", 0) >= num_workers
        use_gpu = enough or settings.device.startswith("cuda")
        if (cpus := resources.get("CPU", 0)) < num_workers:
            logger.warning("num_workers=%d, and the cluster has %d CPUs: waiting for more", num_workers, cpus)
        run = partial(
            train,
            tower_config=tower_config,
            checkpoint_path=checkpoint_path,
            data_fingerprint=data_fingerprint,
            monitor=monitor,
            run_files=RayRunFiles,
        )
        names = filter(None, (getattr(tower_config, name) for name in TOWER_CLASSES))
        own_classes = [tower_class(name) for name in names]
        threads = int(os.environ.get("OMP_NUM_THREADS", 0))
        # mypy only knows the old version of Ray Train.
        failures = ray.train.FailureConfig(MAX_FAILURES, controller_failure_limit=MAX_WAITS)  # type: ignore[call-arg]
        trainer = TorchTrainer(
            partial(_train, run, open_inputs, settings, validated, threads, log_records, own_classes),  # type: ignore[arg-type]
            scaling_config=ray.train.ScalingConfig(num_workers=num_workers, use_gpu=use_gpu),
            run_config=ray.train.RunConfig(
                name=ray_folder.name,
                storage_path=str(ray_folder.parent),
                failure_config=failures,
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            ),
        )
        try:
            outcome = trainer.fit().return_value  # type: ignore[attr-defined]
        except ray.train.TrainingFailedError as error:
            hint = NOT_CONNECTED if "connectFullMesh" in str(error) else ""
            raise ClusterError(
                f"training on Ray failed: {error}{hint}\n"
                f"Finished epochs are kept in {ray_folder}: run again to resume from there"
            ) from error
    shutil.rmtree(ray_folder, ignore_errors=True)
    if "error" in outcome:
        raise FloatingPointError(outcome["error"])
    traffic = {name: value / 1e6 for name, value in outcome["traffic"].items()}
    logger.info(
        "%d workers: a step sends %.2f MB a worker (dense gradients %.2f, rows of ids %.2f, article vectors %.2f); "
        "the minimum is %.2f",
        *(num_workers, traffic["sent"], traffic["dense"], traffic["rows"], traffic["vectors"], traffic["least"]),
    )
    return RayTrainingResult(load_checkpoint(checkpoint_path), **outcome)


def _train(
    run: Callable[..., TrainingResult],
    open_inputs: Open,
    settings: TrainingSettings,
    validated: bool,
    threads: int,
    log_records: Queue,
    own_classes: list[type[nn.Module]],
) -> dict[str, Any]:
    """In a worker: train, and return the outcome as plain values.

    Args:
        run: :func:`hm_utils.training.loop.train` with the arguments that all workers share.
        threads: torch threads of a worker; 0 divides the cores of a machine among its workers.
        log_records: queue for the log records of the first worker.
        own_classes: tower classes that are not the project's.
    """
    for tower in own_classes:
        tower_name(tower)
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    if rank == 0:
        logging.getLogger("hm_utils").setLevel(logging.INFO)
        logging.getLogger("hm_utils").addHandler(logging.handlers.QueueHandler(log_records))
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    inputs, own_validation = open_inputs(rank == 0 and validated)
    # A single worker exchanges nothing and runs the plain loop.
    exchange = TorchWorkers() if workers > 1 else None
    if exchange:
        inputs = replace(inputs, batches=ShardMaker.of(inputs.batches, rank, workers))

    def validate(model: TwoTower) -> dict[str, float]:
        metrics = own_validation(model) if own_validation else {}
        return ray.train.collective.broadcast_from_rank_zero(metrics)

    settings = replace(settings, device=str(ray.train.torch.get_device()))
    try:
        result = run(inputs=inputs, settings=settings, validate=validate if validated else None, workers=exchange)
    except FloatingPointError as error:  # on all workers in the same step; a restart would fail there again
        return {"error": str(error)}
    facts = {"history": result.history, "best_epoch": result.best_epoch, "resumed_from": result.resumed_from}
    return {**facts, "traffic": (exchange.traffic if exchange else Traffic()).per_step()}


@dataclass(frozen=True)
class RayRunFiles(RunFiles):
    """Keeps the state in a Ray checkpoint. Only the first worker writes."""

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
        """Do nothing: Ray's checkpoints are removed when all workers have ended."""


class _LocalLog(logging.Handler):
    """Passes a record from another process to this process's logger of the same name."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)


@contextmanager
def _forwarded_log() -> Iterator[Queue]:
    """A queue whose log records are logged in this process."""
    queue = Queue()
    listener = logging.handlers.QueueListener(queue, _LocalLog())
    listener.start()
    try:
        yield queue
    finally:
        listener.stop()
        queue.shutdown()
