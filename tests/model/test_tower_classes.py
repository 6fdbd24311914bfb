"""Towers of one's own train, are published and served; no file chooses what is imported."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hm_utils.data.features import CatalogueState
from hm_utils.model import tower_classes
from hm_utils.model.checkpoint import FORMAT, load_checkpoint, plain, save_checkpoint
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.tower_classes import TowerError, tower_name
from hm_utils.model.towers import TowerConfig, TwoTower
from hm_utils.serving.bundle import BundleError
from hm_utils.serving.recommender import Recommender
from hm_utils.training.fit import tower_config, training_inputs
from hm_utils.training.loop import train
from tests.helpers.data import article_table, customer_table
from tests.helpers.served import publish_snapshot
from tests.helpers.towers import CategoriesAlone, MeanOfHistory, OneNumber
from tests.helpers.training import SMALL, fixed_parts

MEAN = "tests.helpers.towers:MeanOfHistory"
CONFIG = TowerConfig((9, 7, 5, 4), 3, (8, 5), embedding_dim=8, output_dim=10)


@pytest.fixture
def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """This one, as if it had just started: it was told no class."""
    monkeypatch.setattr(tower_classes, "_known", {})
    monkeypatch.delenv("HM_TOWERS", raising=False)


@pytest.fixture
def checkpoint(tmp_path: Path, another_process: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that names a class in a module; importing it leaves the file ``imported``."""
    code = f"from pathlib import Path\nPath({str(tmp_path / 'imported')!r}).touch()\n"
    (tmp_path / "a_stranger.py").write_text(f"{code}from tests.helpers.towers import MeanOfHistory as Tower\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_stranger", raising=False)
    config = replace(CONFIG, user_tower=tower_name(MEAN))
    facts = plain(asdict(config)) | {"user_tower": "a_stranger:Tower"}
    identity = {"format": FORMAT, "tower_config": facts, "settings": {}}
    save_checkpoint(tmp_path / "c.pt", TwoTower(config), identity, [], 1)
    tower_classes._known.clear()
    return tmp_path / "c.pt"


@pytest.mark.parametrize("allowed", [None, "", "a_stranger", "a_stranger:Towe", "a_stranger.Tower", MEAN, "*"])
def test_a_checkpoint_does_not_choose_what_is_imported(
    checkpoint: Path, allowed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if allowed is not None:
        monkeypatch.setenv("HM_TOWERS", allowed)
    with pytest.raises(TowerError, match=r"'a_stranger:Tower'.*set HM_TOWERS to its name"):
        load_checkpoint(checkpoint)
    assert not (checkpoint.parent / "imported").exists()


@pytest.mark.parametrize("allowed", ["a_stranger:Tower", f"{MEAN}, a_stranger:Tower"])
def test_an_operator_allows_a_class(checkpoint: Path, allowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HM_TOWERS", allowed)
    assert isinstance(load_checkpoint(checkpoint).user_tower.towers[0], MeanOfHistory)
    assert (checkpoint.parent / "imported").exists()


@pytest.mark.parametrize(
    ("tower", "problem"),
    [
        ("MeanOfHistory", "is named package.module:Class, not 'MeanOfHistory'"),
        ("tests/helpers/towers.py:MeanOfHistory", "is named package.module:Class"),
        ("tests.helpers.towers:MeanOfHistory()", "is named package.module:Class"),
        ("no_such_module:Tower", r"cannot be imported \(ModuleNotFoundError.*beside hm_utils"),
        ("tests.helpers.towers:NoSuchClass", "NoSuchClass is no class derived from torch.nn.Module"),
        ("tests.helpers.towers:annotations", "is no class derived"),
        ("pathlib:Path", "pathlib:Path is no class derived"),
        ("__main__:Tower", "is a class of a notebook.*move it into a module"),
        (Path, "is no class derived"),
    ],
)
def test_a_class_that_cannot_be_a_tower(tower: str | type, problem: str, another_process: None) -> None:
    with pytest.raises(TowerError, match=problem):
        tower_name(tower)


def test_vectors_of_another_shape_are_an_error() -> None:
    model = TwoTower(replace(CONFIG, item_tower=tower_name(OneNumber)))
    with pytest.raises(TowerError, match=r"OneNumber\.forward must return .*\[6, 10\], and returned \[6, 1\]"):
        model.item_tower(torch.randint(4, (6, 4)), torch.randn(6, 3))


@pytest.mark.parametrize(("user_tower", "item_tower"), [(MEAN, ""), (MeanOfHistory, CategoriesAlone)])
def test_they_train_are_published_and_served(
    user_tower: str | type, item_tower: str | type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, training = fixed_parts()
    config = tower_config(training, 8, [16], 8, 2, user_tower, item_tower)
    inputs = training_inputs(log, training, SMALL)
    result = train(config, inputs, replace(SMALL, num_epochs=3), tmp_path / "c.pt", "data")
    losses = [row["train_loss"] for row in result.history]
    assert losses[-1] < losses[0]
    as_of = log.last_day + 1
    snapshot = Snapshot.take(
        result.model,
        training.categories_as_of(article_table(), log, as_of),
        CatalogueState(log).as_of(as_of),
        training.attributes,
        log,
        as_of,
        SMALL.history_length,
    )
    np.testing.assert_allclose(np.linalg.norm(snapshot.article_vectors, axis=1), 1, rtol=1e-5)
    folder = publish_snapshot(tmp_path, snapshot, training.encoders, article_table(), customer_table())

    # Another process serves it if it is told the names.
    names = [name for name in (config.user_tower, config.item_tower) if name]
    monkeypatch.setattr(tower_classes, "_known", {})
    with pytest.raises(BundleError, match=r"names the tower class .*set HM_TOWERS"):
        Recommender.load(folder)
    monkeypatch.setenv("HM_TOWERS", ",".join(names))
    recommender = Recommender.load(folder)
    rows = np.arange(10, dtype=np.int32)
    articles, _ = recommender.recommend(recommender.customers(rows), 5)
    np.testing.assert_array_equal(articles, snapshot.rank(rows, 5, recommender._content.scoring))
