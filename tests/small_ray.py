"""A Ray of this machine for a module's tests: few slots, a small object store, no dashboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

ATTEMPTS = 3  # Ray gives its own processes 30 seconds to start, which is too little on a machine that others use


@contextmanager
def small_ray(slots: int = 4) -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    for attempt in range(1, ATTEMPTS + 1):
        try:
            ray.init(num_cpus=slots, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False)
            break
        except Exception as error:
            if "timed out during startup" not in str(error) or attempt == ATTEMPTS:
                raise
    try:
        yield
    finally:
        ray.shutdown()
