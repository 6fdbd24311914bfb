"""The reports of a run as Markdown with pictures."""

from __future__ import annotations

import base64
import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from hm_utils.pipeline import markdown_reports
from hm_utils.pipeline.notebook_facts import RECORD
from hm_utils.pipeline.reports import INJECTED, RESULT

HOSTILE = "<script>hit()</script>"


def png(colour: tuple[int, ...] = (0, 0, 0, 0)) -> str:
    content = BytesIO()
    Image.new("RGBA", (90, 60), colour).save(content, "png")
    return base64.b64encode(content.getvalue()).decode()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    def shown(data: dict[str, Any], **metadata: Any) -> Any:
        return new_output("display_data", data, metadata=metadata)

    cell = f"<td onclick='hit()' colspan='2'>a &lt; b\n\n{HOSTILE}</td>"
    table = shown({"text/html": f"<style>b{{}}</style><table class='x'><tr>{cell}</tr></table>"})
    data = shown({RECORD: [["data", "Synthetic sample: 5 days"]], "text/plain": "to Jupyter"})
    sentence = shown({"text/markdown": f"It is *better* {HOSTILE}."})
    picture = shown({"image/png": png()}, **{"image/png": {"width": 50, "alt": 'Figure: "x" <b>'}})
    cells = [
        new_markdown_cell("# 1. A title"),
        new_code_cell('data_dir = "data"  # where', metadata={"tags": ["parameters"]}),
        new_code_cell('data_dir = "/home/me/data"', metadata={"tags": [INJECTED]}),
        new_code_cell("1", outputs=[data]),
        new_code_cell("2", outputs=[table, new_output("stream", name="stdout", text="50%\r100%\n")]),
        new_markdown_cell("## The result", metadata={"tags": [RESULT]}),
        new_code_cell("3", outputs=[sentence, picture], metadata={"tags": [RESULT]}),
    ]  # fmt: skip
    folder = tmp_path / "runs" / "20260101"
    folder.mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells), folder / "01_a.ipynb")
    nbformat.write(new_notebook(cells=cells[:4]), folder / "02_b.ipynb")
    facts = {"status": "done", "started": "2026-01-01", "notebooks": [{}, {}]}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def test_the_pages_of_a_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "docs" / "reports"
    for _ in range(2):  # an earlier one is replaced
        assert markdown_reports.main([str(run.parent), str(out)]) == 0
    assert "3 pages" in capsys.readouterr().out
    pages = {path.stem: path.read_text() for path in out.glob("*.md")}
    assert set(pages) == {"README", "01_a", "02_b"}
    for text in pages.values():
        assert "**Synthetic sample: 5 days**" in text
        assert "/home/me" not in text
        assert "to Jupyter" not in text
        assert "<script" not in text
        assert "onclick" not in text
    report = pages["01_a"]
    order = [
        "# 1. A title",
        "**Synthetic sample",
        "## The result",
        "It is *better*",
        'alt="Figure: &quot;x&quot; &lt;b&gt;"',
    ]
    places = [report.index(text) for text in [*order, 'data_dir = "data"', "<table>"]]
    assert places == sorted(places)
    assert '<table><tr><td colspan="2">a &lt; b  </td></tr></table>' in report
    assert "```text\n100%\n```" in report
    assert "[02_b](02_b.md)" in report
    assert "[01_a](01_a.md)" in pages["README"]
    assert "It is *better*" in pages["README"]
    assert "```python" not in pages["README"]
    for name in re.findall(r'src="([^"]+)"', pages["01_a"] + pages["README"]):
        assert Image.open(out / name).convert("RGB").getpixel((5, 5)) == (255, 255, 255), "dark ink needs a light page"


def test_other_folders_are_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    assert markdown_reports.main([str(run), str(tmp_path / "mine")]) == 1
    assert "holds photo.jpg" in capsys.readouterr().err
    assert markdown_reports.main([str(tmp_path / "mine"), str(tmp_path / "out")]) == 1
    assert "no executed notebooks" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
