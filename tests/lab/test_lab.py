"""The laboratory: its cells on a small run, whose user tower is one's own, and the published model in the service."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from matplotlib.figure import Figure

from app.main import create_app
from hm_utils.lab import compare_runs, fit, open_model, plot_runs, runs, side_by_side
from hm_utils.lab.tables import TableRecommender
from hm_utils.model.scoring import CHAIN
from hm_utils.plotting import style
from tests.helpers.notebooks import FOLDER, run_cells
from tests.helpers.raw_files import raw_frames, write
from tests.helpers.served import random_recommender

TOWER = "tests.helpers.towers:MeanWithFeatures"
SMALL = {"num_epochs": 1, "batch_size": 64, "embedding_dim": 8, "hidden_dims": [8], "output_dim": 8, "device": "cpu"}
NAME = '</script><img src="x" onerror="document.title = 1">'
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(style.STYLE, "figure.constrained_layout.use", False)
        patch.setattr(Figure, "savefig", lambda self, file, **options: file.write(bytes(24)))  # takes most of the time
        yield patch


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    """Of a run with a user tower of one's own, and with numbers of the articles and the customers."""
    folder, tables = tmp_path_factory.mktemp("lab"), raw_frames()
    tables["articles"]["prod_name"] = NAME
    ids = tables["articles"]["article_id"]
    rng = np.random.default_rng(0)
    pd.DataFrame({"article_id": ids, "v": list(rng.normal(size=(len(ids), 4)))}).to_parquet(folder / "a.parquet")
    tables["customers"][["customer_id"]].assign(n=1.5).to_parquet(folder / "c.parquet")
    write(folder / "raw", tables)
    parameters = SMALL | {
        "data_dir": str(folder / "raw"),
        "artifacts_dir": str(folder / "artifacts"),
        "item_features": str(folder / "a.parquet"),
        "customer_features": str(folder / "c.parquet"),
        "user_tower": TOWER,
        "publish_if": "always",
    }
    names = ("02_preprocessing", "03_training", "04_evaluation")
    not_shown = [each for name in names for each in run_cells(name, parameters, patch)]
    assert len(not_shown) == 1, not_shown
    assert "may have no weights by age" in not_shown[0]
    for name, rate, metric in (("20260101-a", 0.001, 0.02), ("20260102-b", 0.002, 0.03), ("20260103-c", 0.002, None)):
        run = folder / "artifacts" / "runs" / name
        run.mkdir(parents=True)
        effective = {"learning_rate": rate, "hidden_dims": [8], "seed": 42}
        metrics = {} if metric is None else {"MAP@12": metric, "recall@100": 0.1, "best baseline": "popularity"}
        facts = {"started": f"{name[:4]}-01-{name[6:8]}", "status": "done", "effective": effective, "metrics": metrics}
        (run / "run.json").write_text(json.dumps(facts))
    return folder / "artifacts"


@pytest.fixture(scope="module")
def recommender() -> TableRecommender:
    """Of random towers over the small data."""
    return TableRecommender(random_recommender())


def test_the_playground_runs(artifacts: Path, patch: pytest.MonkeyPatch) -> None:
    assert run_cells("playground", {"artifacts_dir": str(artifacts), "num_epochs": 1}, patch) == []


@pytest.mark.parametrize("name", ["playground", "update"])
def test_a_notebook_outside_the_run_is_short_and_without_outputs(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    for cell in code:
        lines = [line for line in cell.source.splitlines() if line.strip() and not re.match("from |import ", line)]
        assert len(lines) <= 10, cell.source


def test_the_playground_has_each_experiment() -> None:
    notebook = nbformat.read(FOLDER / "playground.ipynb", as_version=4)
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    calls = (".for_customer(", ".for_history(", ".similar(", ".embeddings()", "plot_runs(", "user_tower=MeanTower")
    for call in (*calls, "item_features=", "compare_runs(", "side_by_side("):
        assert call in source, call


def test_the_run_is_served_to_who_names_its_tower(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_model(artifacts / "model", TOWER)
    assert opened.recommender.manifest["parameters"]["training"]["user_tower"] == TOWER
    monkeypatch.setenv("HM_TOWERS", TOWER)
    with TestClient(create_app(artifacts / "model")) as client:
        customer = opened.recommender.customer_ids[3].decode()
        served = client.post("/recommend", json={"customer_id": customer, "top_k": 5}).json()["recommendations"]
    ours = opened.for_customer(customer, 5)
    assert ours["article_id"].tolist() == [item["article_id"] for item in served]
    np.testing.assert_allclose(ours["score"], [item["score"] for item in served], rtol=1e-5)


def test_answers_are_tables_of_the_same_rankings(recommender: TableRecommender) -> None:
    below = recommender.recommender
    table = recommender.for_customer(below.customer_ids[2].decode(), 6)
    (rows,), (scores,) = below.recommend(below.customers(np.array([2])), 6)
    assert table["article_id"].tolist() == below.article_ids[rows].tolist()
    assert table["score"].tolist() == scores.tolist()
    assert table.index.tolist() == [1, 2, 3, 4, 5, 6]
    assert list(table) == ["article_id", "name", "product_type", "colour_group", "price", "score", "because"]
    dresses = recommender.for_customer(below.customer_ids[2].decode(), 40, product_type="Boots", colour_group=["Black"])
    assert set(dresses["product_type"]) == {"Boots"}
    assert set(dresses["colour_group"]) == {"Black"}
    assert table["because"].str.contains("Black|White").any()

    history = below.article_ids[[5, 7]].tolist()
    made_up = recommender.for_history(history, 6, [3, 0], {"age": 30.0})
    (rows,), _ = below.recommend(below.visitor(None, {"age": 30.0}, [5, 7], [3, 0]), 6)
    assert made_up["article_id"].tolist() == below.article_ids[rows].tolist()

    near = recommender.similar(history[0], 4)
    embeddings = recommender.embeddings()
    cosines = (embeddings @ embeddings.loc[history[0]]).drop(history[0]).sort_values(ascending=False)
    assert near["article_id"].tolist() == cosines.index[:4].tolist()
    np.testing.assert_allclose(near["cosine"], cosines.iloc[:4], rtol=1e-5)
    assert recommender.customers(5)["purchases"].min() > 0


@pytest.mark.parametrize(
    ("ask", "problem"),
    [
        (lambda it: it.for_customer("nobody"), "there is no customer 'nobody'; an id is a text such as '"),
        (lambda it: it.for_history(["108775000"]), "there is no article '108775000'; .* such as '0108775000'"),
        (lambda it: it.for_history("0108775000"), "must be a list of ids"),
        (lambda it: it.for_history(["0108775000"], days_ago=[1, 2]), "for each of the 1 articles, not 2"),
        (lambda it: it.similar("x"), "there is no article 'x'"),
        (lambda it: it.similar("0108775000", 0), "must be 1 or more, not 0"),
        (
            lambda it: it.for_history([], colour="Red"),
            "there is no filter colour; there are index_group",
        ),
        (lambda it: side_by_side({"one": it}), "two models are needed"),
    ],
)
def test_mistakes_are_said_in_words(recommender: TableRecommender, ask, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ask(recommender)


def test_runs_are_a_table_a_comparison_and_a_figure(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = runs(artifacts)
    assert table.index.tolist() == ["20260103-c", "20260102-b", "20260101-a"]
    assert table["learning_rate"].tolist() == [0.002, 0.002, 0.001]
    assert table["MAP@12"].tolist()[1:] == [0.03, 0.02]
    compared = compare_runs(artifacts=artifacts)
    assert list(compared) == ["20260101-a", "20260102-b", "difference"]
    assert compared.loc["parameters"].index.tolist() == ["learning_rate"]
    assert compared.loc[("metrics", "MAP@12"), "difference"] == pytest.approx(0.01)
    shown: list[str] = []
    monkeypatch.setattr("hm_utils.lab.run_tables.show", lambda figure, takeaway: shown.append(takeaway))
    plot_runs("learning_rate", "MAP@12", artifacts)
    plot_runs("hidden_dims", "MAP@12", artifacts)
    assert shown[0].startswith("The highest MAP@12 of 2 runs is 0.0300, with learning_rate 0.002.")
    with pytest.raises(ValueError, match="no run has 'learning'; the columns of runs"):
        plot_runs("learning", "MAP@12", artifacts)
    with pytest.raises(ValueError, match="there is no run 'x'"):
        compare_runs("x", "20260101-a", artifacts)
    with pytest.raises(ValueError, match="fewer than two runs"):
        compare_runs(artifacts=artifacts / "none")
    assert runs(artifacts / "none").empty


def lists_in(box) -> list[dict]:
    """The two lists in the frame."""
    (page,) = re.findall(r'srcdoc="([^"]*)"', box.children[-1].value)
    (data,) = re.findall(r'id="data">(.*?)</script>', html.unescape(page))
    return json.loads(data)


def test_the_widget_shows_two_models(recommender: TableRecommender) -> None:
    other = TableRecommender(random_recommender(scoring=CHAIN))
    box = side_by_side({"one": recommender, "other": other}, k=4)
    controls = {control.description: control for row in box.children[:2] for control in row.children}
    assert set(controls) >= {"customer", "left", "right", "product type", "colour group"}

    def expected(model: TableRecommender, **filters: str) -> list[str]:
        return model.for_customer(controls["customer"].value, 4, **filters)["article_id"].tolist()

    def shown() -> list[list[str]]:
        return [[article["article_id"] for article in each["articles"]] for each in lists_in(box)]

    assert shown() == [expected(recommender), expected(other)]
    assert shown()[0] != shown()[1]
    controls["customer"].value = controls["customer"].options[1]
    assert shown() == [expected(recommender), expected(other)]
    controls["left"].value = "other"
    assert shown() == [expected(other), expected(other)]
    controls["product type"].value = "Boots"
    assert shown()[0] == expected(other, product_type="Boots")
    controls["customer"].value = "<b>nobody"
    assert "there is no customer &#x27;&lt;b&gt;nobody" in box.children[-1].value


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt install chromium")
def test_garments_are_drawn_and_a_name_stays_text(artifacts: Path, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    model = open_model(artifacts / "model", TOWER)
    (tmp_path / "page.html").write_text(side_by_side({"one": model, "two": model}, k=4).children[-1].value)
    with sync_api.sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM).new_page()
        page.goto((tmp_path / "page.html").as_uri())
        frame = page.frames[1]
        frame.wait_for_selector("section:nth-of-type(2) li:nth-of-type(4)")
        assert frame.locator("svg.garment").count() == 8
        assert frame.locator("li b").first.inner_text() == f"1. {NAME}"
        assert frame.locator("img").count() == 0


def test_an_experiment_is_validated_and_leaves_nothing(artifacts: Path) -> None:
    before = sorted(artifacts.rglob("*"))
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(
            "hm_utils.lab.experiment.live_curve", lambda: lambda history, best: seen.append(len(history))
        )
        mine = fit(artifacts / "preprocessed", num_epochs=2, embedding_dim=8, hidden_dims=[8], output_dim=8)
    assert sorted(artifacts.rglob("*")) == before
    assert seen == [1, 2]
    assert mine.history.index.tolist() == [1, 2]
    assert {"train_loss", "MAP@12", "recall@100"} <= set(mine.metrics.index)
    assert mine.embeddings().shape == (60, 8)
    assert len(mine.for_customer(mine.customers(1).index[0], 5)) == 5
