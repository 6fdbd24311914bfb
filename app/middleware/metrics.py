"""Counters and timings in Prometheus' format, in one registry per application."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app.logs import QueuedLines
from app.serving.model import Serving, data_until, published_at
from app.settings import MULTIPROCESS
from hm_utils.files import alive

NO_ROUTE = "none"  # one label for refused requests and unknown paths, whatever a scanner asks for
METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

disable_created_metrics()  # no creation time beside every counter


class Metrics:
    """The service's counters. Several workers write to shared files, and any of them can report the sum."""

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
        shed = Counter("hm_requests_shed", "Requests refused under load.", ["at"], registry=self._registry)
        self.shed_at_door, self.shed_at_pool = shed.labels("door"), shed.labels("pool")
        QueuedLines.count_dropped = Counter(
            "hm_log_lines_dropped", "Log lines that nobody read in time.", registry=self._registry
        ).inc
        self.reloads = Counter(
            "hm_model_reloads", "Checks of a newly published model.", ["outcome"], registry=self._registry
        )
        self.restocks = Counter(
            "hm_stock_reloads", "Changes of the list of articles in stock.", ["outcome"], registry=self._registry
        )
        # Finding a child by its labels takes longer than counting.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request and its time. Status 0 is a request that was cancelled without an answer."""
        key = (route, method if method in METHODS else "other", status)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = self._requests.labels(*map(str, key)), self._seconds.labels(route)
        children[0].inc()
        children[1].observe(seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self._registry)
        for path in Path(os.environ[MULTIPROCESS]).glob("gauge_live*_*.db"):  # of a worker that was killed
            pid = int(path.stem.rpartition("_")[2])
            if not alive(pid):
                mark_process_dead(pid)
        all_workers = CollectorRegistry()
        MultiProcessCollector(all_workers)
        all_workers.register(self._model)
        return generate_latest(all_workers)

    def close(self) -> None:
        """Exclude this worker from gauges that sum over live workers."""
        if MULTIPROCESS in os.environ:
            mark_process_dead(os.getpid())


class ModelMetrics(Collector):
    """Gauges of the served model, read at the time of the request."""

    def __init__(self, serving: Callable[[], Serving]) -> None:
        self._serving = serving

    def collect(self) -> Iterable[Metric]:
        recommender = self._serving().recommender
        yield GaugeMetricFamily("hm_model_ready", "1 while a model is served.", float(recommender is not None))
        if recommender is None:
            return
        info = GaugeMetricFamily("hm_model_info", "The served model.", labels=["version", "data_until"])
        info.add_metric([recommender.version, data_until(recommender) or ""], 1)
        yield info
        yield GaugeMetricFamily("hm_index_articles", "Articles in the index.", len(recommender.article_ids))
        stock = recommender.in_stock
        if stock is not None:
            yield GaugeMetricFamily("hm_stock_articles", "Articles in stock.", len(stock.rows))
            yield GaugeMetricFamily("hm_stock_unknown_ids", "Ids in the list that the model lacks.", stock.unknown)
            age = (datetime.now(UTC) - stock.stock.since).total_seconds()
            yield GaugeMetricFamily("hm_stock_age_seconds", "Seconds since the list of articles was written.", age)
        published = published_at(recommender.version)
        if published is not None:
            age = (datetime.now(UTC) - published).total_seconds()
            yield GaugeMetricFamily("hm_model_age_seconds", "Seconds since the model was published.", age)
