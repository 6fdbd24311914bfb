"""A GPU's training steps, taken on the CPU, give the losses and weights of the CPU's; on a GPU where there is one."""

import threading
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch

from hm_utils.training import accelerator
from hm_utils.training.fit import training_inputs
from tests.helpers.training import SMALL, fixed_parts, run, weights


@pytest.fixture(scope="module")
def parts():
    return fixed_parts()


def on_cpu(device):
    """In place of :func:`accelerator.used`."""
    return True


def arrays(part):
    """The arrays and numbers of a batch, by the path of their field."""
    if is_dataclass(part):
        return [array for each in fields(part) for array in arrays(getattr(part, each.name))]
    return [part]


def test_prefetched_batches_are_the_same_in_the_same_order(parts):
    log, training = parts
    batches = training_inputs(log, training, SMALL).batches
    threads = set()

    def epoch():
        for batch in batches.epoch(np.random.default_rng(3)):
            threads.add(threading.current_thread())
            yield batch

    expected = list(batches.epoch(np.random.default_rng(3)))
    for batch, other in zip(accelerator.prefetched(epoch(), "cpu"), expected, strict=True):
        items: Any = batch.items
        assert torch.is_tensor(items)
        assert len(batch) == len(other)
        for one, two in zip(arrays(batch), arrays(other), strict=True):
            np.testing.assert_array_equal(one, two)
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_an_error_while_a_batch_is_made_ends_the_training():
    def make(number):
        raise OSError("the log is gone")

    with pytest.raises(OSError, match="the log is gone"):
        next(accelerator.prefetched(map(make, [0]), "cpu"))


def assert_same_training(one, other, of_losses, of_weights):
    """With a relative tolerance of the losses, and an absolute one of the weights."""
    losses, expected = ([record["train_loss"] for record in result.history] for result in (one, other))
    np.testing.assert_allclose(losses, expected, rtol=of_losses)
    for name, value in weights(one.model).items():
        if name.endswith("content_weight.bias"):
            continue  # a softmax follows: its gradient is nothing but rounding, which Adam scales up
        torch.testing.assert_close(value, weights(other.model)[name], rtol=0, atol=of_weights)


@pytest.mark.parametrize("use_in_batch_negatives", [True, False])
def test_both_paths_give_the_same_losses_and_weights(parts, tmp_path, monkeypatch, use_in_batch_negatives):
    settings = {"use_in_batch_negatives": use_in_batch_negatives, "num_epochs": 2}
    expected = run(parts, tmp_path / "cpu.pt", **settings)
    monkeypatch.setattr(accelerator, "used", on_cpu)
    assert_same_training(run(parts, tmp_path / "gpu.pt", **settings), expected, 1e-5, 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("use_in_batch_negatives", [True, False])
def test_a_gpu_gives_the_losses_and_weights_of_the_cpu(parts, tmp_path, use_in_batch_negatives):
    settings = {"use_in_batch_negatives": use_in_batch_negatives, "num_epochs": 2}
    expected = run(parts, tmp_path / "cpu.pt", **settings)
    # Products of matrices round to fewer bits on a GPU (fast_matmul).
    assert_same_training(run(parts, tmp_path / "gpu.pt", device="cuda", **settings), expected, 0.01, 0.02)
