"""The benchmark of training on Ray: its rows and its table. Ray itself is test_cluster_training's."""

import json

from benchmarks import cluster_training
from hm_utils.sample import write_sample


def test_every_row_is_measured_and_written(tmp_path, monkeypatch, capsys):
    write_sample(tmp_path / "raw", "tiny")
    asked = []

    def on_ray(task, workers):
        asked.append((task.settings.steps_per_epoch, workers))
        return {"examples/s": 1e9, "sent, kB": 1234.5, "the least, kB": 1000.0}

    monkeypatch.setattr(cluster_training, "measured", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr(cluster_training, "with_workers", on_ray)
    monkeypatch.setattr(cluster_training.os, "cpu_count", lambda: 1)
    arguments = ["--data-dir", str(tmp_path / "raw"), "--epochs", "2", "--steps", "3", "--rounds", "1"]
    assert cluster_training.main([*arguments, "--workers", "2", "4", "--json", str(tmp_path / "out.json")]) == 0
    assert asked == [(3, 2), (3, 4)]
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert list(rows) == ["plain, 1 thread", "Ray, 2 workers", "Ray, 4 workers"]
    (alone,) = rows["plain, 1 thread"]
    assert alone["examples/s"] > 100
    assert 0 < alone["train_loss"] < 20
    said = capsys.readouterr().out
    assert "1,234.50" in next(line for line in said.splitlines() if line.startswith("Ray, 4 workers"))


def test_the_table_shows_the_fastest_run_beside_the_plain_one():
    shown = cluster_training.table({"plain": [{"examples/s": 4}, {"examples/s": 2}], "Ray": [{"examples/s": 6}]})
    assert shown["× plain"].tolist() == [1, 1.5]
    assert shown["sent, kB"].isna().all()


def test_without_ray_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cluster_training.main([]) == 1
    assert "make cluster-env" in capsys.readouterr().err


def test_what_cannot_be_read_is_an_error(tmp_path, capsys):
    assert cluster_training.main(["--data-dir", str(tmp_path)]) == 1
    assert "articles.csv" in capsys.readouterr().err
