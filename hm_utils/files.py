"""Files and folders: relative paths, checksums, writes that are whole or absent, and links that swap in one step."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from glob import escape
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

# Of the names of partial files: another machine, or a later process with this number, may write to the same folder.
HOST, PROCESS, WRITES = platform.node(), secrets.token_hex(4), count()
POINTER = "A link, on a file system without symbolic links, to: "


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
    """An absolute path: ``~`` expanded, a relative path taken from the repository's root, links followed."""
    return follow(repository_root() / Path(path).expanduser())


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
def atomic_replace(path: Path, keep: Callable[[Path], bool] = lambda partial: False) -> Iterator[Path]:
    """Yield a path beside ``path`` to write a file or a folder to; it takes the name ``path`` when the block ends.

    A reader finds the old content or the new, never a part. If the block raises, ``path`` stays as it was. Processes
    that have old files mapped keep them. Several processes may write at once.

    Args:
        keep: whether the content of ``path`` is as good as that of the new folder, and stays. A reader of a folder
            that does not change cannot meet a change.

    Raises:
        OSError: the block wrote a file where a folder is, or a folder where a file is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{os.getpid()}-{PROCESS}-{next(WRITES)}"
    partial = path.with_name(f".{path.name}.{writer}@{HOST}.partial")
    for leftover in path.parent.glob(f".{escape(path.name)}.[0-9]*-*@{escape(HOST)}.partial"):
        pid, process, *_ = leftover.name.removeprefix(f".{path.name}.").split("-")
        own = int(pid) == os.getpid() and process == PROCESS
        if not own and (int(pid) == os.getpid() or not alive(int(pid))):
            remove(leftover)  # of a process that was killed
    try:
        yield partial
        if partial.is_dir() and not partial.is_symlink():  # cannot be renamed over a link, or a folder with content
            old = partial.with_name(f".{path.name}.{writer}-old@{HOST}.partial")
            with _alone(path.parent):
                if keep(partial):
                    remove(partial)
                    return
                if path.is_dir() or path.is_symlink():
                    path.replace(old)
                partial.replace(path)
            remove(old)
        else:
            partial.replace(path)
    except BaseException:
        remove(partial)
        raise


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time into the block; on a file system without locks, all."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def point_link(link: Path, target: Path) -> None:
    """Make ``link`` lead to ``target``, a path below the same folder, in one step.

    On a file system without symbolic links it is a small file with the path, which :func:`follow` reads. A file or
    folder that has the link's name is renamed, not deleted.
    """
    if link.exists() and not link.is_symlink() and follow(link) == link.resolve():
        link.rename(link.with_name(f"{link.name}-before-{time.time_ns()}"))
    place = target.relative_to(link.parent)  # relative: the artifacts folder may move
    with atomic_replace(link) as beside:
        try:
            beside.symlink_to(place)
        except OSError:
            beside.write_text(f"{POINTER}{place}\n", encoding="utf-8")


def follow(path: Path) -> Path:
    """The absolute path that ``path`` leads to, through symbolic links and those of :func:`point_link`."""
    path = path.resolve()
    if path.is_file() and path.stat().st_size < 4_096:
        text = path.read_bytes().decode("utf-8", errors="replace")
        if text.startswith(POINTER):
            return (path.parent / text.removeprefix(POINTER).strip()).resolve()
    return path


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
