"""The published model: a folder for each version, every file checksummed, published by an atomic swap of a link.

    artifacts/models/20260120T101530.123456Z-1f2e3d4c/   the files, and manifest.json
    artifacts/model -> models/20260120T101530.123456Z-1f2e3d4c

A publish writes beside the served model, verifies, renames, and swaps the link last. Whenever it fails or is killed,
``artifacts/model`` stays as it was. The next publish removes the remains of a killed one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import math
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hm_utils.files import file_entries, file_entry, follow, point_link

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
FORMAT = 15  # raise it when a reader of the old form would misread the new one
FACTS = ("data", "parameters", "metrics", "golden")  # the writer's entries of the manifest, each an object
LIBRARIES = ("numpy", "pandas", "torch", "scann", "safetensors", "pyarrow")
VERSION = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}")
PUBLISH_AGAIN = "publish it again with `make run`"


class BundleError(Exception):
    """A published model that must not be served, or could not be published.

    Attributes:
        folder: the model's folder, for the log.
        problem: the fault and the remedy, without a path outside the model, so that a client may see it.
    """

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(f"{folder}: {problem}")
        self.folder = folder
        self.problem = problem


def current(artifacts_dir: Path) -> Path | None:
    """The folder of the published version; None before the first."""
    link = artifacts_dir / "model"
    return follow(link) if link.exists() else None


def versions(artifacts_dir: Path) -> list[Path]:
    """The folders of all complete versions, oldest first."""
    models = artifacts_dir / "models"
    return sorted(path for path in models.glob("*") if path.is_dir() and VERSION.fullmatch(path.name))


def publish(
    artifacts_dir: Path,
    write: Callable[[Path], Mapping[str, Any]],
    check: Callable[[Path], object] | None = None,
    keep: int = 3,
) -> Path:
    """Write a model, verify it and make it the published one.

    Args:
        artifacts_dir: holds ``models/`` and the link ``model``.
        write: writes the files into the empty folder it is given, and returns the manifest's ``data``
            (fingerprint), ``parameters``, ``metrics`` and ``golden`` (a query with its answer), each a dict of
            plain values or numpy's; a number that is not finite becomes null.
        check: a last check before the swap, such as loading the folder and asking it the golden query. It refuses by
            raising.
        keep: number of newest versions to keep; older ones are deleted, but never the published one.

    Returns:
        The folder of the version now published.

    Raises:
        BundleError: another publish is under way.
        Exception: any error of ``write`` or ``check``. The published model then stays as it was.
    """
    if keep < 1:
        raise ValueError(f"keep must be 1 or more, not {keep}")
    artifacts_dir = artifacts_dir.absolute()
    models, link = artifacts_dir / "models", artifacts_dir / "model"
    models.mkdir(parents=True, exist_ok=True)
    with _only_publisher(models):
        created = datetime.now(UTC)
        stamp = created.strftime("%Y%m%dT%H%M%S.%fZ")
        partial = models / f".{stamp}.partial"
        partial.mkdir()
        try:
            manifest = _manifest(partial, write(partial), created, stamp)
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False))
            _sync_tree(partial)
            verify(partial)
            if check is not None:
                check(partial)
                verify(partial)  # loading a model must not have changed it
            for name in (*manifest["files"], MANIFEST):
                (partial / name).chmod(0o444)  # a service has some of them mapped: cutting one would end it
            version = models / manifest["version"]
            partial.rename(version)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _sync(models)
        point_link(link, version)
        _sync(artifacts_dir)
        logger.info("published %s", version.name)
        for old in versions(artifacts_dir)[:-keep]:
            if old != version:
                shutil.rmtree(old, ignore_errors=True)
    return version


def publish_again(artifacts_dir: Path, version: str, check: Callable[[Path], object]) -> Path:
    """Make a version that is still there the published one; returns its folder.

    Raises:
        BundleError: there is no such version, it is damaged, another publish is under way, or ``model`` is no link.
        Exception: any error of ``check``. The published model then stays as it was.
    """
    artifacts_dir = artifacts_dir.absolute()
    models, link = artifacts_dir / "models", artifacts_dir / "model"
    found = {path.name: path for path in versions(artifacts_dir)}
    if version not in found:
        raise BundleError(models, f"has no version {version!r:.100}; it has {', '.join(found) or 'none'}")
    if link.exists() and not link.is_symlink():
        raise BundleError(link, "is not a link that publishing made: move it away, then publish again")
    with _only_publisher(models):
        verify(found[version])
        check(found[version])
        point_link(link, found[version])
        _sync(artifacts_dir)
    logger.info("published %s", version)
    return found[version]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the model in ``folder``, its form checked; the other files are not read.

    Raises:
        BundleError: the folder or the manifest is missing, foreign, of another format, or was altered.
    """
    if not folder.is_dir():
        raise BundleError(folder, "no model is published here: run `make run` to train and publish one")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise BundleError(folder, f"{MANIFEST} is missing: {PUBLISH_AGAIN}") from None
    except (ValueError, RecursionError, OSError) as error:
        raise BundleError(folder, f"{MANIFEST} cannot be read ({error}): {PUBLISH_AGAIN}") from error
    if not isinstance(manifest, dict):
        raise BundleError(folder, f"{MANIFEST} is not a JSON object: {PUBLISH_AGAIN}")
    if manifest.get("format") != FORMAT:
        found = manifest.get("format")
        raise BundleError(folder, f"{MANIFEST} has format {found!r:.50}, this program reads {FORMAT}: {PUBLISH_AGAIN}")
    shape = {"version": str, "created": str, "libraries": dict, "files": dict, **dict.fromkeys(FACTS, dict)}
    for key, kind in shape.items():
        if not isinstance(manifest.get(key), kind):
            raise BundleError(folder, f"{MANIFEST} has no {key} of the right form: {PUBLISH_AGAIN}")
    for name, entry in manifest["files"].items():
        path = PurePosixPath(name)
        inside = not path.is_absolute() and ".." not in path.parts and str(path) == name
        if not inside or not isinstance(entry, dict) or set(entry) != {"sha256", "bytes"}:
            raise BundleError(folder, f"{MANIFEST} lists {name!r:.100} in an unknown form: {PUBLISH_AGAIN}")
    if not VERSION.fullmatch(manifest["version"]) or manifest["version"].rpartition("-")[2] != _digest(manifest):
        raise BundleError(folder, f"{MANIFEST} was altered after it was written: {PUBLISH_AGAIN}")
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Check every file of the model in ``folder`` against its manifest, and return the manifest.

    Resolve the link ``artifacts/model`` once, then verify and open its target: the link may move on at any moment.

    Raises:
        BundleError: as :func:`read_manifest`; or a file is missing, altered, or not in the manifest.
    """
    manifest = read_manifest(folder)
    listed = manifest["files"]
    present = _files(folder)
    for name in sorted(listed.keys() | present.keys()):
        if name not in present:
            raise BundleError(folder, f"{name} is missing: {PUBLISH_AGAIN}")
        if name not in listed:
            raise BundleError(folder, f"{name} does not belong to the model: remove it, or {PUBLISH_AGAIN}")
        try:
            entry = file_entry(present[name])
        except OSError as error:
            raise BundleError(folder, f"{name} cannot be read ({error.strerror})") from error
        if entry != listed[name]:
            raise BundleError(folder, f"{name} was altered after it was published: {PUBLISH_AGAIN}")
    return manifest


def _manifest(folder: Path, facts: Mapping[str, Any], created: datetime, stamp: str) -> dict[str, Any]:
    if not isinstance(facts, Mapping) or set(facts) != set(FACTS):
        given = sorted(facts) if isinstance(facts, Mapping) else type(facts).__name__
        raise BundleError(folder, f"the writer must return a dict of {', '.join(FACTS)}, and returned {given}")
    present = _files(folder)
    if not present or MANIFEST in present:
        raise BundleError(folder, f"the writer must leave its files, and no {MANIFEST}, in the folder it is given")
    manifest = {
        "format": FORMAT,
        "created": created.isoformat(timespec="seconds"),
        "libraries": _libraries(),
        **{name: _plain(facts[name]) for name in FACTS},
        "files": file_entries(folder),
    }
    return {"version": f"{stamp}-{_digest(manifest)}", **manifest}


def _digest(manifest: Mapping[str, Any]) -> str:
    """Eight hex digits over the manifest without its version, which carries them."""
    rest = {key: value for key, value in manifest.items() if key != "version"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    """``value`` for JSON: numpy's numbers and arrays as Python's, paths as text, NaN and infinity as null."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _libraries() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _files(folder: Path) -> dict[str, Path]:
    """Every file below ``folder`` but the manifest, by its relative name; a link is an error."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BundleError(folder, f"{name} is a link or a device, a model holds plain files: {PUBLISH_AGAIN}")
        if not path.is_dir() and name != MANIFEST:
            found[name] = path
    return found


@contextlib.contextmanager
def _only_publisher(models: Path) -> Iterator[None]:
    """Hold the lock of ``models``, which the system releases when a process dies, and remove a dead one's remains."""
    with (models / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BundleError(models, "another run is publishing here: wait for it, then publish again") from None
        except OSError as error:
            logger.warning("%s has no locks (%s): let only one run publish at a time", models, error.strerror)
        for leftover in models.glob(".*.partial"):
            logger.info("removing %s, left by a publish that was killed", leftover)
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _sync(path: Path) -> None:
    """Flush to disk: a rename that survives a power cut must not name files that did not."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _sync(path)
