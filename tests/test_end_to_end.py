"""Raw CSVs to answers: the four notebooks on a tiny sample, then every way to query the published model."""

import gzip
import json
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from benchmarks import recommending, search, soak, usual_service
from hm_utils import recommend, update
from hm_utils.data.features import CatalogueState, mean_prices
from hm_utils.data.preprocessing import Preprocessed, preprocess
from hm_utils.data.raw import read_raw
from hm_utils.evaluation.decision import PUBLISHED
from hm_utils.files import point_link
from hm_utils.model.checkpoint import CheckpointError, load_checkpoint, read_checkpoint
from hm_utils.model.snapshot import Snapshot
from hm_utils.pipeline import __main__ as pipeline
from hm_utils.sample import write_sample
from hm_utils.serving import batch
from hm_utils.serving.bundle import BundleError, current
from hm_utils.serving.recommender import Recommender
from hm_utils.training.refit import refit
from tests.helpers.documentation import ROOT, commands
from tests.helpers.html_checks import check_page
from tests.helpers.notebooks import run_cells
from tests.helpers.served import reseal, unpacked

PARAMETERS = {
    "num_epochs": 5,
    "batch_size": 256,
    "train_weeks": 8,
    "hidden_dims": [64],
    "ensemble_size": 2,
    "device": "cpu",
}

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NOTEBOOKS = ("01_eda", "02_preprocessing", "03_training", "04_evaluation")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Raw data, and the artifacts of one complete run."""
    data, artifacts = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("artifacts")
    write_sample(data, "tiny")
    result = pipeline.run(PARAMETERS, data, artifacts)
    assert result.status == "done", result.error
    return data, artifacts


@pytest.fixture(scope="module")
def reports(folders) -> Path:
    """The folder of the run's notebooks and reports."""
    (run,) = (folders[1] / "runs").glob("*/")
    return run


@pytest.fixture(scope="module")
def recommender(folders) -> Recommender:
    return Recommender.load(folders[1] / "model")


@pytest.fixture(scope="module")
def client(folders):
    with TestClient(create_app(folders[1] / "model")) as client:
        yield client


def test_a_run_leaves_reports_and_a_model_behind(folders, reports):
    artifacts = folders[1]
    for name in NOTEBOOKS:
        assert (reports / f"{name}.ipynb").stat().st_size > 10_000
        assert "Takeaway" in (reports / f"{name}.html").read_text()
    assert (artifacts / "checkpoints" / "two_tower.pt").exists()
    assert (artifacts / "preprocessed").is_symlink(), "another run would overwrite the preprocessed data"
    assert current(artifacts) is not None


def test_the_reports_open_offline_and_describe_their_figures(reports, recommender):
    for name in NOTEBOOKS:
        page = check_page(reports / f"{name}.html")
        assert len(page.images) >= 1
        assert {"index.html", *(f"{other}.html" for other in NOTEBOOKS)} <= set(page.links)
        text = (reports / f"{name}.html").read_text()
        assert '<details class="code" open' in text, "the parameters are folded"
        assert not re.search(r"Takeaway\..{0,400}?\b(nan|inf|None)\b", text), "a takeaway without a number"
    assert "$$" not in (reports / "03_training.html").read_text(), "a formula that is not rendered"
    index = check_page(reports / "index.html")
    assert {f"{name}.html" for name in NOTEBOOKS} <= set(index.links)
    check_page(reports.parent / "index.html")
    manifest = json.loads((reports / "run.json").read_text())
    assert {"epochs", "MAP@12", "recall@100", "MAP@12, best baseline"} <= set(manifest["metrics"])
    # The report and the run's page open with the data and the result: the best baseline is that of the numbers.
    rankings = recommender.manifest["metrics"]["held_out_test"]["rankings"]
    rivals = {name: row["MAP@12"]["mean"] for name, row in rankings.items() if not name.startswith(("two-", "oracle"))}
    for name in ("04_evaluation", "index"):
        opening = (reports / f"{name}.html").read_text().partition("<img")[0]
        assert "Synthetic sample: 800 customers, 300 articles, 200 days" in opening
        assert f"baseline's {max(rivals.values()):.4f} (<em>{max(rivals, key=rivals.__getitem__)}</em>)" in opening
        assert f"{manifest['metrics']['MAP@12']:.4f}" in opening
    assert all(notebook["peak_gib"] > 0 for notebook in manifest["notebooks"])


WIDER = """() => [document.documentElement, ...document.querySelectorAll(".output, .figure, .formula")]
    .filter(node => node.scrollWidth > node.clientWidth + 1).map(node => node.innerText.slice(0, 80))"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt install chromium")
def test_nothing_is_wider_than_its_report(reports):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        report = chromium.new_page(viewport={"width": 1024, "height": 800})
        for name in NOTEBOOKS:
            report.goto((reports / f"{name}.html").as_uri())
            assert report.evaluate(WIDER) == [], name


def test_no_cell_warns_or_fails(reports):
    for name in NOTEBOOKS:
        for cell in nbformat.read(reports / f"{name}.ipynb", as_version=4).cells:
            for output in cell.get("outputs", []):
                assert output.output_type != "error"
                assert "Not shown" not in str(output), f"{name}: {output}"
                assert output.get("name") != "stderr", f"{name}: {output.text[:200]}"
                assert "Warning" not in output.get("text", ""), f"{name}: {output.text[:200]}"


def test_the_manifest_has_the_metrics_and_parameters_of_the_model(recommender):
    rankings = recommender.manifest["metrics"]["held_out_test"]["rankings"]
    assert rankings["two-tower"]["MAP@12"]["mean"] > rankings["popularity"]["MAP@12"]["mean"]
    assert rankings["oracle"]["MAP@12"]["mean"] > rankings["two-tower"]["MAP@12"]["mean"]
    parameters = recommender.manifest["parameters"]
    assert set(parameters) == {"preprocessing", "training", "evaluation"}
    assert parameters["preprocessing"]["val_days"] == 7
    for name in ("batch_size", "hidden_dims", "ensemble_size"):
        assert parameters["training"][name] == PARAMETERS[name]
    assert parameters["evaluation"] == {"seed": 42, "publish_if": "not worse"}


@pytest.mark.parametrize("page", ["README.md", "docs/service.md"])
def test_the_request_in_the_documentation_can_be_pasted(client, page):
    ((*_, body),) = (words for words in commands(ROOT / page) if words[0] == "curl")
    answer = client.post("/recommend", json=json.loads(body))
    assert answer.status_code == 200
    assert answer.json()["count"] == json.loads(body)["top_k"]


def test_the_documented_request_gets_the_documented_answer(client, recommender):
    customer_id = recommender.customer_ids[3].decode()
    response = client.post("/recommend", json={"customer_id": customer_id, "top_k": 10})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"customer_id", "recommendations", "count"}
    assert body["customer_id"] == customer_id
    assert body["count"] == len(body["recommendations"]) == 10
    assert [item["rank"] for item in body["recommendations"]] == list(range(1, 11))
    scores = [item["score"] for item in body["recommendations"]]
    assert scores == sorted(scores, reverse=True)
    for item in body["recommendations"]:
        assert set(item) == {"article_id", "score", "rank"}
        assert item["article_id"] in set(recommender.article_ids)
        assert len(item["article_id"]) == 10
    assert client.get("/ready").json()["version"] == recommender.version


def test_the_model_card_has_the_numbers_of_the_report(client, recommender):
    card = client.get("/model/card")
    assert card.headers["content-type"] == "text/markdown; charset=utf-8"
    assert (recommender.folder / "MODEL_CARD.md").read_text() == card.text
    for name, figures in recommender.manifest["metrics"]["held_out_test"]["rankings"].items():
        cells = [figures[column] for column in ("MAP@12", "recall@100")]
        texts = [f"{cell['mean']:.4f} [{cell['low']:.4f}, {cell['high']:.4f}]" for cell in cells]
        assert f"{name.strip('*')}{'**' if name == PUBLISHED else ''} | {' | '.join(texts)} |" in card.text
    assert "Synthetic sample" in card.text


def test_what_the_page_shows_is_published_with_the_model(client, folders, recommender):
    described = client.get("/model").json()
    assert described["trained_on"].startswith("Synthetic sample: ")
    assert (described["replay"], described["map"]) == (True, True)
    rankings = recommender.manifest["metrics"]["held_out_test"]["rankings"]
    assert set(described["metrics"]) == set(rankings)
    replay = client.get("/replay").json()
    assert described["tested_customers"] == replay["drawn_from"]
    assert replay["count"] == min(300, replay["drawn_from"])
    # The rankings are the evaluated ones: over all customers of the test, their precision is that of the table.
    if replay["count"] == replay["drawn_from"]:
        kept = recommender.replay["customers"]
        for name in replay["rankings"]:
            precision = np.mean([customer["average_precision"][name] for customer in kept])
            assert precision == pytest.approx(rankings[name]["MAP@12"]["mean"])
    log = Preprocessed.load(folders[1] / "preprocessed").log
    assert replay["first_day"] == log.date(log.last_day - 6)
    assert replay["last_day"] == described["data_until"] == log.date(log.last_day)
    _, ids, places, codes = unpacked(client.get("/map").content)
    assert ids == recommender.article_ids.tolist()
    # Neighbours on the map share an index group more often than by chance.
    nearest = np.argsort(np.linalg.norm(places[:, None] - places[None], axis=2), axis=1)[:, 1:6]
    chance = np.square(np.bincount(codes) / len(codes)).sum()
    assert (codes[nearest] == codes[:, None]).mean() > 1.3 * chance


def test_service_batch_command_and_library_give_one_ranking(client, recommender, folders, tmp_path):
    ids = [recommender.customer_ids[row].decode() for row in (0, 7, 400)]
    (tmp_path / "ids.txt").write_text("\n".join([*ids, "f" * 64]))
    options = ["--model", str(folders[1] / "model"), "--customers", str(tmp_path / "ids.txt")]
    outputs = ["--output", str(tmp_path / "recs.parquet"), "--submission", str(tmp_path / "s.csv")]
    for top_k in (20, 5):
        assert recommend.main([*options, *outputs, "--top-k", str(top_k)]) == 0
        table = pd.read_parquet(tmp_path / "recs.parquet")
        assert list(table.columns) == ["customer_id", "article_id", "rank", "score"]
        assert len(table) == 3 * top_k
        articles, scores = recommender.recommend(recommender.customers(recommender.customer_rows(ids)), top_k)
        submitted = (tmp_path / "s.csv").read_text().splitlines()[1:]
        for place, customer_id in enumerate(ids):
            rows = table[table["customer_id"].astype(str) == customer_id].sort_values("rank")
            served = client.post("/recommend", json={"customer_id": customer_id, "top_k": top_k}).json()
            found = rows["article_id"].astype(str).tolist()
            assert found == [item["article_id"] for item in served["recommendations"]]
            assert found == recommender.article_ids[articles[place]].tolist()
            np.testing.assert_allclose(rows["score"], [item["score"] for item in served["recommendations"]], rtol=1e-5)
            np.testing.assert_allclose(rows["score"], scores[place], rtol=1e-5)
            in_file, _, listed = submitted[place].partition(",")
            assert in_file == customer_id
            assert len(listed.split(" ")) == 12, "the submission has twelve articles, whatever top_k is"
            assert listed.split(" ")[:top_k] == found[:12]


def test_a_stored_history_and_the_same_one_sent_get_one_ranking_to_the_last_bit(client, recommender):
    silent = np.flatnonzero(np.diff(recommender.log.offsets) == 0)[:1]
    ids = [recommender.customer_ids[row].decode() for row in [*range(0, recommender.n_customers, 4), *silent]]
    answer = client.post("/recommend/batch", json={"customer_ids": [*ids, "f" * 64], "top_k": 12}).json()
    assert answer["unknown"] == ["f" * 64]
    assert answer["count"] == len(ids)
    with_purchases = 0
    for customer_id, in_batch in zip(ids, answer["results"], strict=True):
        stored = client.post("/recommend", json={"customer_id": customer_id, "top_k": 12}).json()
        assert stored == in_batch
        assert stored["count"] == 12
        known = client.get(f"/customers/{customer_id}").json()
        assert len(known["purchases"]) == min(known["count"], 200)
        if known["count"] > 100:  # more than a request may send
            continue
        with_purchases += known["count"] > 0
        history = [{name: bought[name] for name in ("article_id", "days_ago")} for bought in known["purchases"][::-1]]
        body = {"history": history, "customer": known["attributes"], "top_k": 12}
        assert client.post("/recommend", json=body).json() == stored | {"customer_id": None}
    assert 100 < with_purchases < len(ids), "with and without purchases"


def test_the_service_of_the_benchmark_gives_the_same_rankings(client, folders, recommender, monkeypatch):
    monkeypatch.setattr(usual_service, "folder", folders[1] / "model")
    with TestClient(usual_service.app) as usual:
        for row in range(0, recommender.n_customers, 40):
            body = {"customer_id": recommender.customer_ids[row].decode(), "top_k": 5}
            every = client.post("/recommend", json=body).json()["recommendations"]
            for excluded in ([], [every[0]["article_id"], every[3]["article_id"]]):
                answers = [one.post("/recommend", json=body | {"exclude_items": excluded}) for one in (usual, client)]
                rankings = [[item["article_id"] for item in answer.json()["recommendations"]] for answer in answers]
                assert rankings[0] == rankings[1]
                assert len(rankings[0]) == 5


def test_filters_reasons_diversity_visits_and_search_of_a_shop(client, recommender):
    customer_id = recommender.customer_ids[5].decode()

    def ask(**body):
        answer = client.post("/recommend", json={"customer_id": customer_id, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()["recommendations"]

    every = [item["article_id"] for item in ask(top_k=100)]
    dresses = ask(top_k=100, filters={"product_type": ["Dress"]}, include=["details", "reasons"])
    assert dresses
    assert {item["details"]["product_type"] for item in dresses} == {"Dress"}
    listed = [item["article_id"] for item in dresses]
    assert [article for article in every if article in listed] == [article for article in listed if article in every]
    assert any(item["reasons"] for item in dresses)
    assert ask(filters={"product_type": ["no such type"]}) == []
    bought = {item["article_id"] for item in client.get(f"/customers/{customer_id}").json()["purchases"]}
    assert bought & set(every)
    assert not bought & {item["article_id"] for item in ask(top_k=100, exclude_purchased=True)}
    assert [item["article_id"] for item in ask(top_k=10, diversity=0.9)] != every[:10]
    clicked = ask(top_k=10, history=[every[3]])
    assert every[3] not in [item["article_id"] for item in clicked]
    similar = client.get(f"/articles/{every[0]}/similar?top_k=5").json()
    assert similar["count"] == 5
    found = client.get("/articles?q=dre&limit=3").json()
    assert 0 < found["count"] <= 3
    assert client.get("/articles/0000000000").status_code == 404
    assert "Dress" in client.get("/filters").json()["filters"]["product_type"]


def newer_tables(data: Path, folder: Path) -> Path:
    """The tables a day later: a new customer buys a new article and an old one."""
    folder.mkdir()
    articles = pd.read_csv(data / "articles.csv", dtype=str, keep_default_na=False)
    customers = pd.read_csv(data / "customers.csv", dtype=str, keep_default_na=False)
    log = pd.read_csv(data / "transactions_train.csv", dtype=str)
    new_article = articles.iloc[[0]].assign(article_id="0999999001", product_code="0999999", prod_name="New")
    new_customer = customers.iloc[[0]].assign(customer_id="f" * 64)
    day = str(np.datetime64(log["t_dat"].max()) + 1)
    bought = log.iloc[:2].assign(t_dat=day, customer_id="f" * 64, article_id=["0999999001", log["article_id"][0]])
    for name, table in {
        "articles": pd.concat([articles, new_article]),
        "customers": pd.concat([customers, new_customer]),
        "transactions_train": pd.concat([log, bought]),
    }.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_newer_purchases_enter_the_published_model_without_a_training(folders, tmp_path, capsys):
    data, artifacts = folders[0], tmp_path / "artifacts"
    shutil.copytree(folders[1], artifacts, symlinks=True)
    old = Recommender.load(artifacts / "model")
    newer = newer_tables(data, tmp_path / "newer")
    assert update.main(["--data-dir", str(newer), "--artifacts-dir", str(artifacts)]) == 0
    new = Recommender.load(artifacts / "model")
    assert new.folder.name != new.manifest["data"]["parent"] == old.folder.name
    assert (new.folder / "checkpoint.pt").read_bytes() == (old.folder / "checkpoint.pt").read_bytes()
    assert old.folder.name in (new.folder / "MODEL_CARD.md").read_text()
    whole = preprocess(read_raw(newer), tmp_path / "whole").log
    for name in ("offsets", "article", "day", "price", "channel"):
        assert (getattr(new.log, name) == getattr(whole, name)).all(), name
    assert (new.n_customers, len(new.article_ids)) == (old.n_customers + 1, len(old.article_ids) + 1)
    (row,) = new.customer_rows(["f" * 64])
    ranked, _ = new.recommend(new.customers(np.array([row])), 100)
    assert new.catalogue.rows(["0999999001"])[0] in ranked
    # An older log, and one without articles of before, are refused, and the published model stays.
    assert update.main(["--data-dir", str(data), "--artifacts-dir", str(artifacts)]) == 1
    articles = pd.read_csv(newer / "articles.csv", dtype=str, keep_default_na=False)
    articles.iloc[len(articles) // 2 :].to_csv(newer / "articles.csv", index=False)
    assert update.main(["--data-dir", str(newer), "--artifacts-dir", str(artifacts)]) == 1
    assert current(artifacts) == new.folder
    assert "newer purchases" in capsys.readouterr().err
    # A model of before the ranking was recorded, and none at all.
    older = {name: value for name, value in new.manifest["metrics"].items() if name != "ranking"}
    point_link(artifacts / "model", reseal(new.folder, metrics=older))
    (artifacts / "nothing").mkdir()
    for folder, said in (
        (artifacts, "older version of this program"),
        (artifacts / "nothing", "no model is published"),
    ):
        assert update.main(["--data-dir", str(newer), "--artifacts-dir", str(folder)]) == 1
        assert said in capsys.readouterr().err


def test_the_notebook_of_an_update_publishes_too(folders, tmp_path, monkeypatch):
    artifacts = tmp_path / "artifacts"
    shutil.copytree(folders[1], artifacts, symlinks=True)
    old = Recommender.load(artifacts / "model")
    newer = newer_tables(folders[0], tmp_path / "newer")
    assert run_cells("update", {"data_dir": str(newer), "artifacts_dir": str(artifacts)}, monkeypatch) == []
    assert Recommender.load(artifacts / "model").manifest["data"]["parent"] == old.version


def test_an_update_may_train_from_the_published_weights(folders, tmp_path):
    artifacts = tmp_path / "artifacts"
    shutil.copytree(folders[1], artifacts, symlinks=True)
    old = load_checkpoint(artifacts / "model" / "checkpoint.pt").state_dict()
    newer = newer_tables(folders[0], tmp_path / "newer")
    assert update.main(["--data-dir", str(newer), "--artifacts-dir", str(artifacts), "--epochs", "1"]) == 0
    new = load_checkpoint(artifacts / "model" / "checkpoint.pt").state_dict()
    name = "item_tower.towers.0.skip.weight"
    moved = (new[name] - old[name]).norm() / old[name].norm()
    assert 0 < moved < 0.5, "from random weights it would be about the square root of 2"


def test_the_submission_has_every_customer_and_twelve_articles(recommender, folders, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "CHUNK", 7)  # many chunks, from several threads
    path = tmp_path / "submission.csv.gz"
    assert recommend.main(["--model", str(folders[1] / "model"), "--submission", str(path)]) == 0
    with gzip.open(path, "rt") as file:
        lines = file.read().splitlines()
    assert lines[0] == "customer_id,prediction"
    customer_ids, predictions = zip(*(line.split(",") for line in lines[1:]), strict=True)
    assert list(customer_ids) == [customer_id.decode() for customer_id in recommender.customer_ids]
    articles, _ = recommender.recommend(recommender.customers(np.arange(recommender.n_customers)), 12)
    assert list(predictions) == [" ".join(ids) for ids in recommender.article_ids[articles]]


def test_the_benchmarks_of_a_published_model_write_their_numbers(recommender, folders, tmp_path, capsys):
    model, results = folders[1] / "model", tmp_path / "recommending.json"
    assert recommending.main(["--model", str(model), "--customers", "60", "--json", str(results)]) == 0
    run = json.loads(results.read_text())["run"]
    assert (run["customers"], run["model"]) == (60, recommender.version)
    assert run["customers/s"] == pytest.approx(60 / run["seconds"])
    few = ["--queries", "40", "--repeats", "1", "--json", str(tmp_path / "s.json")]
    assert search.main(["--model", str(model), *few]) == 0
    assert json.loads((tmp_path / "s.json").read_text())
    few = ["--reloads", "2", "--requests", "160", "--seconds", "1", "--json", str(tmp_path / "soak.json")]
    assert soak.main(["--model", str(model), *few]) == 0
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["reloads"]["reloads"] == 2
    assert found["reloads"]["answers of version 1"] > 0 < found["reloads"]["answers of version 2"]
    assert "answers of no version" not in found["reloads"]
    assert found["killed"]["workers afterwards"] == 2
    assert found["killed"]["broken longer than a second after the kill"] == 0 < found["killed"]["status 200"]
    assert found["odd"]["server errors"] == 0 < found["odd"]["status 422"]
    assert recommending.main(["--model", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err


def test_the_batch_command_reports_its_errors(folders, tmp_path, capsys):
    model = str(folders[1] / "model")
    assert recommend.main(["--model", str(tmp_path / "none"), "--output", str(tmp_path / "o.parquet")]) == 1
    assert "no model is published here" in capsys.readouterr().err
    (tmp_path / "ids.txt").write_text("nobody\n")
    arguments = ["--model", model, "--customers", str(tmp_path / "ids.txt"), "--output", str(tmp_path / "o.parquet")]
    assert recommend.main(arguments) == 1
    assert not (tmp_path / "o.parquet").exists()


def test_the_served_vectors_are_the_trained_ones(recommender, folders):
    _, artifacts = folders
    data = Preprocessed.load(artifacts / "preprocessed")
    checkpoint = (artifacts / "checkpoints" / "two_tower.pt").resolve().with_name("refit.pt")
    as_of = data.log.last_day + 1
    prices = mean_prices(data.log, as_of)
    encoders = type(data.training.encoders).fit(data.articles, data.customers, data.log, as_of, prices)
    snapshot = Snapshot.take(
        load_checkpoint(checkpoint),
        encoders.encode_articles(data.articles, prices),
        CatalogueState(data.log).as_of(as_of),
        encoders.encode_customers(data.customers),
        data.log,
        as_of,
        read_checkpoint(checkpoint)["settings"]["history_length"],
    )
    rows = np.arange(recommender.n_customers, dtype=np.int32)
    everybody, scoring = recommender.customers(rows), recommender._content.scoring
    queries = snapshot.queries(rows, snapshot.scorer(scoring))
    np.testing.assert_allclose(recommender.queries(everybody), queries, atol=1e-5)
    np.testing.assert_array_equal(recommender.vectors(everybody), recommender.encoded(everybody))
    articles, _ = recommender.recommend(everybody, 10)
    assert (articles == snapshot.rank(rows, 10, scoring)).mean() > 0.999


def test_a_checkpoint_of_other_preprocessed_data_is_refused_and_the_published_model_stays(folders, tmp_path):
    data, artifacts = folders
    shorter = preprocess(read_raw(data), tmp_path / "shorter", val_days=2, test_days=2, train_weeks=8)
    checkpoint = artifacts / "checkpoints" / "two_tower.pt"
    with pytest.raises(CheckpointError, match="run notebook 03_training again"):
        refit(shorter, checkpoint, tmp_path / "refit.pt")
    before = current(artifacts)
    result = pipeline.run({"preprocessed_dir": str(tmp_path / "shorter")}, data, artifacts, only="04_evaluation")
    assert result.status == "failed"
    assert result.error is not None
    assert "run notebook 03_training again" in result.error["message"]
    assert result.error["notebook"] == "04_evaluation"
    assert "user_tower" in result.error["source"], "the evaluation ran first"
    assert current(artifacts) == before
    Recommender.load(artifacts / "model")


def test_a_model_that_cannot_be_opened_is_a_bundle_error(folders, monkeypatch):
    for error in (RuntimeError("size mismatch"), TypeError("no such setting")):

        def fail(path, error=error):
            raise error

        monkeypatch.setattr("hm_utils.serving.model_folder.read_checkpoint", fail)
        with pytest.raises(BundleError, match=str(error)):
            Recommender.load(folders[1] / "model")


def test_an_altered_file_is_named_and_not_served(folders, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree((folders[1] / "model").resolve(), copy)
    path = copy / "attributes.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"attributes\.npy was altered"):
        Recommender.load(copy)
    with TestClient(create_app(copy)) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        assert "attributes.npy" in client.get("/ready").json()["detail"]
