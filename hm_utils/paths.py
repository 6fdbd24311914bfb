"""Where a relative path starts: at the root of the repository, wherever a notebook or a command runs."""

from __future__ import annotations

from pathlib import Path


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
