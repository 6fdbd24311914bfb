"""``python -m app.cluster --replicas 2``: the service on Ray Serve, on this machine or on the cluster at RAY_ADDRESS.

On this machine it starts Ray and serves until SIGTERM or Ctrl+C. On a cluster it deploys and exits, and the service
keeps running. A second call rolls out new code and settings without dropping a request. A new model needs no call:
every replica loads it by itself, like a worker of ``python -m app``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from app.cluster.replica import ENVIRONMENT, NAME, deployment
from app.settings import Settings, SettingsError, model_folder, read_settings
from hm_utils.files import follow
from hm_utils.serving.bundle import BundleError, read_manifest

if TYPE_CHECKING:
    from app.serving.model import Load

OBJECT_STORE = 100 * 2**20  # bytes; requests do not pass through it


class ClusterServeError(RuntimeError):
    """The service cannot be started. The message has the reason and the remedy."""


def start(settings: Settings, replicas: int, host: str, port: int, load: Load | None = None) -> None:
    """Connect to Ray or start it, deploy, and return when every replica answers.

    Raises:
        ClusterServeError: Ray is not installed, the cluster's nodes were started without ``ENVIRONMENT``, or no replica
            started. In the last case the previous deployment keeps serving.
    """
    if importlib.util.find_spec("ray") is None:
        raise ClusterServeError("Ray is not installed: `make cluster-env`, or serve without it: `python -m app`")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)  # read at the import of ray.serve, in this process and its children
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import serve

    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init()
        else:
            # One slot per replica, whatever the number of cores, and one for the first new replica of a rollout.
            ray.init(num_cpus=replicas + 1, include_dashboard=False, object_store_memory=OBJECT_STORE)
    missing = ray.get(ray.remote(num_cpus=0)(missing_variables).remote())
    if missing:
        assignments = " ".join(f"{name}='{ENVIRONMENT[name]}'" for name in missing)
        raise ClusterServeError(f"start Ray's nodes with these variables, or requests will be dropped: {assignments}")
    serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
    try:
        serve.run(deployment(settings, replicas, load), name=NAME, route_prefix="/")
    except RuntimeError as error:
        raise ClusterServeError(f"no replica started; the previous deployment keeps serving: {error}") from error


def missing_variables() -> list[str]:
    """The variables of ``ENVIRONMENT`` that are not set in this process."""
    return [name for name in ENVIRONMENT if name not in os.environ]


def stop() -> None:
    """Stop the service and the Ray that :func:`start` started. Requests in progress are finished."""
    import ray
    from ray import serve

    serve.shutdown()
    ray.shutdown()


def main() -> None:
    """Deploy; on this machine, serve until SIGTERM or Ctrl+C."""
    parser = argparse.ArgumentParser(prog="python -m app.cluster", description=__doc__)
    parser.add_argument("--replicas", type=int, default=2, help="on all machines together (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for other machines (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port of HAProxy on every machine (%(default)s)")
    arguments = parser.parse_args()
    if arguments.replicas < 1:
        parser.error("--replicas must be 1 or more")
    try:
        settings = read_settings()
        read_manifest(follow(model_folder(settings)))
        start(settings, arguments.replicas, arguments.host, arguments.port)
    except SettingsError as error:
        sys.exit(f"wrong setting: {error}")
    except (BundleError, ClusterServeError) as error:
        sys.exit(f"error: {error}")
    if os.environ.get("RAY_ADDRESS"):
        print("deployed; `serve status` shows its state, `serve shutdown` stops it", file=sys.stderr)
        return
    print(f"{arguments.replicas} replicas at http://{arguments.host}:{arguments.port}", file=sys.stderr)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    stopping.wait()
    stop()


if __name__ == "__main__":
    main()
