"""A run with other parameters has another place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hm_utils.model.towers import TowerConfig
from hm_utils.pipeline import artifacts
from hm_utils.training.loop import TrainingSettings

CONFIG = TowerConfig((5, 4, 3), 2, (4,))
SETTINGS = TrainingSettings()


def test_a_place_for_every_set_of_parameters(tmp_path: Path) -> None:
    place = artifacts.own_checkpoint(tmp_path, "data", CONFIG, SETTINGS)
    assert place == artifacts.own_checkpoint(tmp_path, "data", CONFIG, replace(SETTINGS, device="cuda"))
    assert place.name == "two_tower.pt"
    others = {
        artifacts.own_checkpoint(tmp_path, "data", CONFIG, replace(SETTINGS, num_epochs=5)),
        artifacts.own_checkpoint(tmp_path, "data", replace(CONFIG, output_dim=64), SETTINGS),
        artifacts.own_checkpoint(tmp_path, "other data", CONFIG, SETTINGS),
    }
    assert len(others | {place}) == 4
    folders = {artifacts.own_path(tmp_path / "preprocessed", "raw", days) for days in (1, 7)}
    assert len(folders) == 2
    assert all(folder.name.startswith("preprocessed-") for folder in folders)
