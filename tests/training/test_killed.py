"""SIGKILL and a full disk at every file that a stage touches: a rerun redoes or resumes, nothing half-written is read.

The hook sees what Python opens for writing, makes, renames and removes; each of these is a moment to be killed at.
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

from hm_utils.data.preprocessed_folder import PreprocessedError
from hm_utils.data.preprocessing import Preprocessed, preprocess
from hm_utils.data.raw import RawTables
from tests.helpers.data import article_table, customer_table, random_transactions

ROOT = Path(__file__).parents[2]


def interrupt(folder: str, nth: int, how: Callable[[], None]) -> None:
    """Do ``how`` at the n-th change of a file in ``folder``. For a process of its own: the hook stays."""
    seen = 0
    # A full disk hinders what takes space; one may be killed at the rest as well.
    changes = {"os.mkdir"} if how is fill_disk else {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = event == "open" and arguments[1] is not None and set(str(arguments[1])) & set("wax+")
        if (writes or event in changes) and str(arguments[0]).startswith(folder):
            seen += 1
            if seen == nth:
                how()

    sys.addaudithook(hook)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def make(folder: Path, seed: int) -> Preprocessed:
    tables = RawTables(article_table(), customer_table(), random_transactions(), [], {}, "raw")
    return preprocess(tables, folder / "made", val_days=3, test_days=5, train_weeks=2, seed=seed)


def made_interrupted(folder: Path, nth: int, how: Callable[[], None]) -> bool:
    """Preprocess in a process of its own, interrupted at the n-th change; whether it came so far."""
    child = os.fork()
    if child == 0:
        try:
            interrupt(str(folder), nth, how)
            make(folder, seed=2)
        except OSError as error:
            os._exit(3 if error.errno == errno.ENOSPC else 4)
        except BaseException:
            os._exit(4)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) in (0, 3)
    return os.WEXITSTATUS(status) == 3


@pytest.mark.parametrize("how", [kill, fill_disk])
def test_preprocessing_is_the_old_one_or_the_new_one_whenever_it_is_interrupted(how, tmp_path):
    old = make(tmp_path, seed=1).fingerprint
    found, moments = set(), 0
    while made_interrupted(tmp_path, moments + 1, how):
        moments += 1
        found.add(fingerprint_in(tmp_path))
        if fingerprint_in(tmp_path) != old:
            make(tmp_path, seed=1)
    assert moments > 8
    new = make(tmp_path, seed=2).fingerprint
    assert old in found
    assert found <= {old, new, "none"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"], "rubbish is left"


def fingerprint_in(folder: Path) -> str:
    try:
        return Preprocessed.load(folder / "made").fingerprint
    except PreprocessedError as error:
        if "holds no preprocessed data: run notebook 02_preprocessing first" not in str(error):
            raise
        return "none"


TRAIN = """
import sys
from pathlib import Path
import torch
from tests.training.test_killed import interrupt, kill
from tests.training.test_loop import fixed_parts, run, weights
torch.set_num_threads(1)
path, nth = Path(sys.argv[1]), int(sys.argv[2])
if nth:
    interrupt(str(path.parent), nth, kill)
result = run(fixed_parts(), path, num_epochs=3)
torch.save((result.resumed_from, weights(result.model)), path.with_suffix(".end"))
"""


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(tmp_path):
    import torch

    def train(name: str, nth: int) -> int:
        command = [sys.executable, "-c", TRAIN, str(tmp_path / name), str(nth)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, cwd=ROOT, timeout=120).returncode

    assert train("whole.pt", 0) == 0
    # Of each epoch the checkpoint is written and renamed into place, then the resume file.
    for nth in (2, 4, 5):
        assert train("killed.pt", nth) == -signal.SIGKILL
    assert train("killed.pt", 0) == 0
    whole, killed = (torch.load(tmp_path / f"{name}.end", weights_only=True) for name in ("whole", "killed"))
    assert killed[0] > 0
    for name, value in whole[1].items():
        torch.testing.assert_close(value, killed[1][name], rtol=0, atol=0)
    assert not list(tmp_path.glob("*.resume"))
