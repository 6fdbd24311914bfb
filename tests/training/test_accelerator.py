"""A GPU's training steps, taken on the CPU, give the losses and weights of the CPU's; on a GPU where there is one."""

import threading
from dataclasses import fields, is_dataclass

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
        assert isinstance(batch.items, torch.Tensor)
        assert len(batch) == len(other)
        for one, two in zip(arrays(batch), arrays(other), strict=True):
            np.testing.assert_array_equal(one, two)
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_an_error_while_a_batch_is_made_ends_the_training():
    def epoch():
        raise OSError("the log is gone")
        yield

    with pytest.raises(OSError, match="the log is gone"):
        next(accelerator.prefetched(epoch(), "cpu"))


def assert_same_training(one, other, **tolerance):
    losses = [[record["train_loss"] for record in result.history] for result in (one, other)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for name, value in weights(one.model).items():
        if name.endswith("content_weight.bias"):
            continue  # a softmax follows: its gradient is nothing but rounding, which Adam scales up
        torch.testing.assert_close(value, weights(other.model)[name], **tolerance)


@pytest.mark.parametrize("use_in_batch_negatives", [True, False])
def test_both_paths_give_the_same_losses_and_weights(parts, tmp_path, monkeypatch, use_in_batch_negatives):
    settings = {"use_in_batch_negatives": use_in_batch_negatives, "num_epochs": 2}
    expected = run(parts, tmp_path / "cpu.pt", **settings)
    monkeypatch.setattr(accelerator, "used", on_cpu)
    assert_same_training(run(parts, tmp_path / "gpu.pt", **settings), expected, rtol=0, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("use_in_batch_negatives", [True, False])
def test_a_gpu_gives_the_losses_and_weights_of_the_cpu(parts, tmp_path, use_in_batch_negatives):
    settings = {"use_in_batch_negatives": use_in_batch_negatives, "num_epochs": 2}
    expected = run(parts, tmp_path / "cpu.pt", **settings)
    # Products of matrices round to fewer bits on a GPU (fast_matmul).
    assert_same_training(run(parts, tmp_path / "gpu.pt", device="cuda", **settings), expected, rtol=0.05, atol=0.01)
