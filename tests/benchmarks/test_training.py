"""The training benchmark on a tiny sample: what is timed is what it says. TensorFlow's environment is not needed."""

import json
import pickle
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, default_collate

from benchmarks import tfrs, training
from benchmarks.measuring import measured
from benchmarks.quality import notebook_parameters
from hm_utils.data.examples import Batch, histories_as_of
from hm_utils.data.preprocessing import preprocess
from hm_utils.data.raw import read_raw
from hm_utils.sample import write_sample
from hm_utils.training.loop import Optimizers, _run_epoch, polynomial_decay_average, quick_products

HERE = ("ours", "ceiling", "dataloader", "naive")  # the rows that need no other environment


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_sample(folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def task(sample, tmp_path_factory) -> training.Task:
    folder = tmp_path_factory.mktemp("data") / "preprocessed"
    preprocess(read_raw(sample), folder)
    return training.Task(folder, notebook_parameters({}), seconds=0.01, threads=1)


@pytest.fixture
def setup(task) -> training.Setup:
    return training.Setup.of(task)


class ConstantDraws:
    """A generator whose ``random`` is one number, so that two ways to draw a history draw the same."""

    def __init__(self, number: float) -> None:
        self._number, self.integers = number, np.random.default_rng(1).integers

    def random(self, size: Any = None) -> Any:
        return self._number if size is None else np.full(size, self._number)


def test_every_row_is_measured_and_written(sample, tmp_path, monkeypatch, capsys):
    calls = []

    monkeypatch.setattr(training, "WARM_UP", 5)

    def here(work, *arguments):  # a process each would import everything eight times
        calls.append(work)
        pickle.dumps((work, arguments))
        return {"peak GiB": 0.5, **work(*arguments)}

    monkeypatch.setattr(training, "measured", here)
    arguments = ["--data-dir", str(sample), "--only", *HERE, "--seconds", "0.01", "--rounds", "2", "--threads", "1"]
    assert training.main([*arguments, "--json", str(tmp_path / "out.json")]) == 0

    assert calls.pop(0) is training.prepare
    one_round = [training.ours, training.ceiling, *4 * [training.dataloader], training.naive]
    assert calls == 2 * one_round, "the rows are not run in turn"
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["threads"] == 1
    assert report["parameters"]["batch_size"] == 512
    assert report["data"]["examples"] > 0
    rows = report["rows"]
    assert len(rows) == 7
    assert all(len(runs) == 2 for runs in rows.values())
    for name, run in ((name, run) for name, runs in rows.items() for run in runs):
        assert run["steps"] >= 1
        assert run["articles a step"] > (1 if "scans" in name else 100)  # single examples are timed there
        assert 0 < run["train_loss"] < 20
        parts = sum(run[part] for part in training.PARTS) / 1_000  # seconds a step
        assert all(run[part] > 0 for part in training.PARTS)
        if "scans" in name:
            assert run["examples/s"] == pytest.approx(512 / parts)
            assert run["batch, ms"] > 512 * run["lookup, ms"]
            assert run["looked up"] >= 1
        else:
            assert run["seconds"] == pytest.approx(parts * run["steps"])
            assert 0 < run["examples/s"] * run["seconds"] / run["steps"] <= 512 * (1 + 1e-9)

    shown = training.table(rows)
    assert len(shown) == 5
    said = capsys.readouterr().out
    assert shown.to_string(float_format="{:,.2f}".format, na_rep="–") in said


def test_a_row_runs_in_a_process_of_its_own(task):
    found = measured(training.ours, task)
    assert found["steps"] >= 1
    assert 0.05 < found["peak GiB"] < 50


def test_the_table_shows_the_fastest_run_and_the_better_number_of_workers():
    def runs(*speeds: float) -> list[dict[str, float]]:
        return [{"examples/s": speed, "peak GiB": speed / 10} for speed in speeds]

    few, many = (training.loader_name("", workers) for workers in (0, 2))
    few_ours, many_ours = (training.loader_name(training.OUR_STEP, workers) for workers in (0, 2))
    rows = {few: runs(4, 1), many: runs(2, 3), few_ours: runs(5), many_ours: runs(6), "other": runs(16)}
    shown = training.table({training.OURS: runs(3, 8, 5), **rows})
    assert shown["examples/s"].to_dict() == {training.OURS: 8, few: 4, many_ours: 6, "other": 16}
    assert shown["× ours"].tolist() == [1, 0.5, 0.75, 2]
    assert shown["peak GiB"].tolist() == [0.8, 0.4, 0.6, 1.6]
    assert training.table({many: runs(2)})["× ours"].isna().all()


def test_the_steps_are_those_of_an_epoch_of_training(task, monkeypatch):
    theirs, mine = training.Setup.of(task), training.Setup.of(task)
    averaged = AveragedModel(theirs.model, multi_avg_fn=polynomial_decay_average)
    optimizers = Optimizers(theirs.model, theirs.settings.learning_rate)
    record = _run_epoch(theirs.model, averaged, theirs.inputs, optimizers, theirs.settings, "cpu", epoch=1)

    made = []

    def keep(*arguments, **options):
        made.append(AveragedModel(*arguments, **options))
        return made[0]

    monkeypatch.setattr(training, "AveragedModel", keep)
    with quick_products():
        found = training.train_steps(mine, mine.batches.epoch(mine.generator()), float("inf"), warm_up=0)
    assert found["steps"] == len(mine.batches) > 3
    assert found["train_loss"] == pytest.approx(record["train_loss"])
    for expected, weights in ((theirs.model, mine.model), (averaged, made[0])):
        state = weights.state_dict()
        for name, tensor in expected.state_dict().items():
            assert torch.equal(state[name], tensor), name
    assert int(made[0].n_averaged) > 1


def test_the_warm_up_is_trained_and_not_counted(setup):
    batches = list(setup.batches.epoch(setup.generator()))[:4]
    before = {name: tensor.clone() for name, tensor in setup.model.state_dict().items()}
    found = training.train_steps(setup, batches, float("inf"), warm_up=3)
    assert found["steps"] == 1
    assert found["articles a step"] == len(batches[3].items)
    assert not torch.equal(before["log_scale"], setup.model.state_dict()["log_scale"])
    rest = training.train_steps(setup, batches, 0.0, warm_up=1)
    assert rest["steps"] == 1, "seconds are over after the first step that counts"


def test_a_loss_that_is_not_finite_ends_the_measurement(setup):
    with torch.no_grad():
        setup.model.log_scale.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="nan"):
        training.train_steps(setup, setup.batches.epoch(setup.generator()), 0.0)


# Above 0.75 no example sees its basket, and below 0.3 the history is hidden.
@pytest.mark.parametrize("number", [0.9, 0.5, 0.1])
def test_the_dataloaders_batches_hold_what_ours_hold(setup, number):
    batches = setup.batches
    assert (batches.context_share, batches.history_dropout) == (0.75, 0.3)
    chosen = np.random.default_rng(0).permutation(len(batches.examples))[:300]
    assert len(np.unique(batches.examples.day[chosen] // 7)) > 1
    expected = batches.make(chosen, ConstantDraws(number))
    dataset = training.ArrayDataset(batches)
    dataset.rng = ConstantDraws(number)  # type: ignore[assignment]
    collated = next(iter(DataLoader(dataset, batch_size=300, sampler=chosen.tolist())))
    found = training.to_batch(batches, collated, once=True)
    for each in fields(Batch):
        np.testing.assert_array_equal(getattr(found, each.name), getattr(expected, each.name), err_msg=each.name)
    basket = (found.days_since == 0) & found.mask
    assert found.mask.any() == (number >= 0.3)
    assert basket.any() == (number == 0.5)

    as_they_come = training.to_batch(batches, collated, once=False)
    assert len(as_they_come.items) == 300 * 21 > 2 * len(found.items)
    for places in ("positives", "negatives", "history"):
        one, other = getattr(as_they_come, places), getattr(found, places)
        np.testing.assert_array_equal(as_they_come.items[one], found.items[other])
    losses = [training.batch_loss(setup.model, batch, setup.inputs, "cpu").item() for batch in (as_they_come, found)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5), "the usual way trains something else"


def test_without_randomness_all_histories_are_the_same(setup):
    batches = replace(setup.batches, context_share=0.0, history_dropout=0.0)
    chosen = np.random.default_rng(0).permutation(len(batches.examples))[:60]
    ours = batches.make(chosen, np.random.default_rng(0))
    assert ours.mask.any(axis=1).mean() > 0.3
    for dataset in (training.ArrayDataset(batches), training.ScanDataset(batches)):
        assert len(dataset) == len(batches.examples)
        collated = default_collate([dataset[index] for index in chosen.tolist()])
        found = training.to_batch(batches, collated, once=True)
        for batch in (ours, found):
            assert batch.items[batch.positives].tolist() == batches.examples.article[chosen].tolist()
        assert found.customers.tolist() == ours.customers.tolist()
        np.testing.assert_array_equal(found.mask, ours.mask)
        np.testing.assert_array_equal(found.days_since, ours.days_since)
        np.testing.assert_array_equal(
            np.where(found.mask, found.items[found.history], -1), np.where(ours.mask, ours.items[ours.history], -1)
        )


def test_every_worker_draws_other_numbers(setup, monkeypatch):
    drawn = []
    for seed in (1, 2):
        dataset = training.ArrayDataset(setup.batches)
        monkeypatch.setattr(training, "get_worker_info", lambda d=dataset, s=seed: SimpleNamespace(dataset=d, seed=s))
        training._seed_worker(0)
        drawn.append(dataset.rng.random())
    assert drawn[0] != drawn[1]


def test_the_histories_for_tensorflow_are_strictly_before_the_day(task, setup, tmp_path):
    folder = tmp_path / "arrays"
    training.write_arrays(task, folder)
    arrays, settings = tfrs.read_arrays(folder)
    assert settings["batch_size"] == 512
    assert (settings["embedding_dim"], settings["hidden_dims"], settings["output_dim"]) == (64, [128], 128)
    log, examples = setup.batches.log, setup.batches.examples
    assert len(examples) == len(arrays["customer"]) < training.MOST_FOR_TFRS
    np.testing.assert_array_equal(arrays["customer"], examples.customer)
    np.testing.assert_array_equal(arrays["article"], examples.article)
    for index in range(0, len(examples), 97):
        past = histories_as_of(log, examples.customer[[index]], int(examples.day[index]), 20)
        assert arrays["history"][index].tolist() == past.articles[0].tolist()
        assert arrays["mask"][index].tolist() == past.mask[0].tolist()
    assert len(arrays["categories"]) == len(arrays["state"]) == log.n_articles
    for codes, sizes in (("categories", "article_sizes"), ("attributes", "customer_sizes")):
        assert (arrays[codes].max(axis=0) < settings[sizes]).all()
    assert arrays["sampling_probability"].sum() == pytest.approx(1)
    often = np.bincount(examples.article).argmax()
    assert arrays["sampling_probability"].argmax() == often


def test_tensorflow_is_run_in_its_environment_and_says_how_fast_it_was(task, tmp_path, monkeypatch, capsys):
    (tmp_path / "python").touch()
    commands = []

    def stand_in(command, **options):
        commands.append(command)
        assert options["check"]
        (Path(command[command.index("--arrays") + 1]) / "settings.json").read_text()
        Path(command[command.index("--output") + 1]).write_text(json.dumps({"examples/s": 1234.5, "peak GiB": 0.25}))

    monkeypatch.setattr(training.subprocess, "run", stand_in)
    monkeypatch.setattr(training, "measured", lambda work, *arguments: dict(work(*arguments)))
    python = ["--tfrs-python", str(tmp_path / "python"), "--preprocessed", str(task.folder)]
    assert training.main(["--only", "tfrs", *python, "--seconds", "3", "--threads", "2", "--rounds", "1"]) == 0
    usual, command = commands
    assert command == [*usual, "--articles-once"]
    assert command[:3] == [str(tmp_path / "python"), "-m", "benchmarks.tfrs"]
    assert command[command.index("--seconds") + 1] == "3.0"
    assert command[command.index("--threads") + 1] == "2"
    said = capsys.readouterr().out
    assert "1,234.50" in next(line for line in said.splitlines() if line.startswith("TensorFlow Recommenders"))


def test_without_tensorflows_environment_its_row_is_left_out(task, capsys):
    python = ["--tfrs-python", "nowhere/bin/python", "--preprocessed", str(task.folder)]
    assert training.main(["--only", "tfrs", *python]) == 0
    assert "make bench-env" in capsys.readouterr().out


def test_what_cannot_be_read_is_an_error(tmp_path, capsys):
    assert training.main(["--only", "ours", "--data-dir", str(tmp_path)]) == 1
    assert "articles.csv" in capsys.readouterr().err
    assert training.main(["--only", "ours", "--preprocessed", str(tmp_path)]) == 1
    assert "02_preprocessing" in capsys.readouterr().err


def test_every_version_that_tensorflow_needs_is_exact() -> None:
    lines = (Path(training.__file__).parent / "tfrs-requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {"tensorflow_cpu", "tf_keras", "tensorflow-recommenders", "numpy"} <= set(pins)
    assert "tensorflow" not in pins
