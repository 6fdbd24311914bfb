"""Training on Ray ends as a local run does, even if a worker was killed. One Ray for all tests."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest
import torch

from hm_utils import engines
from hm_utils.cluster import ClusterError
from hm_utils.data.preprocessing import preprocess
from hm_utils.data.raw import read_raw
from hm_utils.model.checkpoint import atomic_save, read_checkpoint
from hm_utils.pipeline import notebook_runner
from hm_utils.sample import write_sample
from hm_utils.training import fit as fit_module
from hm_utils.training.fit import open_inputs, tower_config, training_inputs
from hm_utils.training.loop import TrainingSettings
from tests.helpers.training import weights

ROOT = Path(__file__).parents[2]
SETTINGS = TrainingSettings(batch_size=64, num_epochs=3, patience=3, history_length=5, device="cpu")


@pytest.fixture(scope="module")
def ray_here():
    """A small Ray; notebook kernels find it by ``RAY_ADDRESS``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")  # seconds between polls of the workers, by default 2
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))  # workers import this file
        import ray

        ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
        patch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
        yield ray
        ray.shutdown()


def open_and_kill(folder: Path, *arguments):
    """The inputs of a worker. The second worker kills itself once, in the middle of the second epoch."""
    import ray.train

    from hm_utils.cluster.gradient_exchange import TorchWorkers

    inputs, validate = open_inputs(*arguments)
    steps = len(inputs.batches)
    exchange, killed, taken = TorchWorkers.sum_gradients, folder / "killed", 0

    def exchange_or_die(self, *values):
        nonlocal taken
        taken += 1
        if ray.train.get_context().get_world_rank() == 1 and taken == steps + steps // 2 and not killed.exists():
            killed.touch()
            time.sleep(2)  # until Ray's next poll, which reports the end of the first epoch
            os.kill(os.getpid(), signal.SIGKILL)
        exchange(self, *values)

    TorchWorkers.sum_gradients = exchange_or_die  # type: ignore[method-assign]
    return inputs, validate


@pytest.mark.cluster
def test_a_killed_worker_is_replaced_and_the_refit_ends_as_a_plain_one(ray_here, data, tmp_path, monkeypatch):
    validated = tmp_path / "c.pt"
    config = tower_config(data.training, 8, [16], 8, ensemble_size=2)
    engines.choose("local").fit(data, training_inputs(data.log, data.training, SETTINGS), config, SETTINGS, validated)
    checkpoint = read_checkpoint(validated)
    atomic_save(validated, checkpoint | {"epoch": 3})
    plain = engines.choose("local").refit(data, validated, tmp_path / "plain.pt", "cpu").result
    monkeypatch.setattr(fit_module, "open_inputs", partial(open_and_kill, tmp_path))
    result = engines.choose("ray", 2).refit(data, validated, tmp_path / "ray.pt", "cpu").result
    assert (tmp_path / "killed").exists()
    assert result.resumed_from == 1
    assert result.best_epoch == len(result.history) == 3
    losses, expected_losses = ([epoch["train_loss"] for epoch in run.history] for run in (result, plain))
    assert losses == pytest.approx(expected_losses, rel=1e-4)
    found, expected = weights(result.model), weights(plain.model)
    assert found.keys() == expected.keys()
    for name in ("item_tower.towers.0.id_embedding.table.weight", "user_tower.towers.0.mlp.0.weight", "log_scale"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-2, atol=1e-3)
    assert read_checkpoint(tmp_path / "ray.pt").keys() == read_checkpoint(tmp_path / "plain.pt").keys()
    assert sorted(path.name for path in tmp_path.glob("ray*")) == ["ray.pt"], "temporary files are left"


@pytest.mark.cluster
def test_the_notebook_trains_on_two_workers(ray_here, tmp_path, capsys):
    write_sample(tmp_path / "raw", "tiny")
    preprocess(read_raw(tmp_path / "raw"), tmp_path / "preprocessed", train_weeks=8)
    parameters = {
        "artifacts_dir": str(tmp_path),
        "num_epochs": 2,
        "batch_size": 256,
        "hidden_dims": [16],
        "embedding_dim": 8,
        "output_dim": 8,
        "ensemble_size": 2,
        "device": "cpu",
        "engine": "ray",
        "num_workers": 2,
    }
    executed = tmp_path / "03_training.ipynb"
    notebook_runner.execute(
        ROOT / "notebooks" / "03_training.ipynb", executed, parameters, notebook_runner.Progress(sys.stdout)
    )
    said = capsys.readouterr().out
    assert "epoch 1/2: train_loss" in said
    assert "2 workers: a step sends" in said
    shown = json.dumps(nbformat.read(executed, as_version=4))
    assert "Training on **2 workers of Ray**" in shown
    assert "of 2 is kept" in shown
    checkpoint = read_checkpoint(tmp_path / "checkpoints" / "two_tower.pt")
    history = checkpoint["history"]
    assert history[0]["recall@100"] > 0.1
    assert checkpoint["tower_config"]["ensemble_size"] == 2
    assert any(name.startswith("health: ") for name in history[0])


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ClusterError, match="make cluster-env"):
        engines.choose("ray", 2)


@pytest.mark.parametrize(
    ("engine", "num_workers", "message"),
    [
        ("spark", 1, r'engine must be "local" .* or "ray" .*, not \'spark\''),
        ("ray", 0, "num_workers must be 1 or more, not 0"),
        ("local", 2, 'num_workers=2 needs engine="ray"'),
    ],
)
def test_an_impossible_engine_is_refused(engine, num_workers, message):
    with pytest.raises(ValueError, match=message):
        engines.choose(engine, num_workers)
