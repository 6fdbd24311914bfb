"""The training loop: epochs, early stopping on a ranking metric, the best checkpoint, resuming."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from hm_utils.arrays import Float32, Int32
from hm_utils.data.features import ARTICLE_COLUMNS, MISSING, STATE_COLUMNS, UNKNOWN, CatalogueState
from hm_utils.data.popularity import LOGIT_ADJUSTMENT
from hm_utils.data.side_features import NO_SIDE_FEATURES, SideFeatures
from hm_utils.model.checkpoint import FORMAT, load_checkpoint, plain
from hm_utils.model.encoding import encode_items, encode_users, to_tensor
from hm_utils.model.towers import ID_COLUMNS, TowerConfig, TwoTower
from hm_utils.training import accelerator
from hm_utils.training.batches import Batch, BatchMaker
from hm_utils.training.optimizer import STEPS_PER_AVERAGE, Optimizers, averaged_model
from hm_utils.training.run_files import RunFiles

logger = logging.getLogger(__name__)

NEVER_SOLD = STATE_COLUMNS.index("never_sold")
PRICE_COLUMN = len(ARTICLE_COLUMNS)  # the price bucket follows the catalogue's own columns
# In its first weeks a log cannot tell a new article from one that it has not met yet.
MIN_DAYS_OF_LOG = 28
# The item tower gets multiples of this number of articles: each new shape of a matrix product costs time.
ITEM_BLOCK = 64
# The best epoch has the highest mean of the validation metric over this epoch and those before, up to this number.
EPOCHS_AVERAGED = 3
# Reading the loss waits for the device: between two readings a GPU has steps in its queue.
STEPS_PER_READING = 50

Validate = Callable[[TwoTower], dict[str, float]]
AfterEpoch = Callable[[list[dict[str, float]], int], None]


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; the names are those of the notebooks' parameters.

    Attributes:
        batch_size: examples a step.
        num_epochs: epochs at most.
        steps_per_epoch: steps of an epoch at most. An epoch is a pass over the examples. A longer pass is cut into
            epochs of equal length, so that validation, stopping and resuming need not wait for it.
        learning_rate: Adam's, warmed up over the first 100 steps, then constant; the weights are averaged.
        patience: epochs without a better mean of the validation metric before stopping.
        seed: seeds the weights and the batches.
        device: "auto" takes a GPU where there is one.
    """

    batch_size: int = 512
    num_epochs: int = 20
    learning_rate: float = 0.001
    use_in_batch_negatives: bool = True
    patience: int = 3
    history_length: int = 20
    steps_per_epoch: int = 2_000
    seed: int = 42
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise ValueError(
                f"batch_size must be 2 or more, as an example has no negative alone, not {self.batch_size}"
            )
        for name in ("num_epochs", "patience", "history_length", "steps_per_epoch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be a positive number, not {self.learning_rate}")


@dataclass(frozen=True)
class TrainingInputs:
    """The data of a training.

    Attributes:
        batches: cuts the examples into batches.
        categories: ``[n_articles, columns]`` codes of every article.
        state: the catalogue's state as of any day.
        attributes: ``[n_customers, columns]`` codes of every customer.
        side: numbers of the articles and customers, if the towers have them.
    """

    batches: BatchMaker
    categories: Int32
    state: CatalogueState
    attributes: Int32
    side: SideFeatures = NO_SIDE_FEATURES

    def on(self, device: str) -> Tables:
        """The tables on the device, moved there once."""
        if device not in self._tables:
            self._tables[device] = Tables(self, device)
        return self._tables[device]

    @cached_property
    def _tables(self) -> dict[str, Tables]:
        return {}


class Tables:
    """The tables of :class:`TrainingInputs` as tensors on a device, where every step gathers its rows."""

    def __init__(self, inputs: TrainingInputs, device: str) -> None:
        def moved(table: Float32 | None) -> Tensor | None:
            return None if table is None else to_tensor(table, device)

        self.categories = to_tensor(inputs.categories, device)
        self.attributes = to_tensor(inputs.attributes, device)
        self.articles, self.customers = moved(inputs.side.articles), moved(inputs.side.customers)
        # As CatalogueState, for all days of the default 16 weeks.
        self.state_as_of = lru_cache(maxsize=128)(lambda day: to_tensor(inputs.state.as_of(day), device))


@dataclass
class TrainingResult:
    """A trained model and how it got there.

    Attributes:
        model: the towers with the best epoch's weights, on the CPU.
        history: one record an epoch: epoch, train_loss, examples_per_second, and what validate returned.
        best_epoch: 1-based; the last epoch where there was no validation.
        resumed_from: the last epoch of the interrupted run that was resumed, 0 for a fresh start.
    """

    model: TwoTower
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    resumed_from: int = 0


class Workers(Protocol):
    """The exchange between processes that train one model together (``cluster.gradient_exchange``).

    Each has its part of every batch, and all take the same steps.
    """

    def with_shared(self, items: Tensor, batch: Batch) -> Tensor:
        """``items`` ``[u, vector_dim]``, followed by the vectors that the workers share as negatives."""

    def share_of_loss(self, loss: Tensor, batch: Batch) -> Tensor:
        """The worker's share of the whole batch's mean loss, from the mean over its part."""

    def sum_gradients(self, model: TwoTower, loss: Tensor) -> None:
        """Replace the gradients, and ``loss``, by their sums over the workers."""


def resolve_device(device: str) -> str:
    """ "auto" → "cuda" where there is one, else "cpu".

    Raises:
        ValueError: an unknown device, or a GPU that this machine does not have.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if gpus else "cpu"
    known = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if not known:
        raise ValueError(f'device must be "auto", "cpu", "cuda" or "cuda:0", …, got {device!r}')
    if device != "cpu" and int(known[1] or 0) >= gpus:
        raise ValueError(f"device must be one of this machine, which has {gpus or 'no'} usable GPUs, got {device!r}")
    return device


def encode_batch(model: TwoTower, batch: Batch, inputs: TrainingInputs, device: str) -> tuple[Tensor, Tensor]:
    """``users [n, vector_dim]`` and ``items [u, vector_dim]`` of a batch, unit vectors."""
    tables = inputs.on(device)
    rows = to_tensor(batch.items, device)
    rows = torch.cat([rows, rows[-1:].expand(-len(rows) % ITEM_BLOCK)])
    categories = tables.categories.index_select(0, rows).long()
    state = tables.state_as_of(batch.day).index_select(0, rows)
    if batch.day >= MIN_DAYS_OF_LOG:
        # Before its first sale an article has no id and no price, in training as on the day that it arrives.
        unsold = state[:, NEVER_SOLD] > 0
        categories[:, :ID_COLUMNS].masked_fill_(unsold[:, None], UNKNOWN)
        categories[:, PRICE_COLUMN].masked_fill_(unsold, MISSING)
    more = None if tables.articles is None else tables.articles.index_select(0, rows)
    items = encode_items(model.item_tower, categories, state, device, more)[: len(batch.items)]
    customers = to_tensor(batch.customers, device)
    attributes = tables.attributes.index_select(0, customers)
    more = None if tables.customers is None else tables.customers.index_select(0, customers)
    return encode_users(model.user_tower, attributes, items, batch.histories, device, more), items


def batch_loss(
    model: TwoTower, batch: Batch, inputs: TrainingInputs, device: str, workers: Workers | None = None
) -> Tensor:
    """The loss of one batch, a scalar.

    The logit of an article is scale x cosine + ``LOGIT_ADJUSTMENT`` x its log popularity in the weeks of the batch.
    Half of popularity is given, so that the towers have less to remember; a recommendation adds its own day's.

    With ``workers`` the batch is one worker's part, and the loss its share. The negatives are those of all parts.
    """
    users, items = encode_batch(model, batch, inputs, device)
    if workers:
        items = workers.with_shared(items, batch)
    popularity = LOGIT_ADJUSTMENT * to_tensor(batch.popularity, device)
    positives = to_tensor(batch.positives, device)
    loss_of = batch.negatives.loss(model, popularity, device)
    losses = []
    # A loss for each pair of towers: no pair can leave to another what it should learn.
    for pair in zip(model.config.apart(users), model.config.apart(items), strict=True):
        pair_users, pair_items = pair
        cosine = (pair_users * pair_items.index_select(0, positives)).sum(dim=1)
        losses.append(loss_of(*pair, model.scale * cosine + popularity[positives]))
    loss = torch.stack(losses).mean()
    return workers.share_of_loss(loss, batch) if workers else loss


def train(
    tower_config: TowerConfig,
    inputs: TrainingInputs,
    settings: TrainingSettings,
    checkpoint_path: Path,
    data_fingerprint: str,
    validate: Validate | None = None,
    monitor: str = "MAP@12",
    workers: Workers | None = None,
    run_files: Callable[[Path, dict[str, Any]], RunFiles] = RunFiles,
    start: TwoTower | None = None,
    after_epoch: AfterEpoch | None = None,
) -> TrainingResult:
    """Train the towers and leave the best epoch's weights at ``checkpoint_path``.

    After every epoch the whole state goes to ``<checkpoint_path>.resume``. A later call with the same settings and
    data resumes there, with the result of a run without interruption.

    Args:
        tower_config: sizes of the towers.
        inputs: the data of the training days.
        settings: how to train.
        checkpoint_path: file for the best weights.
        data_fingerprint: identifies the preprocessed data; a resume file of other data is not used.
        validate: model → metrics after each epoch; None trains all ``num_epochs`` and keeps the last.
        monitor: the metric whose mean over the last ``EPOCHS_AVERAGED`` epochs early stopping maximises.
        workers: the exchange with the other processes of a distributed training; None trains alone.
        run_files: class that reads and writes the run's files.
        start: towers of the same sizes to start from, instead of random ones.
        after_epoch: is shown the history so far and the best epoch.

    Raises:
        FloatingPointError: if the loss is not finite; the last good epoch stays on disk.
    """
    torch.manual_seed(settings.seed)
    model = TwoTower(tower_config).to(resolve_device(settings.device))
    device = str(model.log_scale.device)  # with the number of the GPU, as the validation knows it
    if start is not None:
        model.load_state_dict(start.state_dict())
    averaged = averaged_model(model)
    kept: TwoTower = averaged.module  # type: ignore[assignment]
    optimizers = Optimizers(model, settings.learning_rate)
    result = TrainingResult(model)
    best = float("-inf")
    identity = {
        "format": FORMAT,
        "settings": {key: value for key, value in asdict(settings).items() if key != "device"},
        "tower_config": plain(asdict(tower_config)),
        "data_fingerprint": data_fingerprint,
    }
    files = run_files(checkpoint_path, identity)
    saved = files.load_state()
    if saved:
        model.load_state_dict(saved["model"])
        averaged.load_state_dict(saved["averaged"])
        optimizers.load_state_dict(saved["optimizers"])
        result.history, result.best_epoch, best = saved["history"], saved["best_epoch"], saved["best"]
        result.resumed_from = len(result.history)

    for epoch in range(result.resumed_from + 1, settings.num_epochs + 1):
        if validate and epoch - 1 - result.best_epoch >= settings.patience:
            break
        progress = _run_epoch(model, averaged, inputs, optimizers, settings, device, epoch, workers)
        record: dict[str, float] = {"epoch": epoch, **progress}
        if progress["train_loss"] == 0:
            logger.warning(
                "the loss is 0: no example had a negative (one customer, or one article); nothing is learned"
            )
        if validate:
            record |= {name: float(value) for name, value in validate(kept).items()}
        result.history.append(record)
        # The curve is flat around its top, and one epoch's metric is mostly the luck of a few validation days.
        recent = [row[monitor] for row in result.history[-EPOCHS_AVERAGED:]] if validate else [float(epoch)]
        score = float(np.mean(recent))
        if score > best:
            best, result.best_epoch = score, epoch
            files.save_best(kept, result.history, epoch)
        files.save_state(
            {
                "model": model.state_dict(),
                "averaged": averaged.state_dict(),
                "optimizers": optimizers.state_dict(),
                "history": result.history,
                "best_epoch": result.best_epoch,
                "best": best,
            }
        )
        # Names with a colon are not metrics (vector_health), and too many for a line.
        named = {name: value for name, value in record.items() if name != "epoch" and ":" not in name}
        shown = ", ".join(
            f"{name} {value:,.0f}" if value >= 1_000 else f"{name} {value:.4f}" for name, value in named.items()
        )
        logger.info("epoch %d/%d: %s", epoch, settings.num_epochs, shown)
        if after_epoch:
            after_epoch(result.history, result.best_epoch)
    files.end()
    result.model = load_checkpoint(checkpoint_path)
    return result


@contextmanager
def fast_matmul() -> Iterator[None]:
    """Inside, products of float32 matrices may round their factors to bfloat16 (``set_float32_matmul_precision``).

    They go through oneDNN, which rounds only on processors with bfloat16 units. On others oneDNN can still be faster
    than MKL: twice as fast on an EPYC of 2024.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@fast_matmul()
def _run_epoch(
    model: TwoTower,
    averaged: AveragedModel,
    inputs: TrainingInputs,
    optimizers: Optimizers,
    settings: TrainingSettings,
    device: str,
    epoch: int,
    workers: Workers | None = None,
) -> dict[str, float]:
    model.train()
    total, seen, started = torch.zeros((), dtype=torch.float64, device=device), 0, time.perf_counter()
    parts = -(-len(inputs.batches) // settings.steps_per_epoch)
    passes, part = divmod(epoch - 1, parts)
    steps = len(range(part, len(inputs.batches), parts))
    # A generator for each pass: a resumed run draws what the uninterrupted one would have drawn.
    rng = np.random.default_rng([settings.seed, passes + 1])
    with tqdm(
        total=min(steps * settings.batch_size, len(inputs.batches.examples)),
        desc=f"epoch {epoch}/{settings.num_epochs}",
        unit="ex",
        unit_scale=True,
        file=sys.stdout,
        mininterval=1.0,
        leave=False,
        disable=workers is not None,  # a worker's output goes into a file
    ) as bar:
        batches = inputs.batches.epoch(rng, part, parts)
        if accelerator.used(device):
            batches = accelerator.prefetched(batches, device)
        for step, batch in enumerate(batches):
            loss = batch_loss(model, batch, inputs, device, workers)
            optimizers.step(loss, partial(workers.sum_gradients, model, loss) if workers else None)
            if (step + 1) % STEPS_PER_AVERAGE == 0 or step + 1 == steps:
                averaged.update_parameters(model)
            n = len(batch)
            total.add_(loss.detach(), alpha=n)
            seen += n
            bar.update(n)
            if ((step + 1) % STEPS_PER_READING == 0 or step + 1 == steps) and not total.isfinite():
                raise FloatingPointError(
                    f"the loss is {loss.item()} in epoch {epoch}: lower learning_rate (now {settings.learning_rate}) "
                    "and run again; training then starts anew"
                )
    return {"train_loss": total.item() / seen, "examples_per_second": seen / (time.perf_counter() - started)}
