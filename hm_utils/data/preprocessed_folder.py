"""The folder of preprocessed data: written beside, listed with checksums, swapped in, and checked when it is opened."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hm_utils.data.raw import RawTables
from hm_utils.files import file_entries

MANIFEST = "manifest.json"
FORMAT = 3  # raise it when a reader of the old form would misread the new one, or the same input gives other data


class PreprocessedError(RuntimeError):
    """Preprocessed data cannot be used; the message says why and what to do."""


@contextmanager
def new_partial(directory: Path) -> Iterator[Path]:
    """An empty folder beside ``directory``, to write into before :func:`put_in_place`; gone at the end of the block."""
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def put_in_place(
    directory: Path, partial: Path, tables: RawTables, parameters: dict[str, int], facts: dict[str, Any]
) -> None:
    """Write the manifest of the complete ``partial``, and put it in the place of ``directory``.

    Args:
        facts: ``split``, ``last_date`` and ``counts``, for the manifest.

    Raises:
        PreprocessedError: if ``directory`` holds something else.
    """
    identity = json.dumps([FORMAT, tables.fingerprint, parameters], sort_keys=True)
    manifest = {
        "format": FORMAT,
        "fingerprint": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "raw_fingerprint": tables.fingerprint,
        "parameters": parameters,
        **facts,
        "findings": [asdict(finding) for finding in tables.report],
        "files": file_entries(partial),
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    _replace(directory, partial)


def _replace(directory: Path, partial: Path) -> None:
    """Put ``partial`` in the place of ``directory``; whoever has the old files mapped keeps them."""
    old = directory.with_name(f".{directory.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        if any(directory.iterdir()) and not (directory / MANIFEST).exists():
            raise PreprocessedError(
                f"{directory} holds something else than preprocessed data: name another preprocessed_dir"
            )
        directory.replace(old)
    partial.replace(directory)
    shutil.rmtree(old, ignore_errors=True)


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest, every file checked against it.

    Raises:
        PreprocessedError: if the folder is missing, incomplete, altered or of another format.
    """
    again = "run notebook 02_preprocessing again"
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
    except FileNotFoundError:
        raise PreprocessedError(
            f"{directory} holds no preprocessed data: run notebook 02_preprocessing first"
        ) from None
    except ValueError as error:
        raise PreprocessedError(f"{directory / MANIFEST} is damaged ({error}): {again}") from error
    if manifest.get("format") != FORMAT:
        raise PreprocessedError(f"{directory} has format {manifest.get('format')}, this is {FORMAT}: {again}")
    found = file_entries(directory, exclude={MANIFEST})
    for name, entry in manifest["files"].items():
        if found.get(name) != entry:
            what = "altered" if name in found else "missing"
            raise PreprocessedError(f"{directory / name} is {what}: {again}")
    return manifest
