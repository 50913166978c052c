"""Counts of requests, which every request pays for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from prometheus_client.values import MutexValue, ValueClass

#: Seconds: from an answer out of memory to the longest stream that SageMaker allows.
BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
#: Name, help and labels.
_COUNT: Final = (
    "sagemaker_requests",
    "Requests that have been answered, or have ended without an answer (499).",
    ("route", "method", "status"),
)
_DURATION: Final = (
    "sagemaker_request_duration_seconds",
    "Time to the end of the answer, which may be a stream.",
    ("route",),
)
_IN_FLIGHT: Final = (
    "sagemaker_requests_in_flight",
    "Requests that are being answered.",
)
#: Whether prometheus_client keeps what several processes count in files.
SHARED: Final = ValueClass is not MutexValue


class Series(Protocol):
    """Requests of the same labels."""

    def add(self, seconds: float) -> None:
        """Count one that took so long."""


class RequestMetrics(Protocol):
    """Counts, durations, and how many are in flight."""

    #: An attribute, as two calls would be a part of what a request costs. Of one event
    #: loop, as there is one to a server.
    in_flight: int

    def series(self, route: str, method: str, status: str) -> Series:
        """Return the requests of these labels."""


class LocalSeries:
    """In plain numbers, as the client's own metrics take five times as long."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.buckets = [0] * (len(BUCKETS) + 1)

    def add(self, seconds: float) -> None:
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS, seconds)] += 1


class LocalMetrics(Collector):
    """Those of one process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.in_flight = 0
        self._series: dict[tuple[str, str, str], LocalSeries] = {}
        registry.register(self)

    def series(self, route: str, method: str, status: str) -> LocalSeries:
        return self._series.setdefault((route, method, status), LocalSeries())

    def collect(self) -> Iterator[Metric]:
        count = CounterMetricFamily(*_COUNT[:2], labels=_COUNT[2])
        duration = HistogramMetricFamily(*_DURATION[:2], labels=_DURATION[2])
        routes: dict[str, list[LocalSeries]] = {}
        for labels, series in self._series.items():
            count.add_metric(labels, sum(series.buckets))
            routes.setdefault(labels[0], []).append(series)
        for route, of_route in routes.items():
            seconds = sum(series.seconds for series in of_route)
            duration.add_metric([route], _cumulative(of_route), seconds)
        yield count
        yield duration
        yield GaugeMetricFamily(*_IN_FLIGHT, value=self.in_flight)


class SharedSeries:
    """In files, by the client's own metrics."""

    __slots__ = ("_count", "_observe")

    def __init__(self, count: Counter, duration: Histogram) -> None:
        self._count = count.inc
        self._observe = duration.observe

    def add(self, seconds: float) -> None:
        self._count()
        self._observe(seconds)


class SharedMetrics:
    """Those of several processes."""

    def __init__(self) -> None:
        self._count = Counter(*_COUNT)
        self._duration = Histogram(*_DURATION, buckets=BUCKETS)
        in_flight = Gauge(*_IN_FLIGHT, multiprocess_mode="livesum")
        self._in_flight = 0
        self._show_in_flight = in_flight.set

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @in_flight.setter
    def in_flight(self, count: int) -> None:
        self._in_flight = count
        self._show_in_flight(count)

    def series(self, route: str, method: str, status: str) -> SharedSeries:
        count = self._count.labels(route, method, status)
        return SharedSeries(count, self._duration.labels(route))


def _cumulative(of_route: Sequence[LocalSeries]) -> list[tuple[str, float]]:
    """Return how many took at most as long as each bound says."""
    counts = map(sum, zip(*(series.buckets for series in of_route), strict=True))
    bounds = map(floatToGoString, (*BUCKETS, float("inf")))
    return [*zip(bounds, accumulate(counts), strict=True)]


REQUESTS: Final[RequestMetrics] = SharedMetrics() if SHARED else LocalMetrics()
