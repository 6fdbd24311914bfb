"""The optimizers, the learning-rate schedule, and the average of the weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from hm_utils.model.towers import TwoTower
from hm_utils.training import accelerator

# Validation and the checkpoint use an average of the weights, taken every STEPS_PER_AVERAGE steps. It favours later
# ones: the k-th of n weighs about k^(AVERAGE_POWER - 1) (polynomial-decay averaging, Shamir & Zhang, ICML 2013).
STEPS_PER_AVERAGE = 10
AVERAGE_POWER = 3.0
WARM_UP_STEPS = 100

Tensors = list[Tensor] | tuple[Tensor, ...]


def averaged_model(model: TwoTower) -> AveragedModel:
    """The average of ``model``'s weights; ``update_parameters`` takes in the current ones."""
    return AveragedModel(model, multi_avg_fn=polynomial_decay_average)


@torch.no_grad()
def polynomial_decay_average(averaged: Tensors, current: Tensors, n: Tensor | int) -> None:
    """Move the averages of the last ``n`` weights towards the current ones, as ``AVERAGE_POWER`` says."""
    step = AVERAGE_POWER / (AVERAGE_POWER + float(n))
    for average, weight in zip(averaged, current, strict=True):
        average.lerp_(weight, step)


class RowAdam(torch.optim.SparseAdam):
    """The steps of ``SparseAdam`` (tested to be equal), several times faster.

    It updates the rows that a gradient has, in place. torch's own adds sparse tensors to the whole table.
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
                rows, gradient = self._rows(parameter, parameter.grad)
                mean = state["exp_avg"].index_select(0, rows).lerp_(gradient, 1 - beta1)
                square = state["exp_avg_sq"].index_select(0, rows)
                square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                state["exp_avg"].index_copy_(0, rows, mean)
                state["exp_avg_sq"].index_copy_(0, rows, square)
                size = group["lr"] * (1 - beta2 ** state["step"]) ** 0.5 / (1 - beta1 ** state["step"])
                weights = parameter.index_select(0, rows).addcdiv_(mean, square.sqrt_().add_(group["eps"]), value=-size)
                parameter.index_copy_(0, rows, weights)  # index_add_ would take far longer

    def _rows(self, parameter: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of a sparse gradient, ``[m]``, and the sum of what it has for each, ``[m, d]``.

        On a GPU a row can be there several times, each time with its whole sum: a sort to find the distinct rows would
        wait for the device.
        """
        if not accelerator.used(str(parameter.device)):
            gradient = gradient.coalesce()
            return gradient.indices()[0], gradient.values()
        rows = gradient._indices()[0]
        if parameter not in self._sums:
            self._sums[parameter] = torch.zeros_like(parameter)
        sums = self._sums[parameter].index_add_(0, rows, gradient._values())
        found = sums.index_select(0, rows)
        sums.index_fill_(0, rows, 0.0)
        return rows, found

    @cached_property
    def _sums(self) -> dict[Tensor, Tensor]:
        """``[n, d]`` of each table, 0 between the steps; no part of the state."""
        return {}


class Optimizers:
    """Adam for the dense weights and RowAdam for the tables with a row an article, with one learning-rate schedule.

    Dense Adam would visit every row of a table at every step, and few rows are in a batch.
    """

    def __init__(self, model: TwoTower, learning_rate: float) -> None:
        sparse = [table for part in model.modules() if getattr(part, "sparse", False) for table in part.parameters()]
        special = {id(parameter) for parameter in (*sparse, model.log_scale)}
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in model.parameters() if id(parameter) not in special]},
            # The scale is one number, in log space, and has far to travel.
            {"params": [model.log_scale], "lr": 10 * learning_rate},
        ]
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(groups, lr=learning_rate, fused=True),
            *([RowAdam(sparse, lr=learning_rate)] if sparse else []),
        ]
        self._schedules = [torch.optim.lr_scheduler.LambdaLR(each, _warm_up) for each in self._optimizers]

    def step(self, loss: Tensor, exchange: Callable[[], None] | None = None) -> None:
        """Take a step down the loss. ``exchange`` is called between the backward pass and the step."""
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


def _warm_up(step: int) -> float:
    """The factor of the learning rate."""
    return min(1.0, (step + 1) / WARM_UP_STEPS)
