"""The step of several processes equals the step of one on the whole batch. Uses processes and gloo, without Ray."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from hm_utils.cluster.gradient_exchange import TorchWorkers
from hm_utils.cluster.shard_batches import ShardMaker, shard_edges
from hm_utils.data.examples import Examples
from hm_utils.data.features import CatalogueState
from hm_utils.training.batches import Batch, BatchMaker
from hm_utils.training.fit import tower_config
from hm_utils.training.loop import TrainingInputs, TrainingSettings, batch_loss, train
from tests.helpers.data import ARTICLES, CUSTOMERS
from tests.helpers.snapshots import random_towers
from tests.helpers.training import LENGTH, fixed_parts, weights

SIZES = (2, 3)
SETTINGS = TrainingSettings(batch_size=64, num_epochs=2, history_length=LENGTH, device="cpu", learning_rate=0.01)
CASES = ("a batch", "two weeks", "one shard", "pairs", "pairs of one shard")


def chosen_of(case: str, examples: Examples) -> np.ndarray:
    """``[n]`` the examples in the batch of a case."""
    days = examples.day
    if "one shard" in case:  # all workers but one have no examples
        return np.flatnonzero(examples.customer < 5)
    if case == "two weeks":
        return np.flatnonzero((days >= days[-1] - 7) & (days <= days[-1] - 6))
    return np.flatnonzero(days == days[-1])


def inputs_and_workers(
    shard: tuple[int, int] | None, in_batch: bool = True
) -> tuple[TrainingInputs, TorchWorkers | None]:
    """The inputs and the exchange of one machine, or of the worker ``shard`` (rank, workers)."""
    log, training = fixed_parts()
    batches = BatchMaker(log, training.examples, SETTINGS.batch_size, LENGTH, use_in_batch_negatives=in_batch)
    if shard:
        batches = ShardMaker.of(batches, *shard)
    inputs = TrainingInputs(batches, training.categories, CatalogueState(log), training.attributes)
    return inputs, TorchWorkers() if shard else None


def gradients(case: str, shard: tuple[int, int] | None = None) -> dict[str, torch.Tensor]:
    """Loss and gradients of a case's batch, on one machine, or on the worker ``shard`` (rank, workers)."""
    inputs, workers = inputs_and_workers(shard, in_batch="pairs" not in case)
    batch = inputs.batches.make(chosen_of(case, inputs.batches.examples), np.random.default_rng(0))
    model = random_towers(fixed_parts()[1]).train()
    loss = batch_loss(model, batch, inputs, "cpu", workers)
    loss.backward()
    if workers:
        workers.sum_gradients(model, loss)
    grads = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return {"loss": loss.detach()} | {name: grad.to_dense() if grad.is_sparse else grad for name, grad in grads.items()}


def trained(path: Path, shard: tuple[int, int] | None = None, **changes) -> dict[str, Any]:
    """Weights, losses and traffic of a short training, on one machine or on the worker ``shard``."""
    settings = replace(SETTINGS, **changes)
    inputs, workers = inputs_and_workers(shard)
    result = train(tower_config(fixed_parts()[1], 8, [16], 8), inputs, settings, path, "data", workers=workers)
    losses = [record["train_loss"] for record in result.history]
    traffic = workers.traffic.per_step() | {"steps": workers.traffic.steps} if workers else {}
    return {"weights": weights(result.model), "losses": losses, "traffic": traffic}


@contextmanager
def group(rank: int, size: int, folder: Path):
    """Join a group of ``size`` processes, which meet in ``folder``."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def work(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    with group(rank, size, folder):
        found: dict[str, object] = {case: gradients(case, (rank, size)) for case in CASES}
        found["trained"] = trained(folder / f"{rank}.pt", (rank, size))
        try:
            trained(folder / f"{rank}.lost", (rank, size), learning_rate=1e30)
        except FloatingPointError as error:
            found["lost"] = str(error)
    torch.save(found, folder / f"{rank}.found")


@pytest.fixture(scope="module", params=SIZES)
def ranks(request, tmp_path_factory):
    """The results of every worker, by rank."""
    folder = tmp_path_factory.mktemp("workers")
    torch.multiprocessing.spawn(work, (request.param, folder), nprocs=request.param)
    return [torch.load(folder / f"{rank}.found", weights_only=True) for rank in range(request.param)]


@pytest.mark.cluster
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_the_whole_batch(ranks, case):
    expected = gradients(case)
    assert expected["item_tower.towers.0.id_embedding.table.weight"].abs().sum() > 0
    for found in ranks:
        assert found[case].keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[case][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.cluster
def test_all_workers_have_the_same_weights_to_the_last_bit_and_they_are_those_of_one_machine(ranks, tmp_path):
    alone = trained(tmp_path / "alone.pt")
    first = ranks[0]["trained"]
    for found in ranks[1:]:
        assert found["trained"]["losses"] == first["losses"]
        for name, value in first["weights"].items():
            torch.testing.assert_close(found["trained"]["weights"][name], value, rtol=0, atol=0)
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    for name, value in alone["weights"].items():
        if name == "user_tower.towers.0.content_weight.bias":
            continue  # a softmax ignores it, so its gradient is a rounding error, which Adam scales up
        torch.testing.assert_close(first["weights"][name], value, rtol=1e-2, atol=1e-3)


def test_one_worker_ends_with_the_bits_of_a_plain_run(tmp_path):
    alone = trained(tmp_path / "alone.pt")
    with group(0, 1, tmp_path):
        worker = trained(tmp_path / "worker.pt", (0, 1))
    assert worker["losses"] == alone["losses"]
    for name, value in alone["weights"].items():
        torch.testing.assert_close(worker["weights"][name], value, rtol=0, atol=0)
    assert worker["traffic"]["sent"] == 0


@pytest.mark.cluster
def test_all_workers_end_together_where_the_loss_is_not_finite(ranks):
    assert "lower learning_rate" in ranks[0]["lost"]
    assert {found["lost"] for found in ranks} == {ranks[0]["lost"]}


@pytest.mark.cluster
def test_traffic_is_counted_and_near_the_minimum(ranks):
    for found in ranks:
        traffic = found["trained"]["traffic"]
        assert traffic["steps"] == ranks[0]["trained"]["traffic"]["steps"] > 10
        assert traffic["sent"] == pytest.approx(traffic["dense"] + traffic["rows"] + traffic["vectors"])
        assert min(traffic["dense"], traffic["rows"], traffic["vectors"]) > 0
        assert 0.5 < traffic["sent"] / traffic["least"] < 2


def test_shards_are_contiguous_and_have_about_as_many_examples():
    customers = np.repeat(np.arange(100, dtype=np.int32), np.arange(100))
    edges = shard_edges(customers, 100, 4)
    sizes = np.diff(np.searchsorted(customers, [0, *edges, 100]))
    assert sizes.sum() == len(customers)
    assert abs(sizes - len(customers) / 4).max() < 100
    assert shard_edges(customers, 100, 1).tolist() == []


@pytest.fixture(scope="module")
def makers() -> tuple[BatchMaker, list[ShardMaker]]:
    log, training = fixed_parts()
    batches = BatchMaker(log, training.examples, 64, LENGTH)
    return batches, [ShardMaker.of(batches, rank, 3) for rank in range(3)]


def test_the_parts_of_all_workers_are_the_batches_of_one_machine(makers):
    batches, shards = makers
    seed = np.random.SeedSequence(3)
    epochs = [maker.epoch(np.random.default_rng(seed)) for maker in (batches, *shards)]
    steps = 0
    for whole, *parts in zip(*epochs, strict=True):
        steps += 1
        assert isinstance(whole, Batch)
        assert all(part.shared is not None for part in parts)
        assert {part.day for part in parts} == {whole.day}
        assert {len(part) for part in parts} == {len(whole)}
        together = sorted(row for part in parts for row in rows_of(part))
        assert together == sorted(rows_of(whole))
        for part, shard in zip(parts, shards, strict=True):
            low, high = np.concatenate([[0], shard.edges, [CUSTOMERS]])[[shard.rank, shard.rank + 1]]
            assert ((part.customers >= low) & (part.customers < high)).all(), "another shard's customer"
    assert steps == len(batches) > 5


def rows_of(batch: Batch) -> list[tuple[object, ...]]:
    """Customer, article and history with its days of each example."""
    seen = batch.histories
    histories = np.where(seen.mask, batch.items[seen.articles], -1)
    columns = (batch.customers, batch.items[batch.positives], histories.tolist(), seen.days_since.tolist())
    return [(int(c), int(a), tuple(h), tuple(d)) for c, a, h, d in zip(*columns, strict=True)]


def test_every_article_is_shared_once(makers):
    batches, shards = makers
    days = batches.examples.day
    chosen = np.flatnonzero(days >= days[-1] - 1)
    parts = [shard.make(chosen, np.random.default_rng(0)) for shard in shards]
    shared = [part.shared for part in parts]
    sent = np.concatenate([part.items[part.shared.sent] for part in parts])
    assert sorted(sent) == np.unique(batches.examples.article[chosen]).tolist()
    assert len(sent) == shared[0].distinct < min(len(chosen), ARTICLES)
    gathered = np.full(3 * shared[0].slots, -1)
    for rank, part in enumerate(parts):
        gathered[rank * part.shared.slots :][: len(part.shared.sent)] = part.items[part.shared.sent]
    for part in parts:
        np.testing.assert_array_equal(part.shared.rows, gathered)
        places = part.negatives.places - len(part.items)
        assert gathered[places].tolist() == batches.examples.article[chosen].tolist()
