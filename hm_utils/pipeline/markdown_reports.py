"""Write the reports of a run as Markdown with pictures, which a code host displays.

    python -m hm_utils.pipeline.markdown_reports artifacts/runs/<run id> docs/reports

The folder gets a page for each notebook, ``README.md`` with the result, and ``pictures/``. The parameters that were
given to the run are left out, as they hold paths of the machine.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterator, Sequence
from html import escape
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from PIL import Image

from hm_utils.files import atomic_replace
from hm_utils.pipeline.notebook_facts import RECORD
from hm_utils.pipeline.reports import INJECTED, recorded, result_first, result_only

COLOURS = 64  # of a picture: the figures have few
MOST_LINES = 20  # of the text that a cell printed
TAGS = {"table", "thead", "tbody", "tr", "th", "td", "ol", "ul", "li", "b", "small", "code", "br"}
PICTURES = "pictures"


def write_reports(run_dir: Path, out_dir: Path) -> list[Path]:
    """Write the pages of a run; an earlier ``out_dir`` of this kind is replaced.

    Returns:
        The pages.

    Raises:
        FileNotFoundError: ``run_dir`` holds no executed notebook.
        FileExistsError: ``out_dir`` holds other files than pages and pictures.
    """
    notebooks = sorted(run_dir.glob("[0-9]*_*.ipynb"))
    if not notebooks:
        raise FileNotFoundError(f"{run_dir} has no executed notebooks: name a folder of artifacts/runs")
    if strangers := [path.name for path in out_dir.glob("*") if path.suffix != ".md" and path.name != PICTURES]:
        raise FileExistsError(f"{out_dir} holds {', '.join(strangers)}: name another folder for the reports")
    names = [path.stem for path in notebooks]
    with atomic_replace(out_dir) as partial:
        (partial / PICTURES).mkdir(parents=True)
        data, result = "", []
        for path in notebooks:
            node = nbformat.read(path, as_version=4)
            data = recorded(path).get("data", data)
            parts = list(_cells(result_first(node), path.stem, partial))
            links = " · ".join(f"**{name}**" if name == path.stem else f"[{name}]({name}.md)" for name in names)
            head, *rest = parts
            page = [f"[The run](README.md) · {links}", head, f"**{escape(data)}**", *rest]
            _write(partial / f"{path.stem}.md", page)
            result += list(_cells(result_only(node), f"{path.stem}-result", partial, code=False))
        _write(partial / "README.md", _index(names, data, result))
    return [out_dir / f"{name}.md" for name in ("README", *names)]


def _index(names: Sequence[str], data: str, result: Sequence[str]) -> Iterator[str]:
    yield "# Reports of one run"
    yield f"**{escape(data)}**"
    yield "\n".join(f"- [{name}]({name}.md)" for name in names)
    yield from result
    yield "Written by `make reports` from the executed notebooks of a run."


def _cells(node: NotebookNode, name: str, folder: Path, code: bool = True) -> Iterator[str]:
    """The cells of a notebook as Markdown; their pictures go to the folder."""
    for place, cell in enumerate(node.cells):
        if cell.cell_type == "markdown":
            yield cell.source
        elif INJECTED not in cell.metadata.get("tags", []):
            if code:
                yield f"<details><summary>Code</summary>\n\n```python\n{cell.source}\n```\n\n</details>"
            for number, output in enumerate(cell.outputs):
                if shown := _output(output, folder / PICTURES / f"{name}-{place}-{number}.png"):
                    yield shown


def _output(output: NotebookNode, picture: Path) -> str:
    """An output as Markdown, empty if it is not for readers."""
    data: dict[str, Any] = output.get("data", {})
    if RECORD in data or "application/vnd.jupyter.widget-view+json" in data:
        return ""
    if "image/png" in data:
        facts = output.metadata.get("image/png", {})
        _save(base64.b64decode(data["image/png"]), picture)
        width = f' width="{int(facts["width"])}"' if "width" in facts else ""
        return f'<img src="{PICTURES}/{picture.name}"{width} alt="{escape(facts.get("alt", ""))}">'
    if "text/html" in data:
        return _Cleaned(data["text/html"]).text
    if "text/markdown" in data:
        text: str = data["text/markdown"]
        return text if text.startswith("```") else text.replace("<", "&lt;")
    text = data.get("text/plain") or output.get("text") or output.get("evalue") or ""
    lines = [line.rsplit("\r", 1)[-1] for line in text.strip("\n").split("\n")][-MOST_LINES:]
    return "```text\n" + "\n".join(line.replace("```", "'''") for line in lines) + "\n```" if any(lines) else ""


def _save(png: bytes, path: Path) -> None:
    """Save a figure on white, as its ink is dark, with few colours, as it stays in the repository."""
    figure = Image.open(BytesIO(png)).convert("RGBA")
    page = Image.new("RGBA", figure.size, "white")
    page.alpha_composite(figure)
    page.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


class _Cleaned(HTMLParser):
    """A table without style, script and attributes, in one line: an empty one would end it in Markdown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self._hidden = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden = tag in ("style", "script")
        if tag in TAGS:
            spans = "".join(f' {name}="{int(value or 1)}"' for name, value in attrs if name in ("colspan", "rowspan"))
            self.text += f"<{tag}{spans}>"

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False
        if tag in TAGS - {"br"}:
            self.text += f"</{tag}>"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += escape(" ".join(data.split()) if not data.strip() else data.replace("\n", " "))


def _write(path: Path, parts: Sequence[str] | Iterator[str]) -> None:
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hm_utils.pipeline.markdown_reports", description="Reports as Markdown."
    )
    parser.add_argument("run", type=Path, help="folder of a run, artifacts/runs/<run id>, or of runs: the latest done")
    parser.add_argument("out", type=Path, help="folder of the pages, such as docs/reports")
    options = parser.parse_args(arguments)
    try:
        pages = write_reports(_latest(options.run), options.out)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{len(pages)} pages in {options.out}, {size / 1e6:.1f} MB")
    return 0


def _latest(folder: Path) -> Path:
    """The folder itself, or the latest complete run in it."""
    runs = {path.parent: json.loads(path.read_text()) for path in folder.glob("*/run.json")}
    done = [path for path, run in runs.items() if run.get("status") == "done" and len(run["notebooks"]) > 1]
    return max(done, key=lambda path: runs[path]["started"], default=folder)


if __name__ == "__main__":
    sys.exit(main())
