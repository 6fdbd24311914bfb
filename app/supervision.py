"""A worker without its supervisor ends: it would keep the port, and nobody would restart or stop it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading

from app.logs import end_logs, logger
from app.settings import MULTIPROCESS


def end_with_supervisor() -> None:
    """Finish the requests in progress and end when the process that started this one is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        logger.error("the supervisor is gone: ending")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="hm-supervisor", daemon=True).start()


def clean_up() -> None:
    """Write the log so far, and remove the folder of the metrics if the supervisor, whose task this is, is gone."""
    end_logs()
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive() and MULTIPROCESS in os.environ:
        shutil.rmtree(os.environ[MULTIPROCESS], ignore_errors=True)
