"""A run with other parameters keeps to another place; the latest goes by one name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hm_utils.model.towers import TowerConfig
from hm_utils.pipeline import artifacts
from hm_utils.training.loop import TrainingSettings

CONFIG = TowerConfig((5, 4, 3), 2, (4,))
SETTINGS = TrainingSettings()


def test_a_place_for_every_set_of_parameters(tmp_path: Path) -> None:
    place = artifacts.own_checkpoint(tmp_path, CONFIG, SETTINGS, "data")
    assert place == artifacts.own_checkpoint(tmp_path, CONFIG, replace(SETTINGS, device="cuda"), "data")
    assert place.name == "two_tower.pt"
    others = {
        artifacts.own_checkpoint(tmp_path, CONFIG, replace(SETTINGS, num_epochs=5), "data"),
        artifacts.own_checkpoint(tmp_path, replace(CONFIG, output_dim=64), SETTINGS, "data"),
        artifacts.own_checkpoint(tmp_path, CONFIG, SETTINGS, "other data"),
    }
    assert len(others | {place}) == 4
    folders = {artifacts.own_path(tmp_path / "preprocessed", "raw", days) for days in (1, 7)}
    assert len(folders) == 2
    assert all(folder.name.startswith("preprocessed-") for folder in folders)


def test_the_latest_goes_by_one_name(tmp_path: Path) -> None:
    link = tmp_path / "preprocessed"
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        artifacts.point(link, tmp_path / name)
        assert (link / "file").read_text() == name
    assert (tmp_path / "one" / "file").read_text() == "one"
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert (moved / "preprocessed" / "file").read_text() == "other", "the artifacts folder may move"


def test_what_stood_there_before_is_set_aside(tmp_path: Path) -> None:
    old = tmp_path / "preprocessed"
    old.mkdir()
    (old / "file").write_text("old")
    (tmp_path / "new").mkdir()
    artifacts.point(old, tmp_path / "new")
    assert old.is_symlink()
    (aside,) = tmp_path.glob("preprocessed-before-*")
    assert (aside / "file").read_text() == "old"
