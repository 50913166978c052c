"""The metrics page of an ingress, with those of all its replicas and of the models'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

from .replicas import call_each, running_replicas

METRICS: Final = "/metrics"
#: Seconds within which replicas must answer to be on the page.
_ANSWER_S: Final = 5.0


class MetricsPage:
    """The page: the metrics of each replica, with labels that name the replica.

    Whichever replica answers, a scrape has the same series.

    Args:
        handles: those of the deployments whose replicas have metrics.
    """

    def __init__(self, handles: Iterable[DeploymentHandle]) -> None:
        self._handles = [*handles]
        for handle in self._handles:
            running_replicas(handle)  # They are known some time after the first call.

    async def answer(self, request: Request) -> Response:
        pages = await call_each(self._handles, "read_metrics", seconds=_ANSWER_S)
        registry = CollectorRegistry()
        registry.register(_Merged(pages))
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})


def add_metrics_route(app: FastAPI, handles: Iterable[DeploymentHandle]) -> None:
    """Add ``/metrics``. The core adds none to an app that has one."""
    app.add_api_route(METRICS, MetricsPage(handles).answer, include_in_schema=False)


def read_own_metrics() -> Sequence[Metric]:
    """Return the metrics of this process."""
    return [*REGISTRY.collect()]


class _Merged(Collector):
    """The metrics of several replicas, with a label for each."""

    def __init__(self, pages: Mapping[Any, Sequence[Metric]]) -> None:
        self._pages = pages

    def collect(self) -> Iterable[Metric]:
        merged: dict[str, Metric] = {}
        for replica, page in self._pages.items():
            labels = {
                "deployment": replica.deployment_id.name,
                "replica": replica.unique_id,
            }
            for metric in page:
                empty = Metric(metric.name, metric.documentation, metric.type)
                samples = merged.setdefault(metric.name, empty).samples
                samples += [_with_labels(sample, labels) for sample in metric.samples]
        return merged.values()


def _with_labels(sample: Sample, labels: Mapping[str, str]) -> Sample:
    return sample._replace(labels={**sample.labels, **labels})
