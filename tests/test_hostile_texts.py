"""Markup in every text of the data: in the reports nothing of it runs, and nothing of it vanishes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hm_utils.data.raw_columns import ARTICLE_COLUMNS, CUSTOMER_COLUMNS, POSTAL_CODE, Kind
from hm_utils.pipeline import __main__ as pipeline
from tests.helpers.html_checks import check_page
from tests.helpers.notebooks import NAMES
from tests.helpers.raw_files import raw_frames, write

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt install chromium"),
]

HOSTILE = '<script>window.hit=1</script><img src=x onerror="window.hit=1"> *bold* [a](javascript:hit()) $5-$10 <Tee>'
TEXTS = {
    "articles": [name for name, kind in ARTICLE_COLUMNS.items() if kind in (Kind.TEXT, Kind.CATEGORY)],
    "customers": [name for name, kind in CUSTOMER_COLUMNS.items() if kind is Kind.CATEGORY and name != POSTAL_CODE],
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    tables = raw_frames(rows=2_000)
    for table, columns in TEXTS.items():
        for column in columns:
            values = tables[table][column]
            tables[table][column] = values.where(tables[table].index % 3 > 0, f"{column} {HOSTILE}")
    tables["articles"][HOSTILE] = "a column of that name"
    for row, column in enumerate(("age", "FN", "Active", "customer_id")):
        tables["customers"].loc[row, column] = HOSTILE
    for row in range(tables["transactions_train"].shape[1]):
        tables["transactions_train"].iloc[row, row] = HOSTILE
    parameters = {"num_epochs": 1, "batch_size": 64, "hidden_dims": [16], "device": "cpu"}
    result = pipeline.run(parameters, write(folder / "raw", tables), folder / "artifacts")
    assert result.status == "done", result.error
    return result.run_dir


def test_nothing_runs_and_nothing_vanishes(reports: Path) -> None:
    texts = {}
    with sync_api.sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM).new_page()
        for name in NAMES:
            check_page(reports / f"{name}.html")
            page.goto((reports / f"{name}.html").as_uri())
            page.wait_for_timeout(200)
            assert page.evaluate("window.hit") is None, name
            assert page.evaluate("document.querySelectorAll('tee, main img[src=x], main script').length") == 0, name
            texts[name] = page.evaluate("document.querySelector('main').innerText")
            assert "Not shown" not in texts[name]
            # The policy stops also what would get through.
            page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit=1\">')")
            page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'hit=1'}))")
            page.wait_for_timeout(200)
            assert page.evaluate("window.hit") is None, f"{name} has no policy"
            assert page.evaluate("getComputedStyle(document.querySelector('main')).display") != "inline", "no style"
            page.click("#theme")
            assert page.evaluate("document.documentElement.dataset.theme"), "the page's own script does not run"
    assert f"index_group_name {HOSTILE} makes" in texts["01_eda"], "in a takeaway"
    for name in ("01_eda", "02_preprocessing"):
        assert HOSTILE[:40] in texts[name], f"{name}: the examples of broken rules"
    for column in ("prod_name", "colour_group_name"):
        assert f"{column} {HOSTILE}" in texts["02_preprocessing"]
        assert f"{column} {HOSTILE}"[:40] in texts["04_evaluation"]
    assert f"prod_name {HOSTILE}"[:40] in texts["03_training"]
