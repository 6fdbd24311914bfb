"""The stages on a cluster, by Ray, for ``engine="ray"``: reading, preprocessing, training, ranking, recommending.

A run on one machine (``engine="local"``) needs no Ray and imports none of these modules.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager


class ClusterError(RuntimeError):
    """A run on Ray cannot start; the message gives the reason and the remedy."""


@contextmanager
def connected(num_workers: int) -> Iterator[None]:
    """Connect to the cluster at ``RAY_ADDRESS``, or start Ray on this machine. An existing connection is kept.

    A Ray started here has ``num_workers`` slots, whatever the number of cores, and ends with the block.

    Raises:
        ClusterError: if Ray is not installed.
    """
    require_ray()
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(num_cpus=num_workers + 1, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def require_ray() -> None:
    """Raise ClusterError if Ray is not installed; switch off its usage statistics. Call it before importing Ray."""
    if importlib.util.find_spec("ray") is None:
        raise ClusterError('engine="ray" needs Ray: install it with `make cluster-env`, or use engine="local"')
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported
