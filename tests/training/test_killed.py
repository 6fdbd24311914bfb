"""SIGKILL and a full disk at every change of a file: a rerun redoes or resumes, and no half-written file is read.

An audit hook sees every file that Python opens for writing, and every folder or file that it makes, renames or removes.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hm_utils.data.preprocessed_folder import PreprocessedError
from hm_utils.data.preprocessing import Preprocessed, preprocess
from tests.helpers.data import raw_tables

ROOT = Path(__file__).parents[2]


def interrupt(folder: str, nth: int, how: Callable[[], None]) -> None:
    """Call ``how`` at the n-th change of a file in ``folder``. Use it in a subprocess: a hook cannot be removed."""
    seen = 0
    # A full disk stops only changes that take space; a kill comes at any.
    changes = {"os.mkdir"} if how is fill_disk else {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = event == "open" and arguments[1] is not None and set(str(arguments[1])) & set("wax+")
        made_before = event == "os.mkdir" and Path(str(arguments[0])).is_dir()
        if (writes or event in changes) and str(arguments[0]).startswith(folder) and not made_before:
            seen += 1
            if seen == nth:
                how()

    sys.addaudithook(hook)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def make(folder: Path, seed: int) -> Preprocessed:
    tables = raw_tables()
    return preprocess(tables, folder / "made", val_days=3, test_days=5, train_weeks=2, seed=seed)


def forked(work: Callable[[], object]) -> int:
    """The exit code of a child process that does ``work``: negative if killed, 3 if the disk is full."""
    child = os.fork()
    if child == 0:
        code = 4
        try:
            work()
            code = 0
        except OSError as error:
            code = 3 if error.errno == errno.ENOSPC else 4
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fingerprint_in(folder: Path) -> str:
    try:
        return Preprocessed.load(folder / "made").fingerprint
    except PreprocessedError as error:
        if "holds no preprocessed data: run notebook 02_preprocessing first" not in str(error):
            raise
        return "none"


@pytest.mark.parametrize("how", [kill, fill_disk])
def test_interrupted_preprocessing_leaves_the_old_data_or_the_new(how, tmp_path):
    old = make(tmp_path, seed=1).fingerprint
    found, moments = set(), 0

    def interrupted() -> None:
        interrupt(str(tmp_path), moments + 1, how)
        make(tmp_path, seed=2)

    while (code := forked(interrupted)) != 0:
        assert code == (-signal.SIGKILL if how is kill else 3)
        moments += 1
        found.add(fingerprint_in(tmp_path))
        if fingerprint_in(tmp_path) != old:
            make(tmp_path, seed=1)
    assert moments > 8
    new = make(tmp_path, seed=2).fingerprint
    assert old in found
    assert found <= {old, new, "none"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"], "partial files are left"


# In a new process, since forking is not safe in one whose torch has threads.
TRAIN = """
import signal, sys
from pathlib import Path
import torch
from tests.training.test_killed import forked, interrupt, kill
from tests.helpers.training import fixed_parts, run, weights
torch.set_num_threads(1)
folder = Path(sys.argv[1])

def train(name, nth=0):
    path = folder / f"{name}.pt"
    def work():
        if nth:
            interrupt(str(folder), nth, kill)
        result = run(fixed_parts(), path, num_epochs=3)
        torch.save((result.resumed_from, weights(result.model)), path.with_suffix(".end"))
    return forked(work)

assert train("whole") == 0
for nth in (2, 7, 4):  # each epoch opens and renames the checkpoint, then the resume file; a rerun cleans up first
    assert train("killed", nth) == -signal.SIGKILL
assert train("killed") == 0
"""


def test_a_killed_training_resumes_to_the_same_weights(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", TRAIN, str(tmp_path)], env=environment, cwd=ROOT, timeout=120, check=True)
    whole, killed = (torch.load(tmp_path / f"{name}.end", weights_only=True) for name in ("whole", "killed"))
    assert killed[0] > 0
    for name, value in whole[1].items():
        torch.testing.assert_close(value, killed[1][name], rtol=0, atol=0)
    assert not list(tmp_path.glob("*.resume"))
