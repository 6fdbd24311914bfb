"""Recommendations and rankings by workers on Ray are bit-identical to those of one machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hm_utils import engines, recommend
from hm_utils.cluster import ClusterError, ranking
from hm_utils.model.snapshot import Snapshot
from hm_utils.serving import batch
from tests.helpers.data import CUSTOMERS
from tests.helpers.served import SCORING, publish_snapshot
from tests.helpers.snapshots import snapshot_of

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("small_ray")]


@pytest.fixture(scope="module")
def snapshot(data) -> Snapshot:
    """Random towers as of the first test day."""
    return snapshot_of(data.training, data.log, data.split.val_end)


@pytest.fixture(scope="module")
def model(data, snapshot, tmp_path_factory) -> Path:
    """The same towers, published."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    publish_snapshot(artifacts, snapshot, data.training.encoders, data.articles, data.customers)
    return artifacts / "model"


@pytest.fixture
def small_chunks(monkeypatch):
    """Split the small data's customers into four chunks, the last of them shorter."""
    monkeypatch.setattr(batch, "CHUNK", 16)
    monkeypatch.setattr(ranking, "CHUNK", 16)
    monkeypatch.setattr(ranking, "RANKED_AT_ONCE", 16)


def test_the_batch_command_writes_the_same_bytes(model, small_chunks, tmp_path, capsys):
    for name, more in (("local", []), ("ray", ["--engine", "ray", "--num-workers", "2"])):
        outputs = ["--output", str(tmp_path / f"{name}.parquet"), "--submission", str(tmp_path / f"{name}.csv")]
        assert recommend.main(["--model", str(model), "--top-k", "7", *outputs, *more]) == 0, capsys.readouterr().err
    assert len(pd.read_parquet(tmp_path / "ray.parquet")) == 7 * CUSTOMERS
    for suffix in ("parquet", "csv"):
        assert (tmp_path / f"ray.{suffix}").read_bytes() == (tmp_path / f"local.{suffix}").read_bytes()


def test_rankings_are_equal_though_a_worker_is_killed(data, snapshot, small_chunks, tmp_path, monkeypatch):
    customers = data.log.baskets_between(data.split.val_end, data.split.test_end).customers
    mark, number, kill = tmp_path / "killed", os.getpid, os.kill

    class Mortal(ranking.RankingWorker):
        def __call__(self, batch):
            if len(batch["data"]) < 16 and not mark.exists():  # the last chunk
                mark.touch()
                kill(number(), signal.SIGKILL)
            return super().__call__(batch)

    monkeypatch.setattr(ranking, "RankingWorker", Mortal)
    for some, num_workers in ((snapshot, 2), (snapshot.without_histories(), 1)):
        alone = some.score(customers, 100, SCORING, chunk=16)[0]
        engine = engines.choose("ray", num_workers)
        ranked = engine.rank(some, customers, SCORING, data.directory)
        np.testing.assert_array_equal(ranked, alone)
        assert ranked.dtype == alone.dtype
    assert mark.exists()
    assert engine.rank(snapshot, customers[:0], SCORING, data.directory).shape == (0, 100)


def test_a_wrong_engine_or_no_cluster_is_an_error(model, tmp_path, capsys, monkeypatch):
    command = ["--model", str(model), "--output", str(tmp_path / "lists.parquet")]
    assert recommend.main([*command, "--engine", "dask"]) == 1
    assert 'engine must be "local" (this machine) or "ray" (a cluster)' in capsys.readouterr().err

    def none(num_workers):
        raise ClusterError("no cluster")

    monkeypatch.setattr(ranking, "connected", none)
    assert recommend.main([*command, "--engine", "ray"]) == 1
    assert "error: no cluster" in capsys.readouterr().err
    assert not (tmp_path / "lists.parquet").exists()
