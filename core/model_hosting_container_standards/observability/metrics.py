"""What is counted beside requests, for Prometheus.

As those it is made once for each process, in the registry that engines use too, so that
one page has all. With ``PROMETHEUS_MULTIPROC_DIR`` the page of any process has the sums
of all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_LOAD_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

ADAPTER_LOADS: Final = Counter(
    "sagemaker_adapter_loads",
    "Adapters that were loaded, or could not be (failed).",
    ["result"],
)
ADAPTER_LOAD_DURATION: Final = Histogram(
    "sagemaker_adapter_load_duration_seconds",
    "Time it took to load an adapter, or to fail.",
    buckets=_LOAD_BUCKETS,
)
SESSIONS: Final = Counter(
    "sagemaker_sessions",
    "Sessions that have begun, were closed, or have expired and were cleared away.",
    ["event"],
)
RESTARTS: Final = Gauge(
    "sagemaker_restarts",
    "How often the supervisor has started the server again.",
    multiprocess_mode="max",
)

LOADED: Final = ADAPTER_LOADS.labels("loaded")
FAILED: Final = ADAPTER_LOADS.labels("failed")
BEGUN: Final = SESSIONS.labels("begun")
CLOSED: Final = SESSIONS.labels("closed")
EXPIRED: Final = SESSIONS.labels("expired")


@contextmanager
def loading_adapter() -> Iterator[None]:
    """Count an adapter that is loaded meanwhile, and how long it takes."""
    start = time.perf_counter()
    result = FAILED
    try:
        yield
        result = LOADED
    finally:
        result.inc()
        ADAPTER_LOAD_DURATION.observe(time.perf_counter() - start)
