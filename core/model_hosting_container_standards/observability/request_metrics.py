"""Prometheus metrics of requests, optimised as every request updates them."""

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

#: Seconds: from a cached response to the longest stream that SageMaker allows.
BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
#: Name, help and labels.
_COUNT: Final = (
    "sagemaker_requests",
    "Finished requests; status 499 if the client disconnected without a response.",
    ("route", "method", "status"),
)
_DURATION: Final = (
    "sagemaker_request_duration_seconds",
    "Time to the end of the response, which may be a stream.",
    ("route",),
)
_IN_FLIGHT: Final = (
    "sagemaker_requests_in_flight",
    "Requests that are being answered.",
)
#: Whether prometheus_client is in multiprocess mode, with its values in files.
SHARED: Final = ValueClass is not MutexValue


class Series(Protocol):
    """Requests with the same labels."""

    def add(self, seconds: float) -> None:
        """Count a request with its duration."""


class RequestMetrics(Protocol):
    """Counts and durations of requests, and the number in flight."""

    #: A plain attribute, as method calls would cost every request time. It is not
    #: locked: a server has a single event loop.
    in_flight: int

    def series(self, route: str, method: str, status: str) -> Series:
        """Return the series with these labels."""


class LocalSeries:
    """A series in plain numbers: prometheus_client's metrics take five times as long.

    Args:
        buckets: counts per bucket of :data:`BUCKETS`, not cumulative.
    """

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.buckets = [0] * (len(BUCKETS) + 1)

    def add(self, seconds: float) -> None:
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS, seconds)] += 1


class LocalMetrics(Collector):
    """Request metrics of a single process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.in_flight = 0
        self._series: dict[tuple[str, str, str], LocalSeries] = {}
        registry.register(self)

    def series(self, route: str, method: str, status: str) -> LocalSeries:
        return self._series.setdefault((route, method, status), LocalSeries())

    def collect(self) -> Iterator[Metric]:
        count = CounterMetricFamily(*_COUNT[:2], labels=_COUNT[2])
        duration = HistogramMetricFamily(*_DURATION[:2], labels=_DURATION[2])
        by_route: dict[str, list[LocalSeries]] = {}
        for labels, series in self._series.items():
            count.add_metric(labels, sum(series.buckets))
            by_route.setdefault(labels[0], []).append(series)
        for route, group in by_route.items():
            seconds = sum(series.seconds for series in group)
            duration.add_metric([route], _cumulative(group), seconds)
        yield count
        yield duration
        yield GaugeMetricFamily(*_IN_FLIGHT, value=self.in_flight)


class SharedSeries:
    """A series in files, by prometheus_client's own metrics."""

    __slots__ = ("_count", "_observe")

    def __init__(self, count: Counter, duration: Histogram) -> None:
        self._count = count.inc
        self._observe = duration.observe

    def add(self, seconds: float) -> None:
        self._count()
        self._observe(seconds)


class SharedMetrics:
    """Request metrics of several processes."""

    def __init__(self) -> None:
        self._count = Counter(*_COUNT)
        self._duration = Histogram(*_DURATION, buckets=BUCKETS)
        in_flight = Gauge(*_IN_FLIGHT, multiprocess_mode="livesum")
        self._in_flight = 0
        self._set_gauge = in_flight.set

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @in_flight.setter
    def in_flight(self, count: int) -> None:
        self._in_flight = count
        self._set_gauge(count)

    def series(self, route: str, method: str, status: str) -> SharedSeries:
        count = self._count.labels(route, method, status)
        return SharedSeries(count, self._duration.labels(route))


def _cumulative(group: Sequence[LocalSeries]) -> list[tuple[str, float]]:
    """Return the cumulative buckets of several series, as (bound, count)."""
    counts = map(sum, zip(*(series.buckets for series in group), strict=True))
    bounds = map(floatToGoString, (*BUCKETS, float("inf")))
    return [*zip(bounds, accumulate(counts), strict=True)]


REQUESTS: Final[RequestMetrics] = SharedMetrics() if SHARED else LocalMetrics()
