"""The exported towers give the vectors of the published model, computed by ONNX Runtime alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hm_utils.data.features import CatalogueState
from hm_utils.model.tower_classes import tower_name
from hm_utils.model.towers import TowerConfig, TwoTower
from hm_utils.serving import export_onnx
from hm_utils.serving.export_onnx import FILES, TOLERANCE, ExportError, export, exported, inputs, quiet
from hm_utils.serving.recommender import Recommender
from tests.helpers.data import CUSTOMERS, article_table, random_log
from tests.helpers.served import publish_random
from tests.helpers.snapshots import random_training
from tests.helpers.towers import CategoriesAlone, MeanOfHistory

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CONFIG = TowerConfig(article_sizes=(9, 8, 7), n_state=4, customer_sizes=(5, 3), embedding_dim=6, output_dim=6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_random(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def folder(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("onnx") / "new"
    assert export_onnx.main(["--model", str(model), "--output", str(output)]) == 0
    return output


def test_the_item_tower_gives_the_vectors_of_every_article(model: Path, folder: Path) -> None:
    log = random_log()
    as_of = log.last_day + 1
    session = ort.InferenceSession(folder / FILES["item"])
    categories = random_training(log, as_of).categories_as_of(article_table(), log, as_of)
    state = CatalogueState(log).as_of(as_of)
    (vectors,) = session.run(None, {"categories": categories.astype(np.int64), "state": state})
    np.testing.assert_allclose(vectors, Recommender.load(model).article_vectors, rtol=0, atol=TOLERANCE)


def test_the_user_tower_gives_the_vectors_of_every_customer(model: Path, folder: Path) -> None:
    recommender = Recommender.load(model)
    session = ort.InferenceSession(folder / FILES["user"])
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["version"] == recommender.version
    customers = recommender.customers(np.arange(CUSTOMERS))
    histories = customers.purchases.newest(int(facts["history_length"]))
    (vectors,) = session.run(
        None,
        {
            "attributes": customers.attributes.astype(np.int64),
            "items": recommender.article_vectors,
            "history": histories.articles.astype(np.int64),
            "days_since": histories.days_since.astype(np.int64),
            "mask": histories.mask,
        },
    )
    np.testing.assert_allclose(vectors, recommender.encoded(customers), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("own", [False, True], ids=["features", "towers of one's own"])
def test_features_and_towers_of_ones_own_are_exported(own: bool) -> None:
    config = replace(CONFIG, n_item_features=3, n_customer_features=2)
    if own:
        config = replace(CONFIG, user_tower=tower_name(MeanOfHistory), item_tower=tower_name(CategoriesAlone))
    torch.manual_seed(0)
    towers = TwoTower(config).eval()
    for kind, tower in (("item", towers.item_tower), ("user", towers.user_tower)):
        with quiet():
            program = exported(tower, inputs(kind, config, {"n": 3, "m": 4, "length": 5}))
        values = {name: value for name, (value, _) in inputs(kind, config, {"n": 6, "m": 7, "length": 8}).items()}
        assert ("features" in values) != own
        session = ort.InferenceSession(program.model_proto.SerializeToString())
        (found,) = session.run(None, {name: value.numpy() for name, value in values.items()})
        expected = tower(*values.values()).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


class Fixed(CategoriesAlone):
    """It counts its rows in Python."""

    def forward(self, categories: Tensor, state: Tensor) -> Tensor:
        return self.table(categories) + state.new_ones(len(state), 1)


class Sorted(nn.Module):
    """An operation on Python's own numbers."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()

    def forward(self, categories: Tensor, state: Tensor) -> Tensor:
        return torch.tensor(sorted(state.flatten().tolist())).view_as(state)


@pytest.mark.parametrize(
    ("tower", "reason"), [(Sorted, "cannot be exported"), (Fixed, r"takes no inputs of another size.*shape\[0\]")]
)
def test_a_tower_that_cannot_be_exported_is_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tower: type[nn.Module], reason: str
) -> None:
    towers = TwoTower(replace(CONFIG, item_tower=tower_name(tower))).eval()
    monkeypatch.setattr(export_onnx, "restore", lambda *_: towers)
    with pytest.raises(ExportError, match=f"the (exported )?item tower {reason}"):
        export(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_exported_tower_that_differs_is_not_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_onnx, "gathered_bag", lambda input, weight, *_, **__: weight[input].mean(dim=1))
    with pytest.raises(ExportError, match="differs"):
        export(model, tmp_path)
    assert list(tmp_path.iterdir()) == []
