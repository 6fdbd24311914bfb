"""The pages of a run: a report of each notebook, the run, and all runs compared."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from hm_utils.pipeline import reports
from hm_utils.pipeline.notebook_facts import RECORD, record
from tests.helpers.html_checks import check_page


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
    assert '<th class="text">num_epochs</th>' in table
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
