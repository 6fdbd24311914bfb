"""The page's JavaScript modules import each other without a circle."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter

from app.routes.page import FOLDER

IMPORT = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["']\./([\w.]+)["']""")


def test_the_pages_modules_have_no_import_circle() -> None:
    code = {path.name: path.read_text() for path in FOLDER.glob("*.js")}
    # Comments import types, which are not loaded. Imports at run time count.
    imports = {name: set(IMPORT.findall(re.sub(r"/\*.*?\*/", "", text, flags=re.S))) for name, text in code.items()}
    assert imports["main.js"] >= {"api.js", "map.js", "similar.js"}  # static and dynamic
    assert set.union(*imports.values()) <= code.keys()
    TopologicalSorter(imports).prepare()  # raises CycleError, whose message has the circle
