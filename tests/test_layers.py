"""The order of packages: imports go down, and in no circle."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the bottom. A package imports those of lower rows, and itself.
LAYERS = (
    {"arrays", "files"},
    {"data"},
    {"model", "retrieval", "sample"},
    {"evaluation", "serving"},
    {"training"},
    {"cluster", "analysis", "plotting"},
    {"engines"},
    {"pipeline", "recommend"},
    {"update"},
    {"lab"},
)
OF_THE_SERVICE = {"arrays", "files", "data", "model", "retrieval", "serving"}


def modules() -> dict[str, Path]:
    """Every module of the library and the service, by its dotted name."""
    found = {}
    for path in sorted([*(ROOT / "hm_utils").rglob("*.py"), *(ROOT / "app").rglob("*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules that a file imports anywhere in it, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            members = {f"{node.module}.{name.name}" for name in node.names}
            found |= members if members <= known.keys() else {*members, node.module or ""}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name in known and name not in ("hm_utils", "app")}


GRAPH = {name: imports(path, modules()) for name, path in modules().items()}


def test_imports_go_down():
    rank = {f"hm_utils.{name}": i for i, layer in enumerate(LAYERS) for name in layer}

    def package(module: str) -> str:
        return ".".join(module.split(".")[:2])

    assert {package(name) for name in GRAPH if name.startswith("hm_utils.")} == set(rank)
    for module, imported in GRAPH.items():
        for other in imported:
            if module.startswith("app"):
                ours = other.startswith("app") or package(other).removeprefix("hm_utils.") in OF_THE_SERVICE
                assert ours or module.startswith("app.cluster"), f"{module} imports {other}"
            elif module != "hm_utils":
                assert not other.startswith("app"), f"{module} imports {other}"
                same = package(module) == package(other)
                assert same or rank[package(other)] < rank[package(module)], f"{module} imports {other}"


def test_no_modules_import_each_other():
    # A package is not a module of its own here: its docstring imports nothing.
    try:
        list(graphlib.TopologicalSorter(GRAPH).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


def test_the_service_loads_nothing_that_only_training_or_notebooks_need():
    code = "import hm_utils.serving.recommender, json, sys; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[1] for name in json.loads(answer.stdout) if name.startswith("hm_utils.")}
    assert loaded == OF_THE_SERVICE
