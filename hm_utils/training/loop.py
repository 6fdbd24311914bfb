"""The training loop: epochs, early stopping on a ranking metric, the best checkpoint, resuming."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from hm_utils.arrays import Int32
from hm_utils.data.examples import Batch, BatchMaker
from hm_utils.data.features import ARTICLE_COLUMNS, MISSING, STATE_COLUMNS, UNKNOWN, CatalogueState
from hm_utils.data.popularity import LOGIT_ADJUSTMENT
from hm_utils.model.checkpoint import FORMAT, load_checkpoint, plain
from hm_utils.model.losses import pair_loss, sampled_softmax_loss
from hm_utils.model.snapshot import whole
from hm_utils.model.towers import ID_COLUMNS, TowerConfig, TwoTower
from hm_utils.training.run_files import RunFiles

logger = logging.getLogger(__name__)

NEVER_SOLD = STATE_COLUMNS.index("never_sold")
PRICE_COLUMN = len(ARTICLE_COLUMNS)  # the price bucket follows the catalogue's own columns
# In its first weeks a log cannot tell a new article from one that it has not met yet.
MIN_DAYS_OF_LOG = 28
# The item tower gets so many articles at once, or a multiple: of products of matrices, each new shape costs time.
ITEM_BLOCK = 64
# What is validated and kept is an average of the weights, every so many steps, that weighs the later ones more:
# the k-th of n about as k^(AVERAGE_POWER - 1) (polynomial-decay averaging, Shamir & Zhang, ICML 2013).
STEPS_PER_AVERAGE = 10
AVERAGE_POWER = 3.0

# The best epoch is where the mean of the validation metric over so many epochs, the last of them, is best.
EPOCHS_AVERAGED = 3

Validate = Callable[[TwoTower], dict[str, float]]
Tensors = list[Tensor] | tuple[Tensor, ...]


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; the names are those of the notebooks' parameters.

    Attributes:
        batch_size: examples a step.
        num_epochs: epochs at most.
        steps_per_epoch: steps of an epoch at most. An epoch is a pass over the examples; a longer pass is cut into
            epochs of equal length, as validation, stopping and resuming should not wait for it.
        learning_rate: Adam's, warmed up over the first 100 steps, then constant: averaging the weights does the rest.
        patience: epochs without a better mean of the validation metric before stopping.
        seed: of the weights and the batches.
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
        for name in ("batch_size", "num_epochs", "patience", "history_length", "steps_per_epoch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be a positive number, not {self.learning_rate}")


@dataclass(frozen=True)
class TrainingInputs:
    """What a training step reads.

    Attributes:
        batches: cuts the examples into batches.
        categories: ``[n_articles, columns]`` codes of every article.
        state: of the catalogue as of any day.
        attributes: ``[n_customers, columns]`` codes of every customer.
    """

    batches: BatchMaker
    categories: Int32
    state: CatalogueState
    attributes: Int32


@dataclass
class TrainingResult:
    """A trained model and how it got there.

    Attributes:
        model: the towers with the best epoch's weights, on the CPU.
        history: one record an epoch: epoch, train_loss, examples_per_second, and what validate returned.
        best_epoch: 1-based; the last epoch where there was no validation.
        resumed_from: the epoch that an interrupted run had finished, 0 for a fresh start.
    """

    model: TwoTower
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    resumed_from: int = 0


class Workers(Protocol):
    """What differs where several processes train one model together (``cluster.gradient_exchange``): each has its
    part of every batch, and all take the same steps."""

    def with_shared(self, items: Tensor, batch: Batch) -> Tensor:
        """``items`` ``[u, vector_dim]``, then the vectors that the workers share as negatives."""

    def share_of_loss(self, loss: Tensor, batch: Batch) -> Tensor:
        """The worker's share of the whole batch's mean loss, from the mean over its part."""

    def sum_gradients(self, model: TwoTower, loss: Tensor) -> None:
        """Replace the gradients, and ``loss``, by their sums over the workers."""


def resolve_device(device: str) -> str:
    """ "auto" → "cuda" where there is one, else "cpu"; anything else is taken as it is."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def batch_loss(
    model: TwoTower,
    batch: Batch,
    inputs: TrainingInputs,
    device: str,
    workers: Workers | None = None,
) -> Tensor:
    """The loss of one batch, a scalar: encode its distinct articles once, then gather.

    The logit of an article is scale x cosine + ``LOGIT_ADJUSTMENT`` x its log popularity in the weeks of the batch.
    Half of popularity is given, so that the towers have less to remember; a recommendation adds its own day's.

    With ``workers`` the batch is one worker's part, and the loss its share: the negatives are those of all parts.
    """

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    encoded = whole(batch.items, ITEM_BLOCK)
    categories = inputs.categories[encoded]
    state = inputs.state.as_of(batch.day)[encoded]
    if batch.day >= MIN_DAYS_OF_LOG:
        # Before its first sale an article has no id and no price to go by, whatever is known by now.
        unsold = state[:, NEVER_SOLD] > 0
        categories[unsold, :ID_COLUMNS] = UNKNOWN
        categories[unsold, PRICE_COLUMN] = MISSING
    items = model.item_tower(
        tensor(categories).long(),
        tensor(state),
    )[: len(batch.items)]
    users = model.user_tower(
        tensor(inputs.attributes[batch.customers]).long(),
        items,
        tensor(batch.history),
        tensor(batch.days_since).long(),
        tensor(batch.mask),
    )
    if workers:
        items = workers.with_shared(items, batch)
    popularity = LOGIT_ADJUSTMENT * tensor(batch.popularity)
    positives, negatives = tensor(batch.positives), tensor(batch.negatives)
    # Both, or of examples with negatives of their own neither.
    corrections = [tensor(array) for array in (batch.log_expected_count, batch.collisions) if array is not None]

    def loss_of(users: Tensor, items: Tensor) -> Tensor:
        positive_logits = model.scale * (users * items.index_select(0, positives)).sum(dim=1) + popularity[positives]
        if not corrections:
            negative_logits = model.scale * torch.einsum("nd,nkd->nk", users, items[negatives]) + popularity[negatives]
            return pair_loss(positive_logits + model.pair_bias, negative_logits + model.pair_bias)
        negative_logits = torch.addmm(popularity[negatives], model.scale * users, items.index_select(0, negatives).T)
        return sampled_softmax_loss(positive_logits, negative_logits, *corrections)

    # Each pair of towers by itself: none can leave to the others what it should learn.
    each = zip(model.config.apart(users), model.config.apart(items), strict=True)
    loss = torch.stack([loss_of(*vectors) for vectors in each]).mean()
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
) -> TrainingResult:
    """Train the towers; the best epoch's weights are at ``checkpoint_path`` when this returns.

    After every epoch the whole state goes to ``<checkpoint_path>.resume``; a later call with the same
    settings and data goes on from there, and ends as if it had never been interrupted.

    Args:
        tower_config: of the towers to build.
        inputs: the data, on the training days.
        settings: how to train.
        checkpoint_path: where the best weights go.
        data_fingerprint: of the preprocessed data; a resume file of other data is not used.
        validate: model → metrics after each epoch; None trains all ``num_epochs`` and keeps the last.
        monitor: the metric whose mean over the last ``EPOCHS_AVERAGED`` epochs early stopping maximises.
        workers: the exchange with other processes that call this at the same time; None trains alone.
        run_files: makes what keeps the run's files.

    Raises:
        FloatingPointError: if the loss is not finite; the last good epoch stays on disk.
    """
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    model = TwoTower(tower_config).to(device)
    averaged = AveragedModel(model, multi_avg_fn=polynomial_decay_average)
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
        record: dict[str, float] = {
            "epoch": epoch,
            **_run_epoch(model, averaged, inputs, optimizers, settings, device, epoch, workers),
        }
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
        # Names with a colon are not metrics (embedding_health): too many for a line.
        named = {name: value for name, value in record.items() if name != "epoch" and ":" not in name}
        shown = ", ".join(
            f"{name} {value:,.0f}" if value >= 1_000 else f"{name} {value:.4f}" for name, value in named.items()
        )
        logger.info("epoch %d/%d: %s", epoch, settings.num_epochs, shown)
    files.end()
    result.model = load_checkpoint(checkpoint_path)
    return result


@contextmanager
def quick_products() -> Iterator[None]:
    """Inside, a product of float32 matrices may round its factors to bfloat16 (``torch.set_float32_matmul_precision``).

    That goes through oneDNN, which does so where the processor has units for it. Elsewhere nothing is rounded, and
    oneDNN is still quicker than MKL on some processors: on an EPYC of 2024 twice as quick.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@quick_products()
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
    total, seen, started = 0.0, 0, time.perf_counter()
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
        disable=workers is not None,  # what a worker prints goes into a file
    ) as bar:
        for step, batch in enumerate(inputs.batches.epoch(rng, part, parts)):
            loss = batch_loss(model, batch, inputs, device, workers)
            optimizers.step(loss, partial(workers.sum_gradients, model, loss) if workers else None)
            if (step + 1) % STEPS_PER_AVERAGE == 0 or step + 1 == steps:
                averaged.update_parameters(model)
            n = len(batch)
            total += loss.item() * n
            seen += n
            bar.update(n)
            if not np.isfinite(total):
                raise FloatingPointError(
                    f"the loss is {loss.item()} in epoch {epoch}: lower learning_rate (now {settings.learning_rate}) "
                    "and run again; training then starts anew"
                )
    return {"train_loss": total / seen, "examples_per_second": seen / (time.perf_counter() - started)}


@torch.no_grad()
def polynomial_decay_average(averaged: Tensors, current: Tensors, n: Tensor | int) -> None:
    """Move the averages of the ``n`` weights so far towards the current ones, as ``AVERAGE_POWER`` says."""
    torch._foreach_lerp_(list(averaged), list(current), AVERAGE_POWER / (AVERAGE_POWER + float(n)))


class RowAdam(torch.optim.SparseAdam):
    """The steps of ``SparseAdam`` (tested to be equal), several times quicker.

    Adam on the rows that a gradient has, in place: torch's own adds sparse tensors to the whole table.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state |= {
                        "step": 0,
                        "exp_avg": torch.zeros_like(parameter),
                        "exp_avg_sq": torch.zeros_like(parameter),
                    }
                state["step"] += 1
                gradient = parameter.grad.coalesce()
                rows, gradient = gradient.indices()[0], gradient.values()
                mean = state["exp_avg"].index_select(0, rows).lerp_(gradient, 1 - beta1)
                square = state["exp_avg_sq"].index_select(0, rows)
                square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                state["exp_avg"].index_copy_(0, rows, mean)
                state["exp_avg_sq"].index_copy_(0, rows, square)
                size = group["lr"] * (1 - beta2 ** state["step"]) ** 0.5 / (1 - beta1 ** state["step"])
                weights = parameter.index_select(0, rows).addcdiv_(mean, square.sqrt_().add_(group["eps"]), value=-size)
                parameter.index_copy_(0, rows, weights)  # no row comes twice; index_add_ would take far longer


class Optimizers:
    """Adam for the dense weights, RowAdam for the tables with a row an article, one learning-rate schedule.

    A step of dense Adam visits every row of a table; most rows are not in the batch.
    """

    def __init__(self, model: TwoTower, learning_rate: float) -> None:
        sparse = [table for tower in model.item_tower.towers for table in tower.identity.parameters()]
        quick = [model.log_scale, *(tower.identity_weight.weight for tower in model.user_tower.towers)]
        special = {id(parameter) for parameter in (*sparse, *quick)}
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in model.parameters() if id(parameter) not in special]},
            # The scale, in log space, and the weights of names have far to travel, and are few: they may go faster.
            {"params": quick, "lr": 10 * learning_rate},
        ]
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(groups, lr=learning_rate, fused=True),
            RowAdam(sparse, lr=learning_rate),
        ]
        self._schedules = [torch.optim.lr_scheduler.LambdaLR(each, _rate) for each in self._optimizers]

    def step(self, loss: Tensor, exchange: Callable[[], None] | None = None) -> None:
        """Take a step down the loss; ``exchange`` is called in between, when the gradients are there."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if exchange:
            exchange()
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.step()

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)

    @property
    def _parts(self) -> list[Any]:
        return [*self._optimizers, *self._schedules]


def _rate(step: int) -> float:
    """Learning rate factor: a warm-up over 100 steps."""
    return min(1.0, (step + 1) / 100)
