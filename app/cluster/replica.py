"""The application as a Ray Serve deployment.

    serve run app.cluster.replica:application replicas=2

or, in a config file, ``import_path: app.cluster.replica:application``.

Each replica holds one model. Replicas on one machine share its memory-mapped files. Settings, limits, key, hot reload
and errors work as in a worker of ``python -m app``. Serve starts replicas, replaces those that die, and rolls out new
code and settings. Its HAProxy distributes the requests (see ``ENVIRONMENT``).
"""

from __future__ import annotations

import logging.config
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.settings import MULTIPROCESS, Settings, read_settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

    from app.serving.model import Load

# Serve's processes read these when they start, so on a cluster they must be set before `ray start`.
ENVIRONMENT = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # HAProxy retries requests that a dead replica left unanswered. Serve's default retries only unsent requests, since
    # others may have changed something. Ours only read, and a repeated reload has no further effect.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response junk-response",
    # Only a buffered request can be retried. The buffer holds the application's largest body, and its headers.
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str((128 + 16) * 1024),
    # Seconds that a stopping replica stays reachable. HAProxy is notified at once and retries refused requests
    # elsewhere. The default of 30 is for load balancers that poll.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
    # The application moves slow work off its event loop itself.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
}

NAME = "hm"  # the application's name in `serve status`
HEALTH_SECONDS = 5.0  # between Serve's health checks of a replica
# Serve queues requests above its limit, but the application rejects them. Its limit is the application's plus room for
# /health, /ready and /metrics.
BEYOND_LIMIT = 100


class Replica:
    """One replica. Serve calls the public methods."""

    def __init__(self, settings: Settings, metrics: str, load: Load | None = None) -> None:
        """``metrics`` is the folder that the replicas of one machine share; see :func:`deployment` for the others."""
        self._settings, self._load = settings, load
        Path(metrics).mkdir(parents=True, exist_ok=True)
        os.environ[MULTIPROCESS] = metrics  # before prometheus_client is imported

    def __serve_build_asgi_app__(self) -> FastAPI:
        import uvicorn.config

        from app.logs import log_config, logger
        from app.main import create_app
        from app.serving.model import load_recommender

        # Serve's server requests the protocol "auto".
        uvicorn.config.HTTP_PROTOCOLS["auto"] = "app.cluster.joined_writes:JoinedWritesProtocol"
        logging.config.dictConfig(log_config(self._settings))
        logger.setLevel(self._settings.log_level)  # Serve silences uvicorn's logger, the parent of ours
        self._app = create_app(load=self._load or load_recommender, settings=self._settings)
        return self._app

    def check_health(self) -> None:
        """Raises RuntimeError without a model, so a rollout stops at its first replica and the old ones stay.

        A running replica always has a model, as one that cannot be served leaves the old one. An unreachable vector
        store does not make a replica unhealthy: a replacement would use the same store.
        """
        serving = self._app.state.serving
        if serving.recommender is None:
            raise RuntimeError(serving.problem)


def deployment(settings: Settings, replicas: int, load: Load | None = None) -> Application:
    """The application for ``serve.run``.

    Args:
        settings: of every replica; paths are paths on the replicas' machines.
        replicas: number of replicas on all machines.
        load: ``create_app``'s.
    """
    from ray import serve

    metrics = f"{tempfile.gettempdir()}/hm-metrics-{os.getpid()}-{time.time_ns()}"
    replica = serve.deployment(
        name="recommender",
        num_replicas=replicas,
        max_ongoing_requests=settings.max_in_flight + BEYOND_LIMIT,
        health_check_period_s=HEALTH_SECONDS,
        graceful_shutdown_timeout_s=settings.shutdown_seconds,
        max_surge_percent=1,  # rounded up: a rollout starts one new replica before it stops an old one
        max_constructor_retry_count=2,
        logging_config={"enable_access_log": False},  # the application writes its own
        ray_actor_options={"num_cpus": 1},
    )
    return replica(serve.ingress()(Replica)).bind(settings, metrics, load)


def application(arguments: Mapping[str, Any]) -> Application:
    """The deployment with the settings of the environment, for Serve's own commands. ``replicas`` defaults to 2."""
    return deployment(read_settings(), int(arguments.get("replicas", 2)))
