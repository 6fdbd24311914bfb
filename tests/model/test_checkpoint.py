"""Checkpoints give the model back, name what is wrong with them, and run no code."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from hm_utils.model.checkpoint import (
    FORMAT,
    CheckpointError,
    load_checkpoint,
    plain,
    read_checkpoint,
    save_checkpoint,
)
from hm_utils.model.towers import TowerConfig, TwoTower

CONFIG = TowerConfig((9, 7, 5, 4), 3, (8, 5), embedding_dim=8, hidden_dims=(16, 12), output_dim=10)


@pytest.fixture
def saved(tmp_path) -> tuple[TwoTower, Path]:
    model = TwoTower(CONFIG)
    identity = {
        "format": FORMAT,
        "tower_config": plain(asdict(CONFIG)),
        "settings": {},
        "data_fingerprint": "seven test days",
    }
    save_checkpoint(tmp_path / "c.pt", model, identity, [], 1)
    return model, tmp_path / "c.pt"


def test_the_checkpoint_gives_the_model_back(saved):
    model, path = saved
    again = load_checkpoint(path)
    assert again.config == model.config
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, again.state_dict()[name], rtol=0, atol=0)


def test_a_checkpoint_of_other_data_is_refused(saved):
    _, path = saved
    assert read_checkpoint(path, "seven test days")["epoch"] == 1
    with pytest.raises(CheckpointError, match=r"seven test days, not two test days\): run notebook 03_training again"):
        read_checkpoint(path, "two test days")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content["tower_config"].update(heads=4), r"does not fit today's towers .*: train again"),
        (lambda content: content["model"].pop("log_scale"), r"does not fit today's towers .*: train again"),
        (lambda content: content.update(format=FORMAT - 1), rf"has format {FORMAT - 1}, this is {FORMAT}"),
        (lambda content: content.pop("settings"), "not written by this project"),
    ],
    ids=["setting", "weight", "format", "settings"],
)
def test_a_checkpoint_that_does_not_fit_is_refused(saved, change, problem):
    _, path = saved
    content = read_checkpoint(path)
    change(content)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=problem):
        load_checkpoint(path)


def test_a_missing_or_unreadable_checkpoint_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="run notebook 03_training first"):
        load_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path / "text.pt")


def test_a_flipped_bit_is_an_error_or_changes_nothing(saved):
    model, path = saved
    content, refused = path.read_bytes(), 0
    table = content.index(b"PK\x01\x02")  # the most sensitive part
    for place in [*range(0, table, table // 100), *range(table, len(content), 19)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            found = load_checkpoint(path).state_dict()
        except CheckpointError:
            refused += 1
        else:  # of the padding between the parts
            assert all(torch.equal(value, found[name]) for name, value in model.state_dict().items()), place
    assert refused > 50


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()
