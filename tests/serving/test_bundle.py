"""Publishing is all or nothing, and a model that was altered afterwards is named and refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hm_utils.files import follow
from hm_utils.serving import bundle
from hm_utils.serving.bundle import FORMAT, BundleError, current, publish, verify, versions
from tests.helpers.files import write_over

ROOT = Path(__file__).parents[2]


def facts(**metrics: Any) -> dict[str, Any]:
    return {
        "data": {"fingerprint": "abc"},
        "parameters": {"output_dim": 64, "data_dir": Path("data/raw")},
        "metrics": metrics or {"map@12": np.float32(0.25)},
        "golden": {"customer_id": "0" * 64, "article_ids": np.array(["0108775015"]), "scores": np.ones(1, np.float32)},
    }


def writer(text: str = "weights", **metrics: Any) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        (folder / "index").mkdir()
        (folder / "weights.bin").write_text(text)
        (folder / "index" / "ids.npy").write_bytes(b"ids")
        return facts(**metrics)

    return write


def state(artifacts: Path) -> dict[str, bytes | str]:
    """Every file, folder and link below ``artifacts`` except the lock."""

    def content(path: Path) -> bytes | str:
        if path.is_symlink():
            return f"-> {path.readlink()}"
        return path.read_bytes() if path.is_file() else "folder"

    return {str(path.relative_to(artifacts)): content(path) for path in artifacts.rglob("*") if path.name != ".lock"}


def test_what_is_published_is_what_was_written(tmp_path: Path) -> None:
    assert current(tmp_path) is None
    version = publish(tmp_path, writer())
    assert current(tmp_path) == version.resolve()
    assert (tmp_path / "model" / "weights.bin").read_text() == "weights"
    assert (tmp_path / "model").readlink() == Path("models") / version.name, "the link must survive moving artifacts"
    manifest = verify(tmp_path / "model")
    assert manifest["version"] == version.name
    assert sorted(manifest["files"]) == ["index/ids.npy", "weights.bin"]
    assert manifest["files"]["weights.bin"]["bytes"] == len("weights")
    assert manifest["metrics"] == {"map@12": 0.25}
    assert manifest["parameters"] == {"output_dim": 64, "data_dir": "data/raw"}
    assert manifest["golden"]["article_ids"] == ["0108775015"]
    assert manifest["libraries"]["numpy"] == np.__version__
    assert not list((tmp_path / "models").glob(".*.partial"))


def test_a_relative_artifacts_folder_works_and_numbers_that_json_lacks_become_null(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    publish(Path("artifacts"), writer(cold=float("nan"), warm=np.float64(np.inf), by_k=[np.nan, 1.0]))
    assert verify(Path("artifacts/model"))["metrics"] == {"cold": None, "warm": None, "by_k": [None, 1.0]}


def test_versions_sort_by_time_and_the_last_ones_stay(tmp_path: Path) -> None:
    published = [publish(tmp_path, writer(str(n)), keep=2) for n in range(4)]
    assert versions(tmp_path) == published[-2:]
    assert current(tmp_path) == published[-1].resolve()
    (tmp_path / "models" / "notes").mkdir()  # not a version: never deleted
    last = publish(tmp_path, writer(), keep=1)
    assert versions(tmp_path) == [last]
    assert (tmp_path / "models" / "notes").is_dir()
    with pytest.raises(ValueError, match="keep must be 1 or more"):
        publish(tmp_path, writer(), keep=0)


def test_the_published_version_is_kept_when_the_clock_went_back(tmp_path: Path) -> None:
    (tmp_path / "models" / "29990101T000000.000000Z-00000000").mkdir(parents=True)
    version = publish(tmp_path, writer(), keep=1)
    assert version in versions(tmp_path)
    verify(tmp_path / "model")


def refuse(folder: Path) -> None:
    raise RuntimeError(f"does not beat popularity ({folder.name})")


def write_and_fail(folder: Path) -> dict[str, Any]:
    writer("half")(folder)
    raise KeyboardInterrupt("stopped by hand")


@pytest.mark.parametrize(
    ("write", "check", "error"),
    [
        (writer("new"), refuse, "does not beat popularity"),
        (write_and_fail, None, "stopped by hand"),
        (lambda folder: {}, None, "must return a dict of data, parameters, metrics, golden"),
        (lambda folder: facts(), None, "must leave its files"),
        (lambda folder: {**writer()(folder), "golden": {1, 2}}, None, "not JSON serializable"),
        (writer("new"), lambda folder: (folder / "weights.bin").write_text("changed"), r"weights\.bin was altered"),
        (writer("new"), lambda folder: (folder / "cache").write_text("x"), "cache does not belong"),
    ],
)
def test_a_publish_that_fails_leaves_everything_as_it_was(
    tmp_path: Path, write: Callable[[Path], dict[str, Any]], check: Callable[[Path], object] | None, error: str
) -> None:
    publish(tmp_path, writer("old"))
    before = state(tmp_path)
    with pytest.raises(BaseException, match=error):
        publish(tmp_path, write, check)
    assert state(tmp_path) == before


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from hm_utils.serving import bundle
    from tests.serving.test_bundle import writer

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    def write(folder):
        given = writer("new")(folder)
        if sys.argv[2] == "write":
            die()
        return given

    where = sys.argv[2]
    if where == "before the swap":
        bundle.point_link = die
    if where == "amid the swap":
        Path.replace = die
    bundle.publish(Path(sys.argv[1]), write, die if where == "check" else None)
"""


@pytest.mark.parametrize("where", ["write", "check", "before the swap", "amid the swap"])
def test_a_killed_publish_leaves_the_published_model_and_the_next_one_cleans_up(tmp_path: Path, where: str) -> None:
    old = publish(tmp_path, writer("old"))
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), where], cwd=ROOT, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert current(tmp_path) == old.resolve()
    assert verify(tmp_path / "model")["version"] == old.name
    left = names(tmp_path / "models") | names(tmp_path)
    assert left != {"models", "model", ".lock", old.name}, "the kill came too late to leave partial files"

    new = publish(tmp_path, writer("newer"))
    assert (tmp_path / "model" / "weights.bin").read_text() == "newer"
    assert names(tmp_path) == {"models", "model"}
    assert all(name == ".lock" or bundle.VERSION.fullmatch(name) for name in names(tmp_path / "models"))
    for version in versions(tmp_path):
        verify(version)
    assert versions(tmp_path)[-1] == new


def test_the_link_is_never_absent_while_it_is_swapped(tmp_path: Path) -> None:
    publish(tmp_path, writer("0"))
    code = """
        import sys
        from pathlib import Path
        from hm_utils.serving.bundle import publish
        from tests.serving.test_bundle import writer
        for n in range(12):
            publish(Path(sys.argv[1]), writer(str(n)))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], cwd=ROOT)
    seen = set()
    while process.poll() is None:
        folder = (tmp_path / "model").resolve()
        assert bundle.VERSION.fullmatch(folder.name), "no model was published for a moment"
        seen.add(folder.name)
    assert process.returncode == 0
    assert len(seen) > 3


def test_a_second_publisher_is_refused(tmp_path: Path) -> None:
    def write_while_publishing(folder: Path) -> dict[str, Any]:
        with pytest.raises(BundleError, match="another run is publishing"):
            publish(tmp_path, writer("second"))
        return writer("first")(folder)

    publish(tmp_path, write_while_publishing)
    assert (tmp_path / "model" / "weights.bin").read_text() == "first"


def test_a_copy_without_links_can_be_published_to(tmp_path: Path) -> None:
    """``cp -rL`` makes folders of links; a folder in the place of the link is kept beside it."""
    publish(tmp_path / "original", writer("first"))
    shutil.copytree(tmp_path / "original", tmp_path / "copy")  # follows links
    published = publish(tmp_path / "copy", writer("second"))
    assert current(tmp_path / "copy") == published
    (kept,) = (tmp_path / "copy").glob("model-before-*")
    assert (kept / "weights.bin").read_text() == "first"


def test_publishing_does_without_symbolic_links_and_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*arguments: Any) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(Path, "symlink_to", unsupported)
    monkeypatch.setattr("fcntl.flock", unsupported)
    for text in ("first", "second"):
        published = publish(tmp_path, writer(text))
        assert current(tmp_path) == published
        assert follow(tmp_path / "model") == published
        assert verify(published)["version"] == published.name


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, the size as it was
    write_over(path, bytes(content))


def manifest_with(**change: Any) -> Callable[[Path], Any]:
    def write(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        write_over(folder / "manifest.json", json.dumps({**manifest, **change}).encode())

    return write


ALTERED = "was altered after it was written"
OUTSIDE = {"sha256": "", "bytes": 0}


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (
            lambda folder: (folder / "weights.bin").unlink(),
            r"weights\.bin is missing: publish it again with `make run`",
        ),
        (lambda folder: alter(folder / "weights.bin"), r"weights\.bin was altered"),
        (lambda folder: alter(folder / "index" / "ids.npy"), r"index/ids\.npy was altered"),
        (lambda folder: write_over(folder / "weights.bin", b""), r"weights\.bin was altered"),
        (lambda folder: (folder / "index" / "docids.pkl").write_text(""), r"index/docids\.pkl does not belong"),
        (lambda folder: (folder / "also.bin").symlink_to("weights.bin"), r"also\.bin is a link"),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json is missing"),
        (lambda folder: write_over(folder / "manifest.json", b"{"), r"manifest\.json cannot be read"),
        (lambda folder: write_over(folder / "manifest.json", b"\xff\xfe"), r"manifest\.json cannot be read"),
        (lambda folder: write_over(folder / "manifest.json", b"[" * 100_000), r"manifest\.json cannot be read"),
        (lambda folder: write_over(folder / "manifest.json", b"[]"), r"manifest\.json is not a JSON object"),
        (lambda folder: write_over(folder / "manifest.json", b"{}"), r"manifest\.json has format None"),
        (manifest_with(metrics={"map@12": 0.99}), ALTERED),
        (manifest_with(golden={}), ALTERED),
        (manifest_with(version="20260101T000000.000000Z-00000000"), ALTERED),
        (manifest_with(version=7), "no version of the right form"),
        (manifest_with(files=["weights.bin"]), "no files of the right form"),
        (manifest_with(files={"../../etc/passwd": OUTSIDE}), "in an unknown form"),
        (manifest_with(files={"/etc/passwd": OUTSIDE}), "in an unknown form"),
        (manifest_with(files={"weights.bin": "abc"}), "in an unknown form"),
        (manifest_with(golden=None), "no golden of the right form"),
        (manifest_with(format=FORMAT + 1), f"has format {FORMAT + 1}, this program reads {FORMAT}"),
    ],
)
def test_a_damaged_model_is_refused_and_the_problem_named(
    tmp_path: Path, damage: Callable[[Path], Any], problem: str
) -> None:
    folder = publish(tmp_path, writer())
    verify(folder)
    damage(folder)
    with pytest.raises(BundleError, match=problem) as caught:
        verify(tmp_path / "model")
    assert str(tmp_path) not in caught.value.problem, "a client may read this"
    assert str(tmp_path) in str(caught.value)


def test_nothing_published_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="run `make run`"):
        verify(tmp_path / "model")
    (tmp_path / "model").symlink_to("models/gone")
    assert current(tmp_path) is None
    with pytest.raises(BundleError, match="run `make run`"):
        verify(tmp_path / "model")
    publish(tmp_path, writer())  # replaces a link without a target
    verify(tmp_path / "model")
