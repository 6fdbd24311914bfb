"""Numbers of articles and customers from files: read, aligned, scaled, trained with, published and served."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import Preprocessed, preprocess
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.side_features import SideFeatures, SideFeaturesError, read
from hm_utils.model.snapshot import Snapshot
from hm_utils.serving.bundle import BundleError
from hm_utils.serving.model_folder import CUSTOMER_FEATURES
from hm_utils.serving.recommender import Recommender
from hm_utils.training.fit import tower_config, training_inputs
from hm_utils.training.loop import train
from tests.helpers.data import (
    ARTICLES,
    CUSTOMERS,
    article_table,
    customer_table,
    random_log,
    random_transactions,
    raw_tables,
)
from tests.helpers.served import publish_snapshot, reseal
from tests.helpers.training import SMALL

IDS = article_table()["article_id"]
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(ARTICLES, 3)).astype(np.float32)


def test_forms_of_a_file(tmp_path: Path) -> None:
    """Parquet and .npz, texts and integers, vectors and numbers, in any order, with gaps and unknown ids."""
    order = RNG.permutation(ARTICLES)[:-2]
    frame = pd.DataFrame({"article_id": IDS[order].to_numpy(), "margin": order * 0.5, "vector": list(VECTORS[order])})
    frame.loc[0, "margin"] = np.nan
    frame.loc[1, "vector"] = None
    stranger = pd.DataFrame({"article_id": ["9999999999"], "margin": [1.0], "vector": [np.zeros(3)]})
    pd.concat([frame, stranger]).to_parquet(tmp_path / "text.parquet")
    frame.assign(article_id=frame["article_id"].astype(int)).to_parquet(tmp_path / "integers.parquet")
    np.savez(tmp_path / "arrays.npz", article_id=IDS.to_numpy(dtype="U10"), vector=VECTORS)

    expected = np.full((ARTICLES, 4), np.nan, dtype=np.float32)
    expected[order] = np.column_stack([order * 0.5, VECTORS[order]])
    expected[order[0], 0] = np.nan
    expected[order[1], 1:] = np.nan
    for name in ("text.parquet", "integers.parquet"):
        np.testing.assert_array_equal(read(article_table(), customer_table(), tmp_path / name).articles, expected)
    np.testing.assert_array_equal(read(article_table(), customer_table(), tmp_path / "arrays.npz").articles, VECTORS)
    assert read(article_table(), customer_table()).identity == []


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"article_id": IDS, "colour": "red"}, "the column colour must hold numbers, or vectors of one length"),
        ({"article_id": IDS, "v": [[1.0] * (1 + i % 2) for i in range(ARTICLES)]}, "the column v must hold numbers"),
        ({"article_id": IDS, "v": [["a"]] * ARTICLES}, "the column v must hold numbers"),
        ({"article_id": IDS}, "has no column beside article_id"),
        ({"id": IDS, "v": 1.0}, "has no column article_id; it has id, v"),
        ({"article_id": "0108775000", "v": [1.0, 2.0]}, "has the article_id '0108775000' twice"),
        ({"article_id": ["7"], "v": [1.0]}, "none of its ids, such as '7', is in the table's article_id"),
    ],
)
def test_a_file_that_cannot_be_used(columns: dict, problem: str, tmp_path: Path) -> None:
    pd.DataFrame(columns).to_parquet(tmp_path / "f.parquet")
    with pytest.raises(SideFeaturesError, match=f"f.parquet.*{re.escape(problem)}"):
        read(article_table(), customer_table(), tmp_path / "f.parquet")


def test_a_file_of_another_form_runs_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", article_id=IDS.to_numpy(dtype=object), v=np.ones(ARTICLES))
    (tmp_path / "f.csv").write_text("article_id,v\n0108775000,1\n")
    for name in ("f.npz", "f.csv", "none.parquet"):
        with pytest.raises(SideFeaturesError, match=r"cannot be read \(.*it must be \.parquet or \.npz"):
            read(article_table(), customer_table(), tmp_path / name)


def test_numbers_are_scaled_by_the_training_days_alone() -> None:
    values = np.array([[1.0], [3.0], [np.nan], [1000.0]], dtype=np.float32)
    sales = random_transactions(4).assign(article=range(4), customer=range(4))
    sales["t_dat"] = pd.date_range("2020-08-04", periods=4)
    scaled = SideFeatures(values, values).scaled(PurchaseLog.from_transactions(sales, 4, 4), day=3)
    assert scaled.articles is not None
    np.testing.assert_allclose(scaled.articles, [[-1, 1], [1, 1], [0, 0], [10, 1]])
    np.testing.assert_array_equal(scaled.customers, scaled.articles)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Preprocessed:
    """The small data, with a vector for every article and a number for all customers but the first."""
    folder = tmp_path_factory.mktemp("side")
    pd.DataFrame({"article_id": IDS, "vector": list(VECTORS)}).to_parquet(folder / "a.parquet")
    spent = pd.DataFrame({"customer_id": customer_table()["customer_id"], "spent": RNG.normal(size=CUSTOMERS)})
    spent[1:].to_parquet(folder / "c.parquet")
    side = read(article_table(), customer_table(), folder / "a.parquet", folder / "c.parquet")
    return preprocess(raw_tables(), folder / "preprocessed", 3, 3, 4, side=side)


def test_other_numbers_are_other_data(data: Preprocessed, tmp_path: Path) -> None:
    without = preprocess(raw_tables(), tmp_path / "without", 3, 3, 4)
    assert without.training.side.articles is None
    assert set(data.manifest["parameters"]) - set(without.manifest["parameters"]) == {
        "item_features",
        "customer_features",
    }
    assert data.fingerprint != without.fingerprint
    side = data.training.side
    assert side.articles is not None
    assert side.customers is not None
    assert (side.articles.shape, side.customers.shape) == ((ARTICLES, 4), (CUSTOMERS, 2))
    # Who is not in the file is like a visitor: nothing is known.
    assert side.customers[0].tolist() == [0, 0]


def test_the_towers_take_them_and_a_published_model_has_what_it_needs(data: Preprocessed, tmp_path: Path) -> None:
    training, log = data.training, random_log()
    config = tower_config(training, 8, [16], 8)
    result = train(config, training_inputs(log, training, SMALL), replace(SMALL, num_epochs=2), tmp_path / "c.pt", "")
    as_of = log.last_day + 1
    inputs = (training.categories, CatalogueState(log).as_of(as_of), training.attributes, log, as_of, 5)
    snapshot = Snapshot.take(result.model, *inputs, side=training.side)
    assert snapshot.article_vectors.shape == (ARTICLES, 8)
    with pytest.raises(ValueError, match="made for 4 numbers of item_features, and none"):
        Snapshot.take(result.model, *inputs)
    zeros = replace(training.side, articles=np.zeros_like(training.side.articles))
    assert (
        np.abs(Snapshot.take(result.model, *inputs, side=zeros).article_vectors - snapshot.article_vectors).max() > 0.01
    )

    folder = publish_snapshot(tmp_path, snapshot, training.encoders, article_table(), customer_table())
    recommender = Recommender.load(folder)
    rows = np.arange(20, dtype=np.int32)
    known = recommender.customers(rows)
    np.testing.assert_allclose(recommender.encoded(known), snapshot.customers(rows), atol=1e-6)
    joined = known.joined([recommender.customers(rows[:3]), recommender.visitor(), recommender.customers(rows[5:9])])
    np.testing.assert_array_equal(recommender.encoded(joined)[:3], recommender.vectors(known)[:3])
    articles, _ = recommender.recommend(recommender.visitor(articles=[3, 4], days_ago=[0, 0]), 5)
    assert recommender.reasons(recommender.visitor(articles=[3, 4], days_ago=[0, 0]), articles[0])

    (folder / CUSTOMER_FEATURES).chmod(0o644)
    (folder / CUSTOMER_FEATURES).unlink()
    with pytest.raises(BundleError, match=CUSTOMER_FEATURES):
        Recommender.load(reseal(folder))
