"""The metrics page of an ingress, with those of all replicas and the coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from ray.exceptions import ActorDiedError, RayError
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

from .coordinator import CoordinatorHandle
from .replicas import call_each, running_replicas

METRICS: Final = "/metrics"
#: Seconds within which replicas must answer to be on the page.
_ANSWER_S: Final = 5.0
#: The labels of the coordinator, which is not a replica.
_COORDINATOR: Final = "coordinator"
#: The metrics of a process, and the labels that name it.
_Page = tuple[Mapping[str, str], Sequence[Metric]]


class MetricsPage:
    """The page: the metrics of each replica, with labels that name the replica.

    Whichever replica answers, a scrape has the same series.

    Args:
        handles: those of the deployments whose replicas have metrics.
        coordinator: the handle of the coordinator, which counts loads and sessions.
    """

    def __init__(
        self, handles: Iterable[DeploymentHandle], coordinator: CoordinatorHandle
    ) -> None:
        self._handles = [*handles]
        self._coordinator = coordinator
        for handle in self._handles:
            running_replicas(handle)  # They are known some time after the first call.

    async def answer(self, request: Request) -> Response:
        replicas, shared = await asyncio.gather(
            call_each(self._handles, "read_metrics", seconds=_ANSWER_S),
            self._read_shared(),
        )
        pages = [(_labels_of(replica), page) for replica, page in replicas.items()]
        registry = CollectorRegistry()
        registry.register(_Merged([*pages, *shared]))
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    async def _read_shared(self) -> Sequence[_Page]:
        """Return the coordinator's metrics; nothing while it cannot be reached."""
        try:
            actor = await self._coordinator.get_async()
            page = await asyncio.wait_for(_read(actor), _ANSWER_S)
        except (RayError, asyncio.TimeoutError) as error:
            if isinstance(error, ActorDiedError):
                self._coordinator.forget()
            return []
        return [({"deployment": _COORDINATOR, "replica": _COORDINATOR}, page)]


async def _read(coordinator: Any) -> Sequence[Metric]:
    page: Sequence[Metric] = await coordinator.read_metrics.remote()
    return page


def add_metrics_route(
    app: FastAPI, handles: Iterable[DeploymentHandle], coordinator: CoordinatorHandle
) -> None:
    """Add ``/metrics``. The core adds none to an app that has one."""
    page = MetricsPage(handles, coordinator)
    app.add_api_route(METRICS, page.answer, include_in_schema=False)


class _Merged(Collector):
    """The metrics of several replicas, with a label for each."""

    def __init__(self, pages: Sequence[_Page]) -> None:
        self._pages = pages

    def collect(self) -> Iterable[Metric]:
        merged: dict[str, Metric] = {}
        for labels, page in self._pages:
            for metric in page:
                empty = Metric(metric.name, metric.documentation, metric.type)
                samples = merged.setdefault(metric.name, empty).samples
                samples += [_with_labels(sample, labels) for sample in metric.samples]
        return merged.values()


def _labels_of(replica: Any) -> Mapping[str, str]:
    return {"deployment": replica.deployment_id.name, "replica": replica.unique_id}


def _with_labels(sample: Sample, labels: Mapping[str, str]) -> Sample:
    return sample._replace(labels={**sample.labels, **labels})
