"""Files and folders: relative paths, checksums, writes that are whole or absent, and links that swap in one step."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any


def repository_root(start: Path | None = None) -> Path:
    """The nearest folder at or above ``start`` (default: the working directory) that holds ``pyproject.toml``.

    Outside the repository it is the folder that holds this package. For an installed package without a
    repository it is the working directory.
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
    """:func:`file_entry` of every file below ``folder`` by its relative name, sorted by name."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    wanted = {name: path for name, path in sorted(names.items()) if name not in exclude}
    with ThreadPoolExecutor() as pool:  # hashing releases Python's lock
        return dict(zip(wanted, pool.map(file_entry, wanted.values()), strict=True))


_writing: set[Path] = set()  # by this process, in all threads


def check_writable(path: Path) -> None:
    """Make the folder of a file that will be written.

    Raises:
        OSError: the file cannot be written; the message names it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise type(error)(error.errno, f"{path} cannot be written: {error.strerror}") from error


@contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write a file or a folder to; it takes the name ``path`` when the block ends.

    A reader finds the old content or the new, never a part. If the block raises, ``path`` stays as it was. Processes
    that have old files mapped keep them. Of several writers at once, each succeeds, and the last one's content stays.

    Raises:
        OSError: the block wrote a file where a folder is, or a folder where a file is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)
    partial, old = (path.with_name(f".{path.name}.{name}.{os.getpid()}.partial") for name in (token, f"{token}-old"))
    for leftover in path.parent.glob(f".{escape(path.name)}.*.partial"):
        pid = int(leftover.suffixes[-2][1:])
        if not alive(pid) or (pid == os.getpid() and leftover not in _writing):
            remove(leftover)  # of a process that was killed
    _writing.update((partial, old))
    try:
        yield partial
        if partial.is_dir() and not partial.is_symlink():
            _replace_folder(path, partial, old)
        else:
            partial.replace(path)
    except BaseException:
        remove(partial)
        raise
    finally:
        remove(old)
        _writing.difference_update((partial, old))


def _replace_folder(path: Path, new: Path, old: Path) -> None:
    """Rename ``new`` to ``path``, which it cannot be while a link or a folder with content is there."""
    while True:
        if path.is_dir() or path.is_symlink():
            with contextlib.suppress(FileNotFoundError):  # another writer was first
                path.replace(old)
        try:
            new.replace(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            remove(old)  # another writer's folder came in between


def point_link(link: Path, target: Path) -> None:
    """Make ``link`` lead to ``target``, a path below the same folder, in one step.

    A file or folder that has the link's name is renamed, not deleted.
    """
    if link.exists() and not link.is_symlink():
        link.rename(link.with_name(f"{link.name}-before-{time.time_ns()}"))
    with atomic_replace(link) as beside:
        beside.symlink_to(target.relative_to(link.parent))  # relative: the artifacts folder may move


def alive(pid: int) -> bool:
    """Whether a process has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def remove(path: Path) -> None:
    """Delete a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
