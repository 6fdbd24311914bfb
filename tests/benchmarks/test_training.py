"""The training benchmark on a tiny sample: every row trains what it says. TensorFlow is not needed."""

import json
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from benchmarks import tfrs, training
from benchmarks.measuring import notebook_parameters
from hm_utils.data.histories import histories_as_of
from hm_utils.data.preprocessing import preprocess
from hm_utils.data.raw import read_raw
from hm_utils.training.batches import Batch
from hm_utils.training.loop import train


@pytest.fixture(scope="module")
def task(sample, tmp_path_factory) -> training.Task:
    folder = tmp_path_factory.mktemp("data") / "preprocessed"
    preprocess(read_raw(sample), folder)
    return training.Task(folder, notebook_parameters({}), seconds=0.01, threads=1)


@pytest.fixture
def setup(task) -> training.Setup:
    return task.setup()


class ConstantDraws:
    """A generator whose ``random`` is one number, so that two ways to draw a history draw the same."""

    def __init__(self, number: float) -> None:
        self._number, self.integers = number, np.random.default_rng(1).integers

    def random(self, size: Any = None) -> Any:
        return self._number if size is None else np.full(size, self._number)


def test_every_row_is_measured_and_written(task, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WARM_UP", 3)
    monkeypatch.setattr(training, "measured", lambda work, *arguments: {"peak GiB": 0.5, **work(*arguments)})
    arguments = ["--preprocessed", str(task.folder), "--only", "ours", "ceiling", "dataloader", "naive"]
    quick = ["--seconds", "0.01", "--rounds", "1", "--threads", "1"]
    assert training.main([*arguments, *quick, "--json", str(tmp_path / "out.json")]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert len(rows) == 7
    for name, (run,) in rows.items():
        assert run["steps"] >= 1
        assert 0 <= run["train_loss"] < 20
        assert 0 < run["examples/s"] * run["ms a step"] / 1_000 <= 512 * (1 + 1e-9), name


def test_the_steps_are_those_of_an_epoch_of_training(task, setup, tmp_path, monkeypatch):
    settings = replace(task.settings, num_epochs=1, device="cpu")
    expected = train(setup.model.config, setup.inputs, settings, tmp_path / "c.pt", "")
    made = training.averaged_model(setup.model)
    monkeypatch.setattr(training, "averaged_model", lambda model: made)
    epoch = list(setup.batches.epoch(np.random.default_rng([settings.seed, 1])))
    with training.fast_matmul():
        found = training.train_steps(setup, epoch, float("inf"), warm_up=0)
    assert found["steps"] == len(epoch) > 3
    assert found["train_loss"] == pytest.approx(expected.history[0]["train_loss"])
    state = made.module.state_dict()
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(state[name], tensor), name


def test_the_warm_up_is_trained_and_not_counted(setup):
    batches = list(setup.batches.epoch(np.random.default_rng(0)))[:4]
    before = setup.model.log_scale.detach().clone()
    found = training.train_steps(setup, batches, float("inf"), warm_up=3)
    assert (found["steps"], found["articles a step"]) == (1, len(batches[3].items))
    assert not torch.equal(before, setup.model.log_scale)
    rest = training.train_steps(setup, batches, 0.0, warm_up=1)
    assert rest["steps"] == 1, "seconds are over after the first step that counts"


def assert_same(found: Any, expected: Any) -> None:
    for each in fields(expected):
        mine, theirs = getattr(found, each.name), getattr(expected, each.name)
        if each.name in ("negatives", "histories"):
            assert_same(mine, theirs)
        elif theirs is None:
            assert mine is None
        else:
            np.testing.assert_allclose(mine, theirs, rtol=1e-6, err_msg=each.name)


# Above 0.75 no example sees its basket, and below 0.3 the history is hidden.
@pytest.mark.parametrize("number", [0.9, 0.5, 0.1])
def test_the_dataloaders_batches_hold_the_same_as_ours(setup, number):
    batches = setup.batches
    assert (batches.context_share, batches.history_dropout) == (0.75, 0.3)
    chosen = np.random.default_rng(0).permutation(len(batches.examples))[:300]
    expected = batches.make(chosen, ConstantDraws(number))
    dataset = training.ArrayDataset(batches)
    dataset.rng = ConstantDraws(number)  # type: ignore[assignment]
    collated = next(iter(DataLoader(dataset, batch_size=300, sampler=chosen.tolist())))
    found = training.Collated(batches, once=True)(collated)
    assert_same(found, expected)
    assert found.histories.mask.any() == (number >= 0.3)
    assert ((found.histories.days_since == 0) & found.histories.mask).any() == (number == 0.5)

    as_they_come: Batch = training.Collated(batches, once=False)(collated)
    assert len(as_they_come.items) == 300 * 21 > 2 * len(found.items)
    losses = [training.batch_loss(setup.model, batch, setup.inputs, "cpu").item() for batch in (as_they_come, found)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5), "the usual way trains something else"


def test_without_randomness_all_histories_are_the_same(setup):
    batches = replace(setup.batches, context_share=0.0, history_dropout=0.0)
    chosen = np.random.default_rng(0).permutation(len(batches.examples))[:60]
    ours = batches.make(chosen, np.random.default_rng(0))
    assert ours.histories.mask.any(axis=1).mean() > 0.3
    for dataset in (training.ArrayDataset(batches), training.ScanDataset(batches)):
        collated = default_collate([dataset[index] for index in chosen.tolist()])
        assert_same(training.Collated(batches, once=True)(collated), ours)


def test_every_worker_draws_other_numbers(setup, monkeypatch):
    drawn = []
    for seed in (1, 2):
        dataset = training.ArrayDataset(setup.batches)
        monkeypatch.setattr(training, "get_worker_info", lambda d=dataset, s=seed: SimpleNamespace(dataset=d, seed=s))
        training._seed_worker(0)
        drawn.append(dataset.rng.random())
    assert drawn[0] != drawn[1]


def test_the_histories_for_tensorflow_are_strictly_before_the_day(task, setup, tmp_path):
    training.write_arrays(task, tmp_path / "arrays")
    arrays, settings = tfrs.read_arrays(tmp_path / "arrays")
    assert settings["batch_size"] == 512
    log, examples = setup.batches.log, setup.batches.examples
    np.testing.assert_array_equal(arrays["customer"], examples.customer)
    np.testing.assert_array_equal(arrays["article"], examples.article)
    for index in range(0, len(examples), 97):
        past = histories_as_of(log, examples.customer[[index]], int(examples.day[index]), 20)
        assert arrays["history"][index].tolist() == past.articles[0].tolist()
        assert arrays["mask"][index].tolist() == past.mask[0].tolist()
    for codes, sizes in (("categories", "article_sizes"), ("attributes", "customer_sizes")):
        assert (arrays[codes].max(axis=0) < settings[sizes]).all()
    assert arrays["sampling_probability"].sum() == pytest.approx(1)


def test_tensorflow_runs_in_its_environment(task, tmp_path, monkeypatch):
    commands = []

    def stand_in(command, **options):
        commands.append(command)
        Path(command[command.index("--output") + 1]).write_text(json.dumps({"examples/s": 1234.5}))

    monkeypatch.setattr(training.subprocess, "run", stand_in)
    assert training.tfrs(task, Path("python"), tmp_path, False) == {"examples/s": 1234.5}
    training.tfrs(task, Path("python"), tmp_path, True)
    usual, once = commands
    assert once == [*usual, "--articles-once"]
    assert usual[:3] == ["python", "-m", "benchmarks.tfrs"]


def test_an_unreadable_folder_is_an_error(tmp_path, capsys):
    assert training.main(["--only", "ours", "--data-dir", str(tmp_path)]) == 1
    assert "articles.csv" in capsys.readouterr().err
