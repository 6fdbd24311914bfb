"""The folder of preprocessed data: replaced in one step, and checked against its manifest when opened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hm_utils.data.raw import RawTables
from hm_utils.files import atomic_replace, file_entries

MANIFEST = "manifest.json"
FORMAT = 3  # raise it when an old reader would misread the new form, or the same input gives other data


class PreprocessedError(RuntimeError):
    """Preprocessed data cannot be used; the message says why and what to do."""


@contextmanager
def new_folder(directory: Path) -> Iterator[Path]:
    """Yield an empty folder, which replaces ``directory`` when the block ends, unless that holds the same.

    Raises:
        PreprocessedError: if ``directory`` holds files that are not preprocessed data.
    """
    if directory.exists() and any(directory.iterdir()) and not (directory / MANIFEST).exists():
        raise PreprocessedError(
            f"{directory} holds something else than preprocessed data: name another preprocessed_dir"
        )

    def is_there(partial: Path) -> bool:
        """Whether ``directory`` holds the same bytes, perhaps from another run with the same parameters."""
        try:
            return read_manifest(directory) == json.loads((partial / MANIFEST).read_text())
        except PreprocessedError:
            return False

    with atomic_replace(directory, keep=is_there) as partial:
        partial.mkdir()
        yield partial


def write_manifest(
    folder: Path,
    tables: RawTables,
    parameters: dict[str, Any],
    split: dict[str, int],
    last_date: str,
    purchases: int,
    examples: int,
) -> None:
    """Write the manifest of a folder that is otherwise complete.

    Args:
        parameters: the settings of the run. With the raw files' fingerprint they make the folder's fingerprint.
        split: the fields of :class:`hm_utils.data.preprocessing.Split`.
        last_date: ISO date of the last purchase.
        purchases, examples: numbers of rows.
    """
    identity = json.dumps([FORMAT, tables.fingerprint, parameters], sort_keys=True)
    manifest = {
        "format": FORMAT,
        "fingerprint": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "raw_fingerprint": tables.fingerprint,
        "origin": asdict(tables.origin),
        "hm_ids": tables.hm_ids,
        "absent": tables.absent,
        "parameters": parameters,
        "split": split,
        "last_date": last_date,
        "counts": {
            "articles": len(tables.articles),
            "customers": len(tables.customers),
            "purchases": purchases,
            "examples": examples,
        },
        "findings": [asdict(finding) for finding in tables.report],
        "files": file_entries(folder),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read the manifest and check every file against it.

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
