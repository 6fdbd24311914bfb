"""Files and folders: where a relative path starts, and the checksums that manifests list."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def repository_root(start: Path | None = None) -> Path:
    """The nearest folder at or above ``start`` (default: the working directory) that holds ``pyproject.toml``.

    A working directory outside the repository falls back on where this package lies; an installed
    package without a repository around it on the working directory itself.
    """
    for origin in (start or Path.cwd(), Path(__file__)):
        for folder in (origin.resolve(), *origin.resolve().parents):
            if (folder / "pyproject.toml").is_file() and (folder / "hm_utils").is_dir():
                return folder
    return start or Path.cwd()


def resolve(path: str | Path) -> Path:
    """An absolute path: ``~`` expanded, a relative path taken from the repository's root."""
    return (repository_root() / Path(path).expanduser()).resolve()


def file_entry(path: Path) -> dict[str, Any]:
    """``{"sha256": hex, "bytes": size}`` of one file."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def file_entries(folder: Path, exclude: Container[str] = ()) -> dict[str, dict[str, Any]]:
    """:func:`file_entry` of every file below ``folder``, by its relative name, in order of name."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    wanted = {name: path for name, path in sorted(names.items()) if name not in exclude}
    with ThreadPoolExecutor() as pool:  # hashing lets go of Python's lock
        return dict(zip(wanted, pool.map(file_entry, wanted.values()), strict=True))
