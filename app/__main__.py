"""``python -m app --port 8000 --workers 2``: run the service with the settings of the environment."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile

import uvicorn
from uvicorn.supervisors import Multiprocess

from app.http_protocol import uvicorn_settings
from app.logs import log_config
from app.settings import MULTIPROCESS, SettingsError, read_settings

APPLICATION = "app.main:app"
HUNG_SECONDS = 30  # a worker that does not answer its supervisor for so long is replaced


def main(application: str = APPLICATION) -> None:
    """Serve until SIGTERM or Ctrl+C, then finish the requests in progress. A worker that dies is replaced."""
    parser = argparse.ArgumentParser(prog="python -m app", description="Serve the published model.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1, help="processes; they share the model's mapped files")
    arguments = parser.parse_args()
    if arguments.workers < 1:
        parser.error("--workers must be 1 or more")
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.exit(f"wrong setting: {error}")
    with contextlib.ExitStack() as stack:
        if arguments.workers > 1:
            folder = tempfile.TemporaryDirectory(prefix="hm-metrics-", ignore_cleanup_errors=True)
            os.environ[MULTIPROCESS] = stack.enter_context(folder)  # the workers import prometheus_client after this
        config = uvicorn.Config(
            application,
            host=arguments.host,
            port=arguments.port,
            workers=arguments.workers,
            log_config=log_config(settings),
            access_log=False,  # the application writes its own
            server_header=False,
            proxy_headers=False,  # the client's address is not used
            timeout_graceful_shutdown=settings.shutdown_seconds,
            timeout_worker_healthcheck=HUNG_SECONDS,
            **uvicorn_settings(settings.max_connections),
        )
        listening = config.bind_socket()
        listening.listen(config.backlog)  # a client waits while a worker starts
        Multiprocess(config, sockets=[listening]).run()


if __name__ == "__main__":
    main()
