"""The application as a Ray Serve deployment: what a replica is, and what Serve must be told of it.

    serve run app.cluster.replica:application replicas=2

or, in a config file, ``import_path: app.cluster.replica:application``.

Each replica holds one model; those on one machine share its memory-mapped files. Settings, limits, key, hot reload and
errors are the application's own, in every replica as in a worker of ``python -m app``. Serve starts replicas, replaces
those that die, rolls new code or settings through them, and its HAProxy spreads the requests (see ``ENVIRONMENT``).
"""

from __future__ import annotations

import logging.config
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.settings import Settings, read_settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

    from app.serving.model import Load

# Read by Serve's processes on every node when they start: to be set before `ray start`, where that is used.
ENVIRONMENT = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # A replica that dies leaves requests without an answer: HAProxy asks another one. Serve's default is to ask again
    # only what was never sent, as a request might change something; ours only read, and a reload is the same twice.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response junk-response",
    # A request that does not fit is not kept, and cannot be asked again: the application's largest, and its headers.
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str((128 + 16) * 1024),
    # Seconds that a replica stays reachable when it is to end. HAProxy is told at once, and what comes later is
    # refused, so that it asks another. (The default, 30, is for balancers that look now and then.)
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
    # The application keeps slow work off its event loop by itself.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
}

NAME = "hm"  # of the application, in `serve status`
HEALTH_SECONDS = 5.0  # between two of Serve's looks at a replica
# Serve lets no more in at once and queues the rest; the application refuses above its own limit, and /health, /ready
# and /metrics are to be answered all the same.
BEYOND_LIMIT = 100


class Replica:
    """One replica; Serve calls what is not private."""

    def __init__(self, settings: Settings, metrics: str, load: Load | None = None) -> None:
        """Args: as of :func:`deployment`."""
        self._settings, self._load = settings, load
        folder = Path(metrics)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics  # before prometheus_client is imported

    def __serve_build_asgi_app__(self) -> FastAPI:
        import uvicorn.config

        from app.logs import log_config, logger
        from app.main import create_app
        from app.serving.model import load_recommender

        uvicorn.config.HTTP_PROTOCOLS["auto"] = (
            "app.cluster.joined_writes:JoinedWritesProtocol"  # what Serve's own server asks for
        )
        logging.config.dictConfig(log_config(self._settings))
        logger.setLevel(self._settings.log_level)  # Serve silences uvicorn's own logger, above ours
        self._app = create_app(self._settings.model, self._load or load_recommender, self._settings)
        return self._app

    def check_health(self) -> None:
        """A replica without a model never starts: a rollout stops at the first, and the old replicas go on.

        Later there always is one, as a model that cannot be served leaves the old one. Whether a vector store answers
        is no question of a replica's health, as a new replica would not have another.
        """
        serving = self._app.state.serving
        if serving.recommender is None:
            raise RuntimeError(serving.problem)


def deployment(settings: Settings, replicas: int, metrics: str, load: Load | None = None) -> Application:
    """The application to give to ``serve.run``.

    Args:
        settings: of every replica; paths are those of the replicas' machines.
        replicas: how many.
        metrics: a folder, on each machine its own, in which its replicas count together.
        load: of ``create_app``.
    """
    from ray import serve

    of_replica = serve.deployment(
        name="recommender",
        num_replicas=replicas,
        max_ongoing_requests=settings.max_in_flight + BEYOND_LIMIT,
        health_check_period_s=HEALTH_SECONDS,
        graceful_shutdown_timeout_s=settings.shutdown_seconds,
        max_surge_percent=1,  # rounded up: a rollout starts one more replica before it ends an old one
        max_constructor_retry_count=2,
        logging_config={"enable_access_log": False},  # the application writes its own
        ray_actor_options={"num_cpus": 1},
    )
    return of_replica(serve.ingress()(Replica)).bind(settings, metrics, load)


def application(arguments: Mapping[str, Any]) -> Application:
    """The deployment with the settings of this environment, for Serve's own commands; ``replicas`` is 2 if left out."""
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"hm-metrics-{os.getpid()}"
    return deployment(read_settings(), int(arguments.get("replicas", 2)), str(folder))
