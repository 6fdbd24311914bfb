"""Raw CSVs to answers: the four notebooks on a tiny sample, then every way of asking the model they publish."""

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
from hm_utils import recommend
from hm_utils.data.features import CatalogueState, mean_prices
from hm_utils.data.preprocessing import Preprocessed, preprocess
from hm_utils.data.raw import read_raw
from hm_utils.model.checkpoint import CheckpointError, load_checkpoint, read_checkpoint
from hm_utils.model.snapshot import Snapshot
from hm_utils.pipeline import __main__ as pipeline
from hm_utils.sample import write_sample
from hm_utils.serving.bundle import BundleError, current
from hm_utils.serving.recommender import Recommender
from hm_utils.training.refit import refit
from tests.helpers.html_checks import check_page
from tests.serving.test_article_map import unpacked

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
def recommender(folders) -> Recommender:
    return Recommender.load(folders[1] / "model")


@pytest.fixture(scope="module")
def client(folders):
    with TestClient(create_app(folders[1] / "model")) as client:
        yield client


def test_a_run_leaves_reports_and_a_model_behind(folders):
    _, artifacts = folders
    (run,) = (artifacts / "runs").glob("*/")
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["status"] == "done"
    for name in NOTEBOOKS:
        assert (run / f"{name}.ipynb").stat().st_size > 10_000
        assert "Takeaway" in (run / f"{name}.html").read_text()
    assert (artifacts / "checkpoints" / "two_tower.pt").exists()
    assert (artifacts / "preprocessed").is_symlink(), "another run would overwrite what this one preprocessed"
    assert current(artifacts) is not None


def test_the_reports_open_offline_and_say_in_words_what_they_show(folders):
    (run,) = (folders[1] / "runs").glob("*/")
    for name in NOTEBOOKS:
        page = check_page(run / f"{name}.html")
        assert len(page.images) >= 1
        assert {"index.html", *(f"{other}.html" for other in NOTEBOOKS)} <= set(page.links)
        text = (run / f"{name}.html").read_text()
        assert '<details class="code" open' in text, "the parameters are folded"
        assert not re.search(r"Takeaway\..{0,400}?\b(nan|inf|None)\b", text), "a takeaway without a number"
    for formulas in ("03_training",):
        assert "$$" not in (run / f"{formulas}.html").read_text(), "a formula that nobody renders"
    index = check_page(run / "index.html")
    assert {f"{name}.html" for name in NOTEBOOKS} <= set(index.links)
    check_page(run.parent / "index.html")
    manifest = json.loads((run / "run.json").read_text())
    assert {"epochs", "MAP@12", "recall@100", "MAP@12, best baseline"} <= set(manifest["metrics"])
    assert f"{manifest['metrics']['MAP@12']:.4f}" in (run / "index.html").read_text()
    assert all(notebook["peak_gib"] > 0 for notebook in manifest["notebooks"])


WIDER = """() => [document.documentElement, ...document.querySelectorAll(".output, .figure, .formula")]
    .filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.innerText.slice(0, 80))"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt install chromium")
def test_nothing_is_wider_than_its_report(folders):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    (run,) = (folders[1] / "runs").glob("*/")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        report = chromium.new_page(viewport={"width": 1024, "height": 800})
        for name in NOTEBOOKS:
            report.goto((run / f"{name}.html").as_uri())
            assert report.evaluate(WIDER) == [], name


def test_no_cell_warns_or_fails(folders):
    (run,) = (folders[1] / "runs").glob("*/")
    for name in NOTEBOOKS:
        for cell in nbformat.read(run / f"{name}.ipynb", as_version=4).cells:
            for output in cell.get("outputs", []):
                assert output.output_type != "error"
                assert output.get("name") != "stderr", f"{name}: {output.text[:200]}"
                assert "Warning" not in output.get("text", ""), f"{name}: {output.text[:200]}"


def test_the_manifest_tells_how_good_the_model_is_and_what_made_it(recommender):
    rankings = recommender.manifest["metrics"]["held_out_test"]["rankings"]
    assert rankings["two-tower"]["MAP@12"]["mean"] > rankings["popularity"]["MAP@12"]["mean"]
    assert rankings["oracle"]["MAP@12"]["mean"] > rankings["two-tower"]["MAP@12"]["mean"]
    parameters = recommender.manifest["parameters"]
    assert set(parameters) == {"preprocessing", "training", "evaluation"}
    assert parameters["preprocessing"]["val_days"] == 7
    assert parameters["training"]["batch_size"] == PARAMETERS["batch_size"]
    assert parameters["training"]["hidden_dims"] == PARAMETERS["hidden_dims"]
    assert parameters["training"]["ensemble_size"] == PARAMETERS["ensemble_size"]
    assert parameters["evaluation"] == {"seed": 42}


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


@pytest.mark.parametrize("top_k", [0, 101, "ten"])
def test_a_wrong_top_k_is_named(client, recommender, top_k):
    body = {"customer_id": recommender.customer_ids[0].decode(), "top_k": top_k}
    response = client.post("/recommend", json=body)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "top_k"]


def test_an_unknown_customer_is_404(client):
    assert client.post("/recommend", json={"customer_id": "f" * 64}).status_code == 404


def test_a_customer_without_purchases_is_answered(client, folders, recommender):
    log = Preprocessed.load(folders[1] / "preprocessed").log
    silent = np.flatnonzero(np.diff(log.offsets) == 0)
    assert len(silent)
    customer_id = recommender.customer_ids[silent[0]].decode()
    assert client.post("/recommend", json={"customer_id": customer_id}).json()["count"] == 10


def test_what_the_page_shows_is_published_with_the_model(client, folders, recommender):
    described = client.get("/model").json()
    assert (described["replay"], described["map"]) == (True, True)
    rankings = recommender.manifest["metrics"]["held_out_test"]["rankings"]
    assert set(described["metrics"]) == set(rankings)
    replay = client.get("/replay").json()
    assert described["tested_customers"] == replay["drawn_from"]
    assert replay["count"] == min(300, replay["drawn_from"])
    # The lists are those that were evaluated: over all customers of the test, their precision is the table's.
    if replay["count"] == replay["drawn_from"]:
        kept = recommender.replay["customers"]
        for name in replay["rankings"]:
            precision = np.mean([one["average_precision"][name] for one in kept])
            assert precision == pytest.approx(rankings[name]["MAP@12"]["mean"])
    log = Preprocessed.load(folders[1] / "preprocessed").log
    assert replay["first_day"] == log.date(log.last_day - 6)
    assert replay["last_day"] == described["data_until"] == log.date(log.last_day)
    _, ids, places, codes = unpacked(client.get("/map").content)
    assert ids == recommender.article_ids.tolist()
    # Of one index group are more neighbours on the map than chance would bring.
    nearest = np.argsort(np.linalg.norm(places[:, None] - places[None], axis=2), axis=1)[:, 1:6]
    chance = np.square(np.bincount(codes) / len(codes)).sum()
    assert (codes[nearest] == codes[:, None]).mean() > 1.3 * chance


def test_excluded_articles_are_replaced_by_the_next_best(client, recommender):
    customer_id = recommender.customer_ids[5].decode()

    def ask(**more):
        answer = client.post("/recommend", json={"customer_id": customer_id, **more}).json()
        return [item["article_id"] for item in answer["recommendations"]]

    longer = ask(top_k=13)
    excluded = [longer[0], longer[4], longer[9], "9999999999"]
    assert ask(top_k=10, exclude_items=excluded) == [article for article in longer if article not in excluded][:10]


def test_service_batch_command_and_library_give_one_list(client, recommender, folders, tmp_path):
    model = str(folders[1] / "model")
    ids = [recommender.customer_ids[row].decode() for row in (0, 7, 400)]
    (tmp_path / "ids.txt").write_text("\n".join([*ids, "f" * 64]))
    output = tmp_path / "recs.parquet"
    options = ["--model", model, "--customers", str(tmp_path / "ids.txt"), "--top-k", "20", "--output", str(output)]
    assert recommend.main(options) == 0
    table = pd.read_parquet(output)
    assert list(table.columns) == ["customer_id", "article_id", "rank", "score"]
    assert len(table) == 60
    rows = recommender.customer_rows(ids)
    articles, scores = recommender.recommend(recommender.customers(rows), 20)
    for place, customer_id in enumerate(ids):
        batch = table[table["customer_id"].astype(str) == customer_id].sort_values("rank")
        served = client.post("/recommend", json={"customer_id": customer_id, "top_k": 20}).json()["recommendations"]
        assert batch["article_id"].astype(str).tolist() == [item["article_id"] for item in served]
        assert batch["article_id"].astype(str).tolist() == recommender.article_ids[articles[place]].tolist()
        np.testing.assert_allclose(batch["score"], [item["score"] for item in served], rtol=1e-5)
        np.testing.assert_allclose(batch["score"], scores[place], rtol=1e-5)


def test_a_stored_history_and_the_same_one_sent_get_one_list_to_the_last_bit(client, recommender):
    ids = [customer_id.decode() for customer_id in recommender.customer_ids[::4]]
    batch = client.post("/recommend/batch", json={"customer_ids": [*ids, "f" * 64], "top_k": 12}).json()
    assert batch["unknown"] == ["f" * 64]
    assert batch["count"] == len(ids)
    with_purchases = 0
    for customer_id, in_batch in zip(ids, batch["results"], strict=True):
        stored = client.post("/recommend", json={"customer_id": customer_id, "top_k": 12}).json()
        assert stored == in_batch
        known = client.get(f"/customers/{customer_id}").json()
        assert len(known["purchases"]) == min(known["count"], 200)
        with_purchases += known["count"] > 0
        history = [{name: bought[name] for name in ("article_id", "days_ago")} for bought in known["purchases"][::-1]]
        body = {"history": history[-100:], "customer": known["attributes"], "top_k": 12}
        assert client.post("/recommend", json=body).json() == stored | {"customer_id": None}
    assert with_purchases > 100


def test_the_service_of_the_benchmark_gives_the_same_lists(client, folders, recommender, monkeypatch):
    monkeypatch.setattr(usual_service, "folder", folders[1] / "model")
    with TestClient(usual_service.app) as usual:
        for row in range(0, recommender.n_customers, 40):
            body = {"customer_id": recommender.customer_ids[row].decode(), "top_k": 5}
            every = client.post("/recommend", json=body).json()["recommendations"]
            for excluded in ([], [every[0]["article_id"], every[3]["article_id"]]):
                answers = [each.post("/recommend", json=body | {"exclude_items": excluded}) for each in (usual, client)]
                lists = [[item["article_id"] for item in answer.json()["recommendations"]] for answer in answers]
                assert lists[0] == lists[1]
                assert len(lists[0]) == 5


def test_what_a_shop_asks_for_every_minute(client, recommender):
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


def test_top_k_is_the_tables_and_the_submission_has_twelve_all_the_same(folders, recommender, tmp_path):
    ids = [recommender.customer_ids[row].decode() for row in (0, 7)]
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    options = ["--model", str(folders[1] / "model"), "--customers", str(tmp_path / "ids.txt"), "--top-k", "5"]
    outputs = ["--output", str(tmp_path / "recs.parquet"), "--submission", str(tmp_path / "s.csv")]
    assert recommend.main([*options, *outputs]) == 0
    table = pd.read_parquet(tmp_path / "recs.parquet")
    assert table["customer_id"].value_counts().tolist() == [5, 5]
    lines = (tmp_path / "s.csv").read_text().splitlines()[1:]
    for line, customer_id in zip(lines, ids, strict=True):
        listed = line.partition(",")[2].split(" ")
        assert len(listed) == 12
        assert table[table["customer_id"] == customer_id]["article_id"].tolist() == listed[:5]


def test_the_submission_has_every_customer_and_twelve_articles(recommender, folders, tmp_path, monkeypatch):
    monkeypatch.setattr(recommend, "CHUNK", 7)  # many chunks, from several threads
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
    assert (
        search.main(["--model", str(model), "--queries", "40", "--repeats", "1", "--json", str(tmp_path / "s.json")])
        == 0
    )
    assert json.loads((tmp_path / "s.json").read_text())
    few = ["--reloads", "2", "--requests", "160", "--seconds", "2", "--json", str(tmp_path / "soak.json")]
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


def test_the_batch_command_says_what_is_wrong(folders, tmp_path, capsys):
    model = str(folders[1] / "model")
    assert recommend.main(["--model", str(tmp_path / "none"), "--output", str(tmp_path / "o")]) == 1
    assert "no model is published here" in capsys.readouterr().err
    (tmp_path / "ids.txt").write_text("nobody\n")
    arguments = ["--model", model, "--customers", str(tmp_path / "ids.txt"), "--output", str(tmp_path / "o")]
    assert recommend.main(arguments) == 1
    assert not (tmp_path / "o").exists()


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
    np.testing.assert_allclose(recommender.encoded_queries(everybody), queries, atol=1e-5)
    np.testing.assert_array_equal(recommender.queries(everybody), recommender.encoded_queries(everybody))
    articles, _ = recommender.recommend(everybody, 10)
    assert (articles == snapshot.rank(rows, 10, scoring)).mean() > 0.999


def test_a_checkpoint_of_other_preprocessed_data_is_not_evaluated(folders, tmp_path):
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
    assert "read_checkpoint(" in result.error["source"], "found out after the evaluation"
    assert current(artifacts) == before


def test_a_model_that_cannot_be_opened_is_a_bundle_error(folders, monkeypatch):
    for error in (RuntimeError("size mismatch"), TypeError("no such setting")):

        def fail(path, error=error):
            raise error

        monkeypatch.setattr("hm_utils.serving.model_folder.load_checkpoint", fail)
        with pytest.raises(BundleError, match=str(error)):
            Recommender.load(folders[1] / "model")


def test_an_altered_file_is_named_and_not_served(folders, tmp_path):
    import shutil

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


def test_a_failing_run_leaves_the_published_model_as_it_was(folders, tmp_path):
    data, artifacts = folders
    before = current(artifacts)
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no checkpoint")
    result = pipeline.run({"checkpoint_path": str(broken)}, data, artifacts, only="04_evaluation")
    assert result.status == "failed"
    assert result.error is not None
    assert result.error["notebook"] == "04_evaluation"
    assert "not a readable checkpoint" in json.dumps(result.error)
    assert current(artifacts) == before
    Recommender.load(artifacts / "model")
