"""The same functions on many machines, by Ray: what is asked with ``engine="ray"``.

Nothing here is imported, and Ray need not be installed, for a run on one machine (``engine="local"``).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager


class ClusterError(RuntimeError):
    """A run on Ray cannot start; the message says why and what to do."""


@contextmanager
def connected(num_workers: int) -> Iterator[None]:
    """Connect to the cluster at ``RAY_ADDRESS``, or start Ray on this machine; leave it as it was found.

    A Ray started here takes ``num_workers`` slots, whatever the number of cores, and ends with the block.

    Raises:
        ClusterError: if Ray is not installed, or ``num_workers`` is below 1.
    """
    if num_workers < 1:
        raise ClusterError(f"num_workers must be 1 or more, not {num_workers}")
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
    """Before ``ray`` is imported: say what to do if there is none."""
    if importlib.util.find_spec("ray") is None:
        raise ClusterError('engine="ray" needs Ray: install it with `make cluster-env`, or use engine="local"')
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported
