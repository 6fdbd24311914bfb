"""Writes are whole or absent, whatever fails."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hm_utils.files import atomic_replace, follow, point_link, resolve

KILLED = """
import os, signal, sys
from pathlib import Path
from hm_utils.files import atomic_replace
with atomic_replace(Path(sys.argv[1])) as partial:
    partial.write_text("left behind")
    os.kill(os.getpid(), signal.SIGKILL)
"""
MANY = """
import sys
from pathlib import Path
from hm_utils.files import atomic_replace
for number in range(50):
    with atomic_replace(Path(sys.argv[1])) as partial:
        partial.mkdir()
        for name in "ab":
            (partial / name).write_text(f"{sys.argv[2]} {number}")
"""


@pytest.mark.parametrize("folder", [False, True])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_beside_it(tmp_path, folder):
    path = tmp_path / "made"

    def write(partial, text):
        if folder:
            partial.mkdir(exist_ok=True)
        (partial / "file" if folder else partial).write_text(text)

    with atomic_replace(path) as partial:
        write(partial, "old")
        assert not path.exists()
    with pytest.raises(TypeError), atomic_replace(path) as partial:
        write(partial, write(partial, "half"))
    read = path / "file" if folder else path
    assert read.read_text() == "old"
    run = [sys.executable, "-c", KILLED, str(path)]
    assert subprocess.run(run, check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_replace(path) as partial:
        write(partial, "new")
    assert read.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["made"]


TWO_WRITERS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from hm_utils.files import atomic_replace

def write(number):
    with atomic_replace(Path(sys.argv[1])) as partial:
        if sys.argv[2] == "folder":
            partial.mkdir()
            (partial / "one").write_text("whole")
            (partial / "two").write_text("whole")
        else:
            partial.write_text("whole")

with ThreadPoolExecutor(4) as threads:
    list(threads.map(write, range(100)))
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_threads_and_processes_that_write_at_once_all_succeed(tmp_path, kind):
    command = [sys.executable, "-c", TWO_WRITERS, str(tmp_path / "made"), kind]
    writers = [subprocess.Popen(command) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert [each.name for each in tmp_path.iterdir()] == ["made"]
    found = sorted(tmp_path.glob("made/*")) if kind == "folder" else [tmp_path / "made"]
    assert [path.read_text() for path in found] == ["whole"] * (2 if kind == "folder" else 1)


def test_a_file_does_not_replace_a_folder_and_a_folder_no_file(tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    for path in (folder / "kept", file):
        path.write_text("kept")
    with pytest.raises(IsADirectoryError), atomic_replace(folder) as partial:
        partial.write_text("new")
    with pytest.raises(NotADirectoryError), atomic_replace(file) as partial:
        partial.mkdir()
    assert (folder / "kept").read_text() == file.read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_replaces_a_link_and_not_its_target(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir()
    (target / "kept").write_text("kept")
    link.symlink_to(target)
    with atomic_replace(link) as partial:
        partial.mkdir()
    assert link.is_dir()
    assert not link.is_symlink()
    assert (target / "kept").read_text() == "kept"


def test_a_link_moves_on_and_a_folder_of_its_name_is_kept(tmp_path):
    for name in ("one", "two", "latest"):
        (tmp_path / name).mkdir()
    (tmp_path / "latest" / "file").write_text("kept")
    for name in ("one", "two"):
        point_link(tmp_path / "latest", tmp_path / name)
        assert (tmp_path / "latest").resolve() == tmp_path / name
    (kept,) = tmp_path.glob("latest-before-*")
    assert (kept / "file").read_text() == "kept"


def test_many_processes_replace_one_folder(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path / "made"), name]) for name in "1234"]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert [each.name for each in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "a").read_text() == (tmp_path / "made" / "b").read_text()


def test_a_folder_that_is_as_good_stays(tmp_path):
    for text in ("first", "second"):
        with atomic_replace(tmp_path / "made", keep=lambda partial: (tmp_path / "made").exists()) as partial:
            partial.mkdir()
            (partial / "file").write_text(text)
    assert (tmp_path / "made" / "file").read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["made"]


def test_a_file_system_without_symbolic_links(tmp_path, monkeypatch):
    def none(self, target, target_is_directory=False):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(self))

    monkeypatch.setattr(Path, "symlink_to", none)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        point_link(tmp_path / "latest", tmp_path / name)
        assert follow(tmp_path / "latest") == resolve(tmp_path / "latest") == tmp_path / name
    assert sorted(each.name for each in tmp_path.iterdir()) == ["latest", "one", "two"]
    monkeypatch.undo()
    point_link(tmp_path / "latest", tmp_path / "one")
    assert (tmp_path / "latest").is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["latest", "one", "two"]
