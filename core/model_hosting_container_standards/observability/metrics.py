"""Prometheus metrics of adapters, sessions and restarts.

They are created once per process, in prometheus_client's default registry, which
engines use too, so that one page shows all. With ``PROMETHEUS_MULTIPROC_DIR`` the page
of any process shows the sums over all processes.
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
    "Adapter loads, by result: loaded or failed.",
    ["result"],
)
ADAPTER_LOAD_DURATION: Final = Histogram(
    "sagemaker_adapter_load_duration_seconds",
    "Duration of adapter loads, failed ones included.",
    buckets=_LOAD_BUCKETS,
)
SESSIONS: Final = Counter(
    "sagemaker_sessions",
    "Sessions, by event: begun, closed or expired.",
    ["event"],
)
RESTARTS: Final = Gauge(
    "sagemaker_restarts",
    "Number of times the supervisor has restarted the server.",
    multiprocess_mode="max",
)

LOADED: Final = ADAPTER_LOADS.labels("loaded")
FAILED: Final = ADAPTER_LOADS.labels("failed")
BEGUN: Final = SESSIONS.labels("begun")
CLOSED: Final = SESSIONS.labels("closed")
EXPIRED: Final = SESSIONS.labels("expired")


@contextmanager
def loading_adapter() -> Iterator[None]:
    """Count and time the adapter load in the block; an exception counts as failed."""
    start = time.perf_counter()
    result = FAILED
    try:
        yield
        result = LOADED
    finally:
        result.inc()
        ADAPTER_LOAD_DURATION.observe(time.perf_counter() - start)
