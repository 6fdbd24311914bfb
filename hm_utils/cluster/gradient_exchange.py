"""One training step of several processes: what they exchange, so that it is the step of one machine on the whole batch.

Forward, the vectors of the batch's articles, which are everybody's negatives, and backward their gradients, summed.
Then the gradients of the weights: the dense ones in one all-reduce, and of the table with a row an article only the
rows that the batch has. All weights are on every worker, start equal and take equal steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from hm_utils.model.towers import TwoTower
from hm_utils.training.batches import Batch


def _gathered(own: Tensor) -> Tensor:
    """Every worker's ``[n, …]``, n of each, one below the other."""
    everybodys = own.new_empty(dist.get_world_size() * len(own), *own.shape[1:])
    dist.all_gather(list(everybodys.chunk(dist.get_world_size())), own)
    return everybodys


class _AllGather(torch.autograd.Function):
    """Every worker's ``[n, d]``, one below the other; the gradient of each is the sum over the workers.

    ``torch.distributed.nn.functional.all_gather`` is this; it is deprecated, and what replaces it is not in every
    version of torch that will do.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return _gathered(own.contiguous())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        own = gradient.new_empty(len(gradient) // dist.get_world_size(), gradient.shape[1])
        dist.reduce_scatter(own, list(gradient.contiguous().chunk(dist.get_world_size())))
        return own


@dataclass
class Traffic:
    """Bytes that a worker sends, and the least that would do; sums over ``steps``.

    A collective is counted as a ring: of b bytes a worker, gathering or scattering sends (w - 1) b, and an all-reduce
    2 (w - 1) / w b. The least is a ring too: over the dense gradients; over the distinct rows of the whole batch with
    their numbers; over the vectors of its distinct articles, there and back. No padding, nothing twice.
    """

    steps: int = 0
    dense: float = 0.0
    rows: float = 0.0
    vectors: float = 0.0
    least: float = 0.0

    def a_step(self) -> dict[str, float]:
        """Means of a step, by kind, with their sum as ``sent``."""
        kinds = {name: getattr(self, name) / max(self.steps, 1) for name in ("dense", "rows", "vectors")}
        return {**kinds, "sent": sum(kinds.values()), "least": self.least / max(self.steps, 1)}


@dataclass
class TorchWorkers:
    """The exchange over ``torch.distributed``'s default group, a :class:`hm_utils.training.loop.Workers`."""

    traffic: Traffic = field(default_factory=Traffic)

    def with_shared(self, items: Tensor, batch: Batch) -> Tensor:
        """``[u, vector_dim]`` → ``[u + workers x slots, vector_dim]``: the own items, then what each worker shares."""
        shared = batch.shared
        if shared is None:
            return items
        own = items.index_select(0, torch.from_numpy(shared.sent).to(items.device))
        # Collectives need equal shapes. A worker without examples sends only padding, and still has to take part.
        gathered = _AllGather.apply(F.pad(own, (0, 0, 0, shared.slots - len(own))))
        others = dist.get_world_size() - 1
        size = items.shape[1] * items.element_size()
        self.traffic.vectors += 2 * others * shared.slots * size
        self.traffic.least += 2 * others / (others + 1) * shared.distinct * size
        return torch.cat([items, gathered])

    def share_of_loss(self, loss: Tensor, batch: Batch) -> Tensor:
        """``loss`` weighted by the part's number of examples; 0 of none, where the mean is nan."""
        n = len(batch.customers)
        return loss * (n / len(batch)) if n else torch.nan_to_num(loss) * 0

    def sum_gradients(self, model: TwoTower, loss: Tensor) -> None:
        """Replace every gradient, and ``loss``, by the sum over the workers.

        The workers' results are equal to the last bit, as each number is summed in one place or in one order.
        """
        gradients = {each: each.grad for each in model.parameters() if each.grad is not None}
        dense = [gradient for gradient in gradients.values() if not gradient.is_sparse]
        # The loss goes along, so that all see the same one.
        flat = torch.cat([loss.detach().reshape(1), *(gradient.flatten() for gradient in dense)])
        dist.all_reduce(flat)
        sizes = [gradient.numel() for gradient in dense]
        total, *summed = flat.split([1, *sizes])
        loss.detach().copy_(total[0])
        for gradient, values in zip(dense, summed, strict=True):
            gradient.copy_(values.view_as(gradient))
        workers = dist.get_world_size()
        ring = 2 * (workers - 1) / workers
        self.traffic.dense += ring * flat.numel() * flat.element_size()
        self.traffic.least += ring * flat.numel() * flat.element_size()
        for each, gradient in gradients.items():
            if gradient.is_sparse:
                each.grad = rows = self._sum_rows(gradient)
                self.traffic.least += ring * (rows.indices().nbytes + rows.values().nbytes)
        self.traffic.steps += 1

    def _sum_rows(self, gradient: Tensor) -> Tensor:
        """The sum of the workers' sparse gradients ``[rows, d]``: each sends the rows that it has."""
        own = gradient.coalesce()
        rows, values, n = own.indices()[0], own.values(), own._nnz()
        counts = _gathered(rows.new_tensor([n]))
        most = int(counts.max())
        every_row = _gathered(F.pad(rows, (0, most - n)))
        every_value = _gathered(F.pad(values, (0, 0, 0, most - n)))
        for everybodys in (counts, every_row, every_value):
            self.traffic.rows += everybodys.nbytes * (1 - 1 / len(counts))
        # Without the padding: a row that no gradient has would be one that Adam moves.
        there = (torch.arange(most, device=rows.device) < counts[:, None]).flatten()
        everybodys = torch.sparse_coo_tensor(
            every_row[there][None], every_value[there], gradient.shape, check_invariants=False
        )
        return everybodys.coalesce()
