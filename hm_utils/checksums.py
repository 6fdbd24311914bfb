"""The files of a folder with their SHA-256, as manifests list them."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def file_entry(path: Path) -> dict[str, Any]:
    """``{"sha256": hex, "bytes": size}`` of one file."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def file_entries(folder: Path, leave_out: Container[str] = ()) -> dict[str, dict[str, Any]]:
    """:func:`file_entry` of every file below ``folder``, by its relative name, in order of name."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    wanted = {name: path for name, path in sorted(names.items()) if name not in leave_out}
    with ThreadPoolExecutor() as pool:  # hashing lets go of Python's lock
        return dict(zip(wanted, pool.map(file_entry, wanted.values()), strict=True))
