"""Settings for every test."""

from __future__ import annotations

import os

import pytest

# A test and its kernel share two cores, and more threads than cores are slower than one. Set before numpy and torch are
# imported, and inherited by kernels and servers.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first: at the end, one of them would run alone on one core."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
