"""The metrics of this process."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import REGISTRY, Metric


def read_own_metrics() -> Sequence[Metric]:
    """Return the metrics of this process, for the page of an ingress."""
    return [*REGISTRY.collect()]
