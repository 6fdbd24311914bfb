"""The exchange that makes one training step of several processes equal the step of one machine on the whole batch.

Forward, the workers gather the vectors of the batch's articles, which are the negatives of all; backward, they sum the
gradients of these vectors. Then they sum the gradients of the weights: the dense ones in one all-reduce, and of the
embedding table, which has a row for each article, only the rows in the batch. Every worker has all weights. They start
equal and take equal steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from hm_utils.model.encoding import to_tensor
from hm_utils.model.towers import TwoTower
from hm_utils.training.batches import Batch


def _gathered(own: Tensor) -> Tensor:
    """``[n, …]`` of each worker → ``[workers x n, …]`` in order of rank; n is equal on all."""
    gathered = own.new_empty(dist.get_world_size() * len(own), *own.shape[1:])
    dist.all_gather(list(gathered.chunk(dist.get_world_size())), own)
    return gathered


class _AllGather(torch.autograd.Function):
    """:func:`_gathered` of ``[n, d]``, with a gradient that is the sum over the workers.

    It replaces ``torch.distributed.nn.functional.all_gather``, which is deprecated; its successor is missing in some
    of the supported versions of torch.
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
    """Bytes that a worker sends, and the necessary minimum ``least``; sums over ``steps``.

    Every collective counts as a ring of w workers. With b bytes on each worker, gathering or scattering sends (w - 1) b
    and an all-reduce 2 (w - 1) / w b. The minimum sends each thing once and without padding: the dense gradients, the
    distinct rows of the whole batch with their row numbers, and the vectors of its distinct articles with their
    gradients.
    """

    steps: int = 0
    dense: float = 0.0
    rows: float = 0.0
    vectors: float = 0.0
    least: float = 0.0

    def per_step(self) -> dict[str, float]:
        """Bytes of a mean step, by kind, with their sum as ``sent``."""
        kinds = {name: getattr(self, name) / max(self.steps, 1) for name in ("dense", "rows", "vectors")}
        return {**kinds, "sent": sum(kinds.values()), "least": self.least / max(self.steps, 1)}


@dataclass
class TorchWorkers:
    """The exchange over ``torch.distributed``'s default group, a :class:`hm_utils.training.loop.Workers`."""

    traffic: Traffic = field(default_factory=Traffic)

    def with_shared(self, items: Tensor, batch: Batch) -> Tensor:
        """``[u, vector_dim]`` → ``[u + workers x slots, vector_dim]``: the own items, then the shared ones."""
        shared = batch.shared
        if shared is None:
            return items
        own = items.index_select(0, to_tensor(shared.sent, str(items.device)))
        # Collectives need equal shapes. A worker without examples sends only padding, and still has to take part.
        gathered = _AllGather.apply(F.pad(own, (0, 0, 0, shared.slots - len(own))))
        others = dist.get_world_size() - 1
        size = items.shape[1] * items.element_size()
        self.traffic.vectors += 2 * others * shared.slots * size
        self.traffic.least += 2 * others / (others + 1) * shared.distinct * size
        return torch.cat([items, gathered])

    def share_of_loss(self, loss: Tensor, batch: Batch) -> Tensor:
        """``loss`` weighted by the part's share of the examples; 0 for an empty part, whose mean is nan."""
        n = len(batch.customers)
        return loss * (n / len(batch)) if n else torch.nan_to_num(loss) * 0

    def sum_gradients(self, model: TwoTower, loss: Tensor) -> None:
        """Replace every gradient, and ``loss``, by the sum over the workers.

        The results are bit-identical on all workers, as each number is summed in one place or in one order.
        """
        gradients = {weight: weight.grad for weight in model.parameters() if weight.grad is not None}
        dense = [gradient for gradient in gradients.values() if not gradient.is_sparse]
        # The loss is part of the sum, so that all workers have the same one.
        flat = torch.cat([loss.detach().reshape(1), *(gradient.flatten() for gradient in dense)])
        dist.all_reduce(flat)
        total, *summed = flat.split([1, *(gradient.numel() for gradient in dense)])
        loss.detach().copy_(total[0])
        for gradient, values in zip(dense, summed, strict=True):
            gradient.copy_(values.view_as(gradient))
        workers = dist.get_world_size()
        ring = 2 * (workers - 1) / workers
        self.traffic.dense += ring * flat.numel() * flat.element_size()
        self.traffic.least += ring * flat.numel() * flat.element_size()
        for weight, gradient in gradients.items():
            if gradient.is_sparse:
                weight.grad = rows = self._sum_rows(gradient)
                self.traffic.least += ring * (rows.indices().nbytes + rows.values().nbytes)
        self.traffic.steps += 1

    def _sum_rows(self, gradient: Tensor) -> Tensor:
        """The sum of the workers' sparse gradients ``[rows, d]``; each worker sends the rows that it has."""
        own = gradient.coalesce()
        rows, values, n = own.indices()[0], own.values(), own._nnz()
        counts = _gathered(rows.new_tensor([n]))
        most = int(counts.max())
        all_rows = _gathered(F.pad(rows, (0, most - n)))
        all_values = _gathered(F.pad(values, (0, 0, 0, most - n)))
        for gathered in (counts, all_rows, all_values):
            self.traffic.rows += gathered.nbytes * (1 - 1 / len(counts))
        # Drop the padding: Adam would also move a row whose gradient is 0.
        real = (torch.arange(most, device=rows.device) < counts[:, None]).flatten()
        total = torch.sparse_coo_tensor(all_rows[real][None], all_values[real], gradient.shape, check_invariants=False)
        return total.coalesce()
