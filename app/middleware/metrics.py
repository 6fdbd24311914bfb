"""What is counted and timed, in Prometheus' format. A registry an application, so that tests may build many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app.serving.model import Serving, data_until

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own: where the workers of one service meet
NO_ROUTE = "none"  # refused, or a path that does not exist: one label, whatever a scanner asks for
METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

disable_created_metrics()  # a series beside every counter that says when it began


class Metrics:
    """The service's counters. With several workers each adds to files that the one who is asked reads."""

    def __init__(self, serving: Callable[[], Serving]) -> None:
        self._registry = CollectorRegistry()
        self._model = ModelMetrics(serving)
        self._registry.register(self._model)
        self._requests = Counter(
            "hm_requests", "Requests answered.", ["route", "method", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "hm_request_seconds", "Time to answer.", ["route"], buckets=BUCKETS, registry=self._registry
        )
        self.in_flight = Gauge(
            "hm_requests_in_flight",
            "Requests that count towards HM_MAX_IN_FLIGHT.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        shed = Counter("hm_requests_shed", "Refused because too much is under way.", ["at"], registry=self._registry)
        self.shed_at_door, self.shed_at_pool = shed.labels("door"), shed.labels("pool")
        self.reloads = Counter(
            "hm_model_reloads", "Looks at a model that was newly published.", ["outcome"], registry=self._registry
        )
        # Looking a child up by its labels takes longer than counting.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request and its time; status 0 is a request that was given up without an answer."""
        key = (route, method if method in METHODS else "other", status)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = self._requests.labels(*map(str, key)), self._seconds.labels(route)
        children[0].inc()
        children[1].observe(seconds)

    def text(self) -> bytes:
        """Everything, in the text format."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        together.register(self._model)
        return generate_latest(together)

    def close(self) -> None:
        """Take this worker out of what is summed over the living."""
        if MULTIPROCESS in os.environ:
            mark_process_dead(os.getpid())


class ModelMetrics(Collector):
    """The model that is served when somebody asks."""

    def __init__(self, serving: Callable[[], Serving]) -> None:
        self._serving = serving

    def collect(self) -> Iterable[Metric]:
        recommender = self._serving().recommender
        yield GaugeMetricFamily("hm_model_ready", "1 while a model is served.", float(recommender is not None))
        if recommender is None:
            return
        info = GaugeMetricFamily("hm_model_info", "The model that is served.", labels=["version", "data_until"])
        info.add_metric([recommender.version, data_until(recommender) or ""], 1)
        yield info
        yield GaugeMetricFamily("hm_index_articles", "Articles in the index.", len(recommender.article_ids))
        published = published_at(recommender.version)
        if published is not None:
            age = (datetime.now(UTC) - published).total_seconds()
            yield GaugeMetricFamily("hm_model_age_seconds", "Since the model was published.", age)


def published_at(version: str) -> datetime | None:
    """When a version was published: its name begins with that."""
    try:
        return datetime.strptime(version.partition("-")[0], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None
