"""Open a model in a process of its own first: native code that reads a damaged file may end the process.

    python -m hm_utils.serving.trial artifacts/model

Exit codes: 0 the model can be served, 1 it cannot, and the output says why.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hm_utils.serving.bundle import PUBLISH_AGAIN, BundleError

SECONDS = 900.0  # a full-size model takes ten


def try_model(folder: Path) -> None:
    """Open ``folder`` and ask it the golden query, in another process. A vector store has no part in it.

    Raises:
        BundleError: it cannot be opened, answers differently, or ends the process.
    """
    command = [sys.executable, "-m", "hm_utils.serving.trial", str(folder)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise BundleError(folder, f"was not open after {SECONDS:.0f} seconds: {PUBLISH_AGAIN}") from None
    if done.returncode == 1 and done.stdout:
        raise BundleError(folder, done.stdout.decode(errors="replace"))
    if done.returncode:
        how = f"exit code {done.returncode}" if done.returncode > 0 else signal.Signals(-done.returncode).name
        raise BundleError(folder, f"ends the process that opens it ({how}): {PUBLISH_AGAIN}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hm_utils.serving.trial", description="Try to open a model.")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    import torch

    from hm_utils.serving.recommender import Recommender

    torch.set_num_threads(1)
    try:
        Recommender.load(options.folder)
    except BundleError as error:
        sys.stdout.write(error.problem)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
