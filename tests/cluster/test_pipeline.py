"""The pipeline's command with ``engine="ray"``: the notebooks, from tables in parts to a published model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hm_utils.data.preprocessing import Preprocessed, preprocess
from hm_utils.data.raw import read_raw
from hm_utils.pipeline import __main__ as pipeline
from hm_utils.sample import write_sample
from hm_utils.serving.bundle import current

TRAINING = {"num_epochs": "1", "batch_size": "256", "train_weeks": "8", "hidden_dims": "[16]", "device": "cpu"}


@pytest.mark.cluster
@pytest.mark.slow
def test_the_notebooks_run_on_a_cluster(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    write_sample(whole, "tiny")
    (parts / "transactions_train").mkdir(parents=True)
    for name in ("articles.csv", "customers.csv"):
        (parts / name).hardlink_to(whole / name)
    header, *rows = (whole / "transactions_train.csv").read_text().splitlines()
    for i, part in enumerate(np.array_split(np.array(rows, dtype=object), 3)):
        (parts / "transactions_train" / f"part-{i}.csv").write_text("\n".join([header, *part]) + "\n")

    options = [item for name, value in TRAINING.items() for item in ("-p", name, value)]
    on_ray = ["-p", "engine", "ray", "-p", "num_workers", "2"]
    artifacts = tmp_path / "artifacts"
    command = ["--from", "02", "--data-dir", str(parts), "--artifacts-dir", str(artifacts), *options, *on_ray]
    assert pipeline.main(command) == 0
    (run,) = artifacts.glob("runs/*/run.json")
    assert json.loads(run.read_text())["effective"]["engine"] == "ray"
    assert current(artifacts) is not None, "nothing was published"
    made = Preprocessed.load(artifacts / "preprocessed")
    alone = preprocess(read_raw(whole), tmp_path / "alone", train_weeks=8)
    assert made.manifest["files"] == alone.manifest["files"]
