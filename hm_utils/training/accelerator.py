"""The training steps of a GPU: batches come from a thread that works ahead, and no operation waits for the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch

from hm_utils.training.batches import Batch

AHEAD = 3  # batches that wait for their step


def used(device: str) -> bool:
    """Whether steps are taken as on a GPU. Tests replace this function to take such steps on the CPU."""
    return device != "cpu"


def prefetched(batches: Iterator[Batch], device: str) -> Iterator[Batch]:
    """The same batches in the same order, made by a thread, with tensors on the device in place of their arrays.

    An error in the thread is raised here.
    """
    moved = (_moved(batch, device) for batch in batches)
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, moved, None) for _ in range(AHEAD))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, moved, None))
            yield batch


def _moved(part: Any, device: str) -> Any:
    """``part``, a dataclass or a field of one, with tensors on the device in place of arrays."""
    if isinstance(part, np.ndarray):
        tensor = torch.from_numpy(np.ascontiguousarray(part))
        # The copy from pinned memory runs beside Python. torch keeps the memory until the copy has ended.
        return (tensor.pin_memory() if device.startswith("cuda") else tensor).to(device, non_blocking=True)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{each.name: _moved(getattr(part, each.name), device) for each in fields(part)})
    return part
