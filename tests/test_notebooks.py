"""The committed notebooks: no outputs, short cells, text between the code. test_end_to_end runs them."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from hm_utils.pipeline.notebook_runner import MAY_FAIL
from hm_utils.pipeline.parameters import declared_parameters
from tests.helpers.notebooks import FOLDER, NAMES

MAX_LINES = 12  # of a code cell without imports and blank lines; the parameters cell may be longer
MAX_FUNCTION_LINES = 5

# Documented defaults.
DEFAULTS = {
    "batch_size": 512,
    "num_epochs": 20,
    "learning_rate": 0.001,
    "use_in_batch_negatives": True,
    "output_dim": 128,
    "ensemble_size": 1,
    "patience": 3,
    "val_days": 7,
    "test_days": 7,
    "device": "auto",
}


@pytest.fixture(params=NAMES)
def path(request: pytest.FixtureRequest) -> Path:
    return FOLDER / f"{request.param}.ipynb"


@pytest.fixture
def notebook(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_parameters(cell: NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def python(cell: NotebookNode) -> ast.Module:
    """A cell's code without IPython's own lines (% and !)."""
    return ast.parse("\n".join(line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!"))))


def test_the_folder_has_these_notebooks() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == [*NAMES, "playground", "update"]


def test_is_valid(notebook: NotebookNode) -> None:
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))


def test_is_committed_without_outputs(notebook: NotebookNode) -> None:
    for cell in code_cells(notebook):
        assert cell.outputs == [], f"outputs of {cell.source[:60]!r}: run `make format`"
        assert cell.execution_count is None
        assert set(cell.metadata) <= {"tags"}, f"{dict(cell.metadata)}: run `make format`"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}, "papermill's or widgets' metadata: `make format`"
    assert notebook.metadata.kernelspec.name == "python3"


def test_has_one_title_and_an_introduction(notebook: NotebookNode) -> None:
    text = "\n".join(
        re.sub(r"```.*?```", "", c.source, flags=re.DOTALL) for c in notebook.cells if c.cell_type == "markdown"
    )
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert len(first.source.split()) >= 25, "the first cell introduces inputs and outputs"
    assert not re.search(r"!\[[^]]*\]\(attachment:", text), "an image pasted into a cell"


def test_opens_with_four_lines_and_closes_with_what_was_learned(notebook: NotebookNode) -> None:
    opening, shown = notebook.cells[0].source.split("The notebook shows:")
    assert opening.startswith("# ")
    assert len(re.findall(r"^- ", shown, re.MULTILINE)) == 4
    heading, learned, following, versions = notebook.cells[-4:]
    assert heading.source == "## What was learned, and what next"
    assert "learned" in learned.source
    assert following.source.startswith("Next: ")
    assert "footer(" in versions.source


def test_a_design_choice_stands_after_its_figure(notebook: NotebookNode) -> None:
    for before, cell in pairwise(notebook.cells):
        if "**Design choice.**" in cell.source:
            assert cell.source.startswith("**Design choice.**")
            assert "show(" in before.source, cell.source


def test_the_prose_claims_nothing_about_the_data(notebook: NotebookNode) -> None:
    """A finding is a sentence of a cell: of other data the answer may be another one (hm_utils.analysis.sentences)."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    claims = (
        r"strongest|hard to beat|is (?:low|high)\b|[Mm]ost (?:customers|articles)|common value|nearly as|on this data"
    )
    assert not re.findall(claims, text)


def test_parameters_come_first_with_a_comment_each(path: Path, notebook: NotebookNode) -> None:
    first, *others = code_cells(notebook)
    assert is_parameters(first)
    assert not any(map(is_parameters, others))
    assert declared_parameters(path)
    lines = first.source.splitlines()
    for node in python(first).body:
        line = lines[(node.end_lineno or node.lineno) - 1]
        assert re.search(r"  # \S", line), f"no comment: {line}"


def test_a_parameter_has_one_default_in_all_notebooks() -> None:
    found: dict[str, dict[str, object]] = defaultdict(dict)
    for name in NAMES:
        for parameter in declared_parameters(FOLDER / f"{name}.ipynb").values():
            found[parameter.name][name] = (parameter.default, parameter.type_name)
    for name, defaults in found.items():
        assert len({repr(default) for default in defaults.values()}) == 1, f"{name}: {defaults}"
    for name, default in DEFAULTS.items():
        assert name in found, f"no notebook declares {name}"
        assert next(iter(found[name].values()))[0] == default, name  # type: ignore[index]


def test_every_declared_parameter_is_read(path: Path, notebook: NotebookNode) -> None:
    read = {
        node.id
        for cell in code_cells(notebook)
        if not is_parameters(cell)
        for node in ast.walk(python(cell))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert set(declared_parameters(path)) <= read, "declared but never used"


def test_cells_are_short_and_define_little(notebook: NotebookNode) -> None:
    for cell in code_cells(notebook):
        where = cell.source[:80]
        assert cell.source.strip(), "an empty cell"
        if not is_parameters(cell):
            imports = [node for node in python(cell).body if isinstance(node, ast.Import | ast.ImportFrom)]
            import_lines = sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in imports)
            lines = sum(bool(line.strip()) for line in cell.source.splitlines())
            assert lines - import_lines <= MAX_LINES, f"too long: {where!r}"
        for node in ast.walk(python(cell)):
            assert not isinstance(node, ast.ClassDef), f"a class belongs into hm_utils: {where!r}"
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, f"{node.name} belongs into hm_utils"


def test_cells_that_only_show_may_fail_and_no_other_cell_needs_them(notebook: NotebookNode) -> None:
    made: set[str] = set()
    for cell in code_cells(notebook):
        names = [node for node in ast.walk(python(cell)) if isinstance(node, ast.Name)]
        stored, loaded = ({node.id for node in names if isinstance(node.ctx, kind)} for kind in (ast.Store, ast.Load))
        where = cell.source[:80]
        if MAY_FAIL in cell.metadata.get("tags", []):
            assert not loaded & {"record", "publish_model", "point_link"}, f"a result that may get lost: {where!r}"
            made |= stored
        else:
            assert not loaded & (made - stored), f"{loaded & made} may be missing here: {where!r}"
            assert "show" not in loaded, f"a figure may stop the run: {where!r}"
            made -= stored


def test_text_and_code_alternate(notebook: NotebookNode) -> None:
    kinds = "".join("c" if cell.cell_type == "code" else "t" for cell in notebook.cells)
    assert "ccccc" not in kinds, "five code cells in a row without text"
    assert 5 <= kinds.count("c") <= 32
    assert kinds.count("t") >= kinds.count("c") / 2


def test_every_figure_has_text_before_it_and_a_takeaway(notebook: NotebookNode) -> None:
    figures = 0
    for before, cell in pairwise(notebook.cells):
        if cell.cell_type != "code":
            continue
        calls = [
            node for node in ast.walk(python(cell)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "show"
        ]
        figures += len(calls)
        assert not calls or before.cell_type == "markdown", f"a figure without text before it: {cell.source[:80]!r}"
        assert all(len(call.args) == 2 for call in calls), f"a figure without a takeaway: {cell.source[:80]!r}"
        assert "plt." not in cell.source, "drawing belongs into hm_utils, for the common style"
    assert figures, "a notebook without a figure"


def test_numbers_in_the_prose_are_not_results(notebook: NotebookNode) -> None:
    """Results in the text are computed; only definitions, such as 95 % of an interval, are typed."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    text = re.sub(r"\]\([^)]*\)|\$\$.*?\$\$|`[^`]*`", "", text, flags=re.DOTALL)
    typed = set(re.findall(r"\b\d+[.,]\d+|\b\d+ ?%", text))
    assert typed <= {"80 %", "95 %", "99 %"}, f"typed by hand: {typed}"


def test_nothing_depends_on_the_machine_that_wrote_it(notebook: NotebookNode) -> None:
    source = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"/home/|/root/|/Users/|/tmp/|/mnt/|[A-Z]:\\\\", source), "a path of one machine"
    assert not re.search(r"^\s*[%!]\s*pip\b", source, re.MULTILINE), "the environment installs packages"
    assert not re.search(r"\bsys\.path\b", source), "hm_utils is installed: no sys.path"
    imported = {
        (node.module or "").split(".")[0]
        for cell in code_cells(notebook)
        for node in ast.walk(python(cell))
        if isinstance(node, ast.ImportFrom)
    }
    assert "hm_utils" in imported
    assert "app" not in imported
