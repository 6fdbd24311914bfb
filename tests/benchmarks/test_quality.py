"""The quality benchmark on a tiny sample. Speed is not tested; the peers' own environment is not needed."""

import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import peers, quality
from hm_utils.evaluation.baselines import BASELINES, recent_popularity
from hm_utils.model.towers import ItemTower, TowerConfig
from hm_utils.training.batches import BatchMaker
from tests.helpers.data import random_log


@pytest.mark.parametrize("name", quality.ABLATIONS)
def test_an_ablation_changes_what_there_is(name):
    patches, of_batches = quality.ABLATIONS[name]
    assert patches or of_batches
    assert all(getattr(owner, attribute) is not new for owner, attribute, new in patches)
    assert set(of_batches) <= {each.name for each in fields(BatchMaker)}


def test_a_run_writes_every_number_of_its_tables(sample, tmp_path, monkeypatch, capsys):
    chosen = ("without the catalogue's state", "without history dropout")
    monkeypatch.setattr(quality, "ABLATIONS", {name: quality.ABLATIONS[name] for name in chosen})
    other = tmp_path / "another shop"
    other.symlink_to(sample)
    arguments = [
        "--data-dir",
        str(sample),
        str(other),
        "--test-days",
        "7",
        "5",
        "--only",
        "ours",
        "baselines",
        "ablation",
        "--seeds",
        "1",
    ]
    quick = ["--val-days", "3", "-p", "num_epochs", "1", "-p", "train_weeks", "3", "-p", "batch_size", "128"]
    assert quality.main([*arguments, *quick, "--json", str(tmp_path / "out.json")]) == 0

    report = json.loads((tmp_path / "out.json").read_text())
    facts, shorter = report["data"][str(sample)], report["data"][str(other)]
    assert facts["parameters"]["val_days"] == shorter["parameters"]["val_days"] == 3
    lengths = [each["split"]["test_end"] - each["split"]["val_end"] for each in (facts, shorter)]
    assert lengths == [7, 5]
    assert report["machine"]["cores"] >= 1
    rows = report["rows"][str(sample)]
    assert set(report["rows"][str(other)]) == set(rows)
    assert set(rows) >= {
        "two-tower",
        "two-tower, refitted",
        quality.PUBLISHED,
        f"{quality.PUBLISHED}, refitted",
        "recent popularity",
        "popularity by age",
        "oracle",
        *chosen,
    }
    assert all(len(runs) == 1 for runs in rows.values()), "the whole model was trained again for the ablation"
    customers = facts["customers"]
    for (run,) in rows.values():
        assert run["seconds"] > 0
        for metric in ("MAP@12", "recall@100"):
            parts = sum(customers[part] * run[f"{part} {metric}"] for part in ("warm", "cold"))
            assert parts == pytest.approx(customers["all"] * run[metric])
    better, worse = rows["oracle"][0], rows["random"][0]
    assert all(better[column] > worse[column] for column in quality.COLUMNS)
    assert rows[chosen[0]][0]["recall@100"] != rows[quality.PUBLISHED][0]["recall@100"]

    baselines = {name: runs[0] for name, runs in rows.items() if name in {*BASELINES, "popularity by age"}}
    best = max(baselines, key=lambda name: baselines[name]["MAP@12"])
    assert facts["gain"]["best baseline"] == best
    less = rows[f"{quality.PUBLISHED}, refitted"][0]["MAP@12"] - baselines[best]["MAP@12"]
    assert facts["gain"]["MAP@12"].startswith(f"{less:+.4f} [")

    said = capsys.readouterr().out
    assert f"{quality.PUBLISHED} - ({best}): MAP@12 {less:+.4f} [" in said
    difference = rows[chosen[0]][0]["MAP@12"] - rows[quality.PUBLISHED][0]["MAP@12"]
    assert f"{rows['oracle'][0]['MAP@12']:.4f}" in said
    assert f"{difference:+.4f}" in next(line for line in said.splitlines() if line.startswith(chosen[0]))


def test_a_blanked_tower_does_not_see_the_input():
    torch.manual_seed(0)
    tower = ItemTower(TowerConfig(article_sizes=(9, 5, 4), n_state=2, customer_sizes=(3,)))
    categories, state = torch.tensor([[2, 3, 2], [4, 2, 3]]), torch.rand(2, 2)
    seen, unseen = tower(categories, state), tower(categories, torch.zeros(2, 2))
    assert not torch.equal(seen, unseen)
    with mock.patch.object(*quality.blank(ItemTower, "forward", state=torch.zeros_like)):
        assert torch.equal(tower(categories, state=state), unseen)
    assert torch.equal(tower(categories, state), seen)
    with pytest.raises(AssertionError, match="words"):
        quality.blank(ItemTower, "forward", words=torch.zeros_like)
    assert quality.hide_ids(categories).tolist() == [[1, 1, 2], [1, 1, 3]], "id and product become unknown"
    assert quality.hide_content(categories).tolist() == [[2, 3, 0], [4, 2, 0]], "the rest becomes missing"


def test_differences_are_paired_by_seed() -> None:
    def runs(*values: float) -> list[quality.Run]:
        return [
            {"seed": seed, **dict.fromkeys([*quality.COLUMNS, quality.ALONE, *quality.AS_IF_NEW], value)}
            for seed, value in enumerate(values, 1)
        ]

    table = quality.differences(
        {quality.PUBLISHED: runs(0.5, 0.9), "without recency": runs(0.4), "without ids": runs(0.5, 0.7)}
    )
    assert set(table.T["without recency"]) == {"-0.1000"}
    assert set(table.T["without ids"]) == {"-0.1000 ± 0.1000"}


def test_without_their_environment_the_peers_are_refused_before_anything_is_read(monkeypatch, capsys):
    monkeypatch.setattr(quality, "PEER_PYTHON", Path("nowhere/bin/python"))
    assert quality.main(["--data-dir", "no/such/folder", "--only", "baselines", "peers"]) == 1
    assert "make bench-env" in capsys.readouterr().err


def test_days_are_given_once_or_for_each_folder(capsys):
    with pytest.raises(SystemExit):
        quality.main(["--data-dir", "a", "b", "c", "--val-days", "1", "2"])
    assert "one for each of the 3 folders" in capsys.readouterr().err


def test_a_misspelt_parameter_is_refused(capsys):
    assert quality.main(["--only", "baselines", "-p", "num_epoch", "3"]) == 1
    assert "did you mean num_epochs" in capsys.readouterr().err


def test_a_peer_sees_the_past_alone_and_its_short_lists_are_filled(tmp_path, monkeypatch) -> None:
    """A stand-in for the peer, which serves the second customer with one article."""
    log, as_of, customers = random_log(), 40, np.array([3, 7, 58], dtype=np.int32)

    def stand_in(command, **options):
        files = {name: next(command[i + 1] for i, word in enumerate(command) if word == f"--{name}") for name in names}
        purchases = pd.read_parquet(files["interactions"])
        assert purchases["day"].max() == as_of - 1
        assert len(purchases) == np.count_nonzero(log.day < as_of)
        assert pd.read_parquet(files["customers"])["user"].tolist() == customers.tolist()
        pd.DataFrame({"user": [7], "item": [31], "rank": [1]}).to_parquet(files["output"])
        Path(files["output"]).with_suffix(".json").write_text(json.dumps({"served": 1}))

    names = ("interactions", "customers", "output")
    monkeypatch.setattr(quality.subprocess, "run", stand_in)
    monkeypatch.setattr(quality, "peer_python", lambda: Path("python"))
    bench: Any = SimpleNamespace(folder=tmp_path, data=SimpleNamespace(log=log))
    ranked, facts = quality.ask_peer(bench, "sasrec", {"epochs": 1}, 1, as_of, customers)
    popular = recent_popularity(log, customers, as_of, 100)[0]
    assert facts == {"served": 1}
    assert ranked[0].tolist() == ranked[2].tolist() == popular.tolist()
    assert ranked[1].tolist()[:3] == [31, *[article for article in popular if article != 31][:2]]


def test_every_peer_has_settings_to_try():
    assert set(peers.SETTINGS) == set(peers.PEERS)
    assert all(peers.SETTINGS.values())
