"""HTML of a run: a report of each notebook, a page of the run, and a table of all runs.

Every page is one file with style, script, figures and formulas inside, so it opens offline and can be sent around. Code
is folded, except for the parameters. Cells with the tag ``result`` come first, in the report and on its run's page.
Every page is written atomically.
"""

from __future__ import annotations

import hashlib
import html
import json
import logging
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from nbformat import NotebookNode

from hm_utils.files import atomic_replace
from hm_utils.pipeline.notebook_facts import RECORD

logger = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "templates"
INJECTED = "injected-parameters"  # papermill's tag
RESULT = "result"  # tag of the cells that the report begins with
SUMMARIES = {"parameters": "Parameters: the defaults", INJECTED: "Parameters: the values of this run"}
HEADING = re.compile(r'<h([23]) id="([^"]*)">(.*?)<a class="anchor-link"', re.DOTALL)
FORMULA = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INK = "#29323c"


def write_report(notebook: Path, names: Sequence[str] = ()) -> bool:
    """Write an HTML report beside an executed notebook.

    Args:
        names: the names of all reports of the run, for the links between them.

    Returns:
        False if it failed; a warning is logged, because a failed report should not stop a run.
    """
    try:
        node = nbformat.read(notebook, as_version=4)
        facts = _recorded(node)
        body = cells_html(result_first(node))
        headings = [
            {"level": int(level), "anchor": anchor, "text": html.unescape(re.sub(r"<[^>]+>", "", text))}
            for level, anchor, text in HEADING.findall(body)
        ]
        first = next((cell.source for cell in node.cells if cell.source.startswith("# ")), notebook.stem)
        title = first.splitlines()[0].lstrip("# ")
        head, _, rest = body.partition("</h1>")  # the data's line stands between
        about = {"title": title, "here": notebook.stem, "names": names, "data": facts.get("data")}
        page = _render("report.html.j2", **about, headings=headings, head=head, rest=rest)
        _write(notebook.with_suffix(".html"), page)
    except Exception as error:
        logger.warning("no HTML of %s: %s: %s", notebook.name, type(error).__name__, error)
        return False
    return True


def cells_html(node: NotebookNode, code: bool = True) -> str:
    """The cells of a notebook as HTML, without the page; ``code`` includes that of the cells, folded."""
    from nbconvert import HTMLExporter  # imported here: it takes a second, and a refused run does not need it

    exporter = HTMLExporter(
        template_name="basic", exclude_input=not code, exclude_input_prompt=True, exclude_output_prompt=True
    )
    exporter.raw_template = (TEMPLATES / "cells.html.j2").read_text(encoding="utf-8")
    for cell in node.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(lambda match: formula(match.group(1).strip()), cell.source)
            continue
        tags = cell.metadata.get("tags", [])
        known = next((tag for tag in SUMMARIES if tag in tags), None)
        cell.metadata["transient"] = {"unfolded": known is not None, "summary": SUMMARIES.get(known or "", "Code")}
        cell.outputs = [output for output in cell.outputs if _is_shown(output)]
    body, _ = exporter.from_notebook_node(node)
    return str(body)


def formula(tex: str) -> str:
    """A formula as an image inside the page; MathJax would have to be loaded."""
    from matplotlib import mathtext, rc_context

    svg = StringIO()
    settings: dict[Any, Any] = {"mathtext.fontset": "stix", "svg.fonttype": "path", "font.size": 15}
    settings["figure.facecolor"] = "none"
    with rc_context(settings):
        mathtext.math_to_image(f"${' '.join(tex.split())}$", svg, format="svg", color=INK)
    picture = svg.getvalue()
    height, width = (re.search(rf'{side}="([\d.]+)pt"', picture) for side in ("height", "width"))
    assert height is not None
    assert width is not None
    data = b64encode(picture.encode()).decode()
    size = f'width="{float(width[1]) * 4 / 3:.0f}" height="{float(height[1]) * 4 / 3:.0f}"'
    return f'<div class="formula"><img alt="{html.escape(tex)}" {size} src="data:image/svg+xml;base64,{data}"></div>'


def recorded(notebook: Path) -> dict[str, Any]:
    """The values that a notebook's cells stored with ``notebook_facts.record``; later values replace earlier ones."""
    try:
        return _recorded(nbformat.read(notebook, as_version=4))
    except Exception as error:
        logger.warning("the recorded values of %s cannot be read: %s: %s", notebook.name, type(error).__name__, error)
        return {}


def _recorded(node: NotebookNode) -> dict[str, Any]:
    outputs = (output for cell in node.cells for output in cell.get("outputs", []))
    return {name: value for output in outputs for name, value in output.get("data", {}).get(RECORD, [])}


def _is_result(cell: NotebookNode) -> bool:
    return RESULT in cell.metadata.get("tags", [])


def result_first(node: NotebookNode) -> NotebookNode:
    """A notebook whose cells of the result follow its title."""
    title, *others = node.cells
    cells = [title, *filter(_is_result, others), *(cell for cell in others if not _is_result(cell))]
    return NotebookNode({**node, "cells": cells})


def result_only(node: NotebookNode) -> NotebookNode:
    """A notebook with nothing but the code cells of the result."""
    return NotebookNode(
        {**node, "cells": [cell for cell in node.cells if _is_result(cell) and cell.cell_type == "code"]}
    )


def result_of(run_dir: Path, run: Mapping[str, Any]) -> str:
    """The outputs of the cells of a run's notebooks that have the tag ``result``, as HTML."""
    parts = []
    for notebook in run["notebooks"]:
        path = run_dir / (notebook.get("notebook") or "")
        if path.is_file():
            node = result_only(nbformat.read(path, as_version=4))
            parts.append(cells_html(node, code=False) if node.cells else "")
    return "".join(parts)


def write_indexes(run_dir: Path) -> None:
    """Write ``index.html`` of a run and of all runs in its folder, from their ``run.json``."""
    try:
        runs = [_with_defaults(run) for run in read_runs(run_dir.parent)]
        here = next(run for run in runs if run["run_id"] == run_dir.name)
        earlier = [
            {**run, "differs": _difference(run["effective"], here["effective"])}
            for run in runs
            if run["started"] < here["started"]
        ]
        environment = dict(here["environment"])
        environment["commit"] = f"{environment.get('commit', '?')}{' and changes' * environment.pop('changed', False)}"
        facts = {**environment.pop("versions", {}), **environment}
        context = {"earlier": earlier[:20], "facts": facts, "result": result_of(run_dir, here)}
        context["metrics"] = grouped_metrics([here])
        page = _render("run.html.j2", title=f"Run {here['run_id']}", run=here, **context)
        _write(run_dir / "index.html", page)
        for run in runs:  # any other "running" run is another process, or was killed
            if run["status"] == "running" and run is not here:
                run["status"] = "running, or killed"
        compared = {
            "parameters": _differing([run["effective"] for run in runs]),
            "metrics": grouped_metrics(runs),
            "data": list(dict.fromkeys(run["data"] for run in runs if run["data"])),
            "plot": _plot_of_metrics(runs),
        }
        page = _render("runs.html.j2", title="All runs", runs=runs, **compared)
        _write(run_dir.parent / "index.html", page)
    except Exception as error:
        logger.warning("no index of the runs: %s: %s", type(error).__name__, error)


def grouped_metrics(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The names of the metrics, those of the test first, each with its variants ("MAP@12, best baseline")."""
    names = list(dict.fromkeys(name for run in runs for name in run["metrics"]))
    groups: dict[str, list[str]] = {name: [] for name in names if name.split(", ")[0] not in names or ", " not in name}
    for name in names:
        if name not in groups:
            groups[name.split(", ")[0]].append(name)
    return dict(sorted(groups.items(), key=lambda group: not group[1]))


def _plot_of_metrics(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The metrics of the runs, oldest first, as an image for the page; None for fewer than two runs."""
    measured = [run for run in reversed(runs) if "MAP@12" in run["metrics"]]
    if len(measured) < 2:
        return None
    import pandas as pd  # imported here, like nbconvert

    from hm_utils.plotting import run_figures, style

    table = pd.DataFrame([run["metrics"] for run in measured], index=[run["started"][5:16] for run in measured])
    png, width = style.picture(run_figures.metrics_over_runs(table.rename(lambda start: start.replace("T", " "))))
    lowest, highest = (table["MAP@12"].agg(how) for how in ("min", "max"))
    words = f"MAP@12 of {len(measured)} runs is from {lowest:.4f} to {highest:.4f}"
    return {"png": b64encode(png).decode(), "width": width, "alt": f"Figure: the metrics of the runs. {words}."}


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """The ``run.json`` of every run in a folder, newest first; unreadable files are excluded with a warning."""
    runs = []
    for path in folder.glob("*/run.json"):
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            runs.append({**run, "run_id": path.parent.name})
        except (OSError, ValueError, TypeError):
            logger.warning("%s cannot be read: it is excluded from the table of runs", path)
    return sorted(runs, key=lambda run: str(run.get("started", "")), reverse=True)


def _with_defaults(run: dict[str, Any]) -> dict[str, Any]:
    """A run with defaults for fields that older versions did not write."""
    run = {"metrics": {}, "environment": {}, "error": None, "published": None, "data": None, "parameters": {}, **run}
    return {"seconds": 0.0, "started": "", "notebooks": [], "status": "failed", "effective": run["parameters"], **run}


def _differing(parameters: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names with several values among the runs that have them; a run of one notebook lacks the others' names."""
    names = dict.fromkeys(name for run in parameters for name in run)
    return [name for name in names if len({_plain(run[name]) for run in parameters if name in run}) > 1]


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(one[name])}" for name in _differing([one, other]))


def _plain(value: Any) -> str:
    return json.dumps(value, default=str)


def _is_shown(output: NotebookNode) -> bool:
    """Whether a report shows an output: neither recorded values nor the remains of a progress bar."""
    data = output.get("data", {})
    return RECORD not in data and "application/vnd.jupyter.widget-view+json" not in data


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _render(template: str, **context: Any) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    environment.filters |= {"duration": _duration, "number": _number, "time": lambda text: text[:16].replace("T", " ")}
    inside = {name: (TEMPLATES / f"report.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    # The page's policy allows this script alone, so that nothing in the data's text can run.
    js_hash = b64encode(hashlib.sha256(inside["js"].encode()).digest()).decode()
    return environment.get_template(template).render(**inside, js_hash=js_hash, **context)


def _write(path: Path, text: str) -> None:
    with atomic_replace(path) as partial:
        partial.write_text(text, encoding="utf-8")
