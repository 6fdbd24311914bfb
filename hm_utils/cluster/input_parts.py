"""The files of the raw tables, each table one file or many parts, on this machine or in an object store.

    data_dir/articles.parquet                                        one file, as with the local engine
    data_dir/transactions_train/part-00000.csv, part-00001.csv, …    a folder of parts
    data_dir/transactions_train-00000.csv, …                         or parts in data_dir itself

The order of the names is the order of the rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyarrow import fs

from hm_utils.data import schema
from hm_utils.data.raw import HOW_TO_GET
from hm_utils.data.raw_file import SUFFIXES
from hm_utils.data.schema import RawDataError
from hm_utils.files import resolve


@dataclass(frozen=True)
class Part:
    """One file of a table, with its size in bytes."""

    filesystem: fs.FileSystem
    path: str
    bytes: int

    @contextmanager
    def local(self) -> Iterator[Path]:
        """A local path of the part, to its own file or to a temporary copy. Errors about the copy name the part."""
        if isinstance(self.filesystem, fs.LocalFileSystem):
            yield Path(self.path)
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / PurePosixPath(self.path).name
            fs.copy_files(self.path, str(copy), self.filesystem, fs.LocalFileSystem())
            try:
                yield copy
            except RawDataError as error:
                raise RawDataError(str(error).replace(str(copy), self.path)) from None


def find_parts(data_dir: str | Path, filesystem: fs.FileSystem | None = None) -> dict[str, list[Part]]:
    """The parts of each table that is there, by name. A single file is preferred to parts, and the first of SUFFIXES.

    Args:
        data_dir: a folder, or a URI that ``pyarrow.fs`` knows (``s3://bucket/folder``, ``gs://…``, ``hdfs://…``).
        filesystem: reads ``data_dir``, where a URI is not enough (keys, an endpoint).

    Raises:
        RawDataError: if the folder or the log is missing, another table is there in a form that is not read, or
            ``pyarrow.fs`` cannot reach the folder.
    """
    try:
        if filesystem is None and "://" in str(data_dir):
            filesystem, folder = fs.FileSystem.from_uri(str(data_dir))
        elif filesystem is None:
            filesystem, folder = fs.LocalFileSystem(), str(resolve(data_dir))
        else:
            folder = str(data_dir)
        listed = filesystem.get_file_info(fs.FileSelector(folder, recursive=True))
    except (OSError, ValueError) as error:  # a missing folder, no such bucket, an unknown scheme
        raise RawDataError(f"{data_dir} cannot be listed ({error}). {HOW_TO_GET.format(folder=data_dir)}") from error
    infos = (info for info in listed if info.type == fs.FileType.File)
    files = {PurePosixPath(info.path).relative_to(folder): info for info in infos}
    parts = {}
    for table in schema.TABLES:
        names = _names_of(table.stem, list(files))
        similar = any(name.parts[0].lower().startswith(table.stem) for name in files)
        if not names and (similar or table.name == schema.TRANSACTIONS.name):
            wanted = ", ".join(table.stem + suffix for suffix in SUFFIXES)
            raise RawDataError(
                f"{data_dir} has none of {wanted}, and no such parts in {table.stem}/ or as {table.stem}-*. "
                + HOW_TO_GET.format(folder=data_dir)
            )
        if names:
            parts[table.name] = [Part(filesystem, files[name].path, files[name].size) for name in sorted(names)]
    return parts


def _names_of(stem: str, names: list[PurePosixPath]) -> list[PurePosixPath]:
    """The names of a table's file, or of its parts."""
    # Spark and similar tools leave _SUCCESS and .crc files among the parts.
    visible = [name for name in names if not any(piece.startswith((".", "_")) for piece in name.parts)]
    layouts = (
        lambda name, suffix: str(name) == stem + suffix,
        lambda name, suffix: name.parts[0] in (stem, f"{stem}.parquet") and name.name.endswith(suffix),
        lambda name, suffix: len(name.parts) == 1 and name.match(f"{stem}[-_.]*{suffix}"),
    )
    for layout in layouts:
        for suffix in SUFFIXES:
            if found := [name for name in visible if layout(name, suffix)]:
                return found
    return []
