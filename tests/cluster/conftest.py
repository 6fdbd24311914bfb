"""A small Ray and small data for the tests of the cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hm_utils.data.preprocessing import Preprocessed, preprocess
from tests.helpers.data import raw_tables


@pytest.fixture(scope="module")
def small_ray() -> Iterator[None]:
    """A Ray on this machine with few slots, a small object store and no dashboard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        ray.init(num_cpus=4, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Preprocessed:
    tables = raw_tables()
    return preprocess(tables, tmp_path_factory.mktemp("data") / "made", val_days=3, test_days=5, train_weeks=4)
