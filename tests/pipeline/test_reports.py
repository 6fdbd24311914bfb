"""The pages of a run: a report of each notebook, the run, and all runs compared."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from hm_utils.pipeline import reports
from hm_utils.pipeline.notebook_facts import RECORD, record
from tests.helpers.figures import DARK, contrast
from tests.helpers.html_checks import check_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FORMULA = new_markdown_cell("$$s = \\frac{1}{2}$$")


def write(path: Path, *cells: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Title & more"), *cells]), path)
    return path


def write_run(folder: Path, run_id: str, started: str, **facts: Any) -> Path:
    run = {
        "run_id": run_id, "started": started, "status": "done", "seconds": 75.2, "error": None, "published": None,
        "parameters": {}, "effective": {"num_epochs": 20}, "metrics": {}, "environment": {"versions": {"torch": "2"}},
        "notebooks": [{"name": "01_a", "status": "done", "seconds": 3.0, "html": None, "peak_gib": 1.2}],
    }  # fmt: skip
    (folder / run_id).mkdir(parents=True)
    (folder / run_id / "run.json").write_text(json.dumps(run | facts))
    return folder / run_id


def test_code_is_folded_and_parameters_are_not(tmp_path: Path) -> None:
    cells = [
        new_code_cell("n = 1  # how many", metadata={"tags": ["parameters"]}),
        new_code_cell("n = 5", metadata={"tags": ["injected-parameters"]}),
        new_markdown_cell("## First\n\nText.\n\n### Below\n\nMore."),
        new_code_cell("x = n < 2"),
    ]
    notebook = write(tmp_path / "01_a.ipynb", *cells)
    (tmp_path / "index.html").touch()
    assert reports.write_report(notebook, ["01_a"])
    text = notebook.with_suffix(".html").read_text()
    assert text.count('<details class="code" open') == 2
    assert text.count('<details class="code">') == 1
    page = check_page(notebook.with_suffix(".html"))
    assert [link for link in page.links if link.startswith("#")][:2] == ["#First", "#Below"]
    assert "<title>Title &amp; more</title>" in text
    assert not list(tmp_path.glob(".*"))


def test_a_formula_is_inside_the_page(tmp_path: Path) -> None:
    notebook = write(tmp_path / "01_a.ipynb", new_markdown_cell("So:\n\n$$s = \\frac{1}{2}\\,\\log p_i$$\n\nand on."))
    (tmp_path / "index.html").touch()
    assert reports.write_report(notebook)
    (image,) = check_page(notebook.with_suffix(".html")).images
    assert image["alt"] == "s = \\frac{1}{2}\\,\\log p_i"
    assert str(image["src"]).startswith("data:image/svg+xml")


def test_a_report_and_the_page_of_its_run_begin_with_the_data_and_the_result(tmp_path: Path) -> None:
    data = new_output("display_data", {RECORD: [["data", "Synthetic <sample>: 5 days"]], "text/plain": "to Jupyter"})
    sentence = new_output("display_data", {"text/markdown": "It is *better*."})
    cells = [
        new_markdown_cell("## First"),
        new_code_cell("record_data()", outputs=[data]),
        new_code_cell("say()", outputs=[sentence], metadata={"tags": [reports.RESULT]}),
    ]
    run = {"name": "01_a", "status": "done", "seconds": 1.0, "notebook": "01_a.ipynb", "html": "01_a.html"}
    here = write_run(tmp_path, "a", "2026-01-01T10:00:00+00:00", notebooks=[run], data="Synthetic <sample>: 5 days")
    assert reports.write_report(write(here / "01_a.ipynb", *cells))
    reports.write_indexes(here)
    for page in ("01_a.html", "index.html"):
        text = (here / page).read_text()
        assert "Synthetic &lt;sample&gt;: 5 days" in text
        assert text.count("It is <em>better</em>.") == 1
        after = "<h2>Reports" if page == "index.html" else 'id="First"'
        assert text.index("It is <em>better</em>.") < text.index(after)
        assert "to Jupyter" not in text
        assert ("Code</summary>" in text) is (page == "01_a.html")
    assert "Synthetic &lt;sample&gt;: 5 days" in (tmp_path / "index.html").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is missing: apt install chromium")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM)


def test_the_table_of_runs_fits_and_sorts(browser: Any, tmp_path: Path) -> None:
    for day, score in enumerate((0.02, 0.04, 0.03, None), start=1):
        metrics: dict[str, Any] = {
            f"{name}{suffix}": score for name in ("MAP@12", "recall@100") for suffix in ("", ", best baseline")
        }
        metrics |= {"epochs": day, "validation recall@100": score, "best baseline": "repurchase, item-item, popularity"}
        effective = {"num_epochs": day, "learning_rate": day / 1000, "hidden_dims": [128, day]}
        facts = {"metrics": metrics if score else {}, "effective": effective, "published": f"models/{day:040}"}
        here = write_run(tmp_path, f"2026010{day}-101010-abcdef", f"2026-01-0{day}T10:00:00+00:00", **facts)
    reports.write_indexes(here)
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto((tmp_path / "index.html").as_uri())
    assert (
        page.locator("img").get_attribute("alt")
        == "Figure: the metrics of the runs. MAP@12 of 3 runs is from 0.0200 to 0.0400."
    )
    assert page.locator(".wide").count() == 0, "the table is cut"
    assert page.locator("thead th").all_inner_texts()[:3] == ["run", "MAP@12", "recall@100"]

    def order(heading: str) -> list[str]:
        page.locator("th button", has_text=heading).first.click()
        return [
            link.split("/")[0][6:8]
            for link in page.locator("tbody a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        ]

    assert order("MAP@12") == ["02", "03", "01", "04"]
    assert page.locator("th[aria-sort=descending]").inner_text() == "MAP@12"
    assert order("MAP@12") == ["01", "03", "02", "04"], "a run without the metric is last in both orders"
    assert order("num_epochs") == ["04", "03", "02", "01"]
    page.set_viewport_size({"width": 390, "height": 800})
    for text in ("0.0400", "[128, 2]", "published"):
        box = page.locator("tbody tr", has_text="2026-01-02").get_by_text(text).first.bounding_box()
        assert box["x"] + box["width"] <= 390, f"{text} is outside a phone's screen"


def test_what_a_phone_cuts_has_a_hint_and_formulas_are_light_on_dark(browser: Any, tmp_path: Path) -> None:
    table = new_output("execute_result", {"text/html": f"<table><td>{'wide' * 300}</td></table>"}, execution_count=1)
    narrow = new_output("execute_result", {"text/html": "<table><td>narrow</td></table>"}, execution_count=1)
    cells = [new_code_cell("1", outputs=[table]), new_code_cell("2", outputs=[narrow])]
    notebook = write(tmp_path / "01_a.ipynb", FORMULA, *cells)
    assert reports.write_report(notebook)
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    page.goto(notebook.with_suffix(".html").as_uri())
    assert page.locator(".output").evaluate_all("all => all.map(box => getComputedStyle(box, '::before').content)") == [
        '"Scroll sideways →"', "none",
    ]  # fmt: skip
    pixels = page.locator(".formula img").screenshot()
    colours = np.asarray(Image.open(BytesIO(pixels)).convert("RGB")).reshape(-1, 3) / 255
    contrasts = [contrast(colour, DARK) for colour in np.unique(colours, axis=0)]
    assert max(contrasts) > 7, "the formula cannot be read"
    assert min(contrasts) < 1.1, "a box around the formula"


def test_a_broken_notebook_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "01_a.ipynb").write_text("{}")
    with caplog.at_level(logging.WARNING):
        assert not reports.write_report(tmp_path / "01_a.ipynb")
        assert reports.recorded(tmp_path / "01_a.ipynb") == {}
    assert "no HTML of 01_a.ipynb" in caplog.text


def test_recorded_values_keep_their_order_and_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    record({"recall": 0.5, "MAP": 0.1, "best": "repurchase"})
    output = new_output("display_data", shown[0])
    notebook = write(tmp_path / "01_a.ipynb", new_code_cell("record()", outputs=[output]))
    assert list(reports.recorded(notebook).items()) == [("recall", 0.5), ("MAP", 0.1), ("best", "repurchase")]
    assert reports.write_report(notebook)
    text = notebook.with_suffix(".html").read_text()
    assert "repurchase" not in text
    assert RECORD not in text
    assert '<div class="output"' not in text, "an empty box in its place"


def test_runs_side_by_side(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_run(runs, "a", "2026-01-01T10:00:00+00:00", effective={"num_epochs": 20, "seed": 1}, metrics={"MAP@12": 0.01})
    error = {"notebook": "01_a", "message": "no <column>"}
    write_run(runs, "b", "2026-01-02T10:00:00+00:00", status="failed", error=error, effective={"seed": 1})
    write_run(runs, "c", "2026-01-03T10:00:00+00:00", status="running", effective={"num_epochs": 20, "seed": 1})
    (runs / "broken").mkdir()
    (runs / "broken" / "run.json").write_text("{")
    here = write_run(
        runs, "d", "2026-01-04T10:00:00+00:00", effective={"num_epochs": 5, "seed": 1}, published="models/1"
    )
    for name in "abc":
        reports.write_indexes(runs / name)
    reports.write_indexes(here)

    table = (runs / "index.html").read_text()
    places = [table.index(f'href="{name}/index.html"') for name in "dcba"]
    assert places == sorted(places), "not the newest first"
    assert ">num_epochs</button></th>" in table
    assert ">seed<" not in table, "a parameter that never differs"
    assert "0.0100" in table
    assert "failed in 01_a" in table
    assert "running, or killed" in table
    check_page(runs / "index.html")

    index = (here / "index.html").read_text()
    assert "with num_epochs 20" in index
    assert "with the same parameters" in index
    assert "1 min 15 s" in index
    assert "1.20 GiB" in index
    check_page(here / "index.html")
    assert "no &lt;column&gt;" in (runs / "b" / "index.html").read_text()
    assert not list(tmp_path.rglob(".*"))


def test_runs_of_older_versions_are_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "runs" / "old").mkdir(parents=True)
    old = {"run_id": "old", "started": "2025-01-01T10:00:00+00:00", "status": "done", "notebooks": [], "parameters": {}}
    (tmp_path / "runs" / "old" / "run.json").write_text(json.dumps(old))
    here = write_run(tmp_path / "runs", "new", "2026-01-01T10:00:00+00:00")
    reports.write_indexes(here)
    reports.write_indexes(tmp_path / "runs" / "old")
    assert 'href="old/index.html"' in (tmp_path / "runs" / "index.html").read_text()
    check_page(tmp_path / "runs" / "index.html")
