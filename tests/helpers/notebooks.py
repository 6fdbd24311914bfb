"""The cells of a notebook, run in this process: without a kernel, but with everything that they show."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest

from hm_utils.pipeline.notebook_runner import MAY_FAIL
from hm_utils.plotting import style

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ["01_eda", "02_preprocessing", "03_training", "04_evaluation"]


def run_cells(name: str, parameters: dict[str, Any], patch: pytest.MonkeyPatch) -> list[str]:
    """Run every code cell, and render what it shows. Returns the errors of the cells that may fail."""
    for module in ("IPython.display", style.__name__):
        patch.setattr(f"{module}.display", rendered)
    variables: dict[str, Any] = {"__name__": name}
    not_shown = []
    for cell in nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells:
        if cell.cell_type != "code":
            continue
        code, tags = ast.parse(cell.source), cell.metadata.get("tags", [])
        last = code.body.pop().value if isinstance(code.body[-1], ast.Expr) else None
        try:
            exec(compile(code, name, "exec"), variables)
            if last is not None:
                rendered(eval(compile(ast.Expression(last), name, "eval"), variables))
        except Exception as error:
            if MAY_FAIL not in tags:
                raise
            not_shown.append(f"{name}, {cell.id}: {type(error).__name__}: {error}")
        if "parameters" in tags:
            variables |= {key: value for key, value in parameters.items() if key in variables}
    return not_shown


def rendered(*shown: Any, raw: bool = False) -> None:
    """Make the HTML, Markdown or image of each, as ``display`` does."""
    for each in shown:
        for form in ("_repr_html_", "_repr_markdown_", "_repr_mimebundle_"):
            if hasattr(each, form):
                getattr(each, form)()
