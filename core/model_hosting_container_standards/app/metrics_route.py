"""The ``/metrics`` route, for Prometheus."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from prometheus_client import REGISTRY, CollectorRegistry, Metric, make_asgi_app
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Message, Receive, Scope, Send

from ..asgi.routing import RouteTarget, find_target, request_scope
from ..engines.api import Engine
from ..logging_config import get_logger
from ..observability.request_metrics import SHARED
from ..processes.tree import is_running

logger = get_logger(__name__)

METRICS: Final = "/metrics"
#: Where an engine's ``/metrics`` moves if it is JSON instead of Prometheus' format.
STATISTICS: Final = "/metrics/json"


class MetricsPage:
    """The metrics page as an ASGI app."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._app = make_asgi_app(registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, _with_length(send))


def _with_length(send: Send) -> Send:
    """Return a ``send`` that adds Content-Length, which prometheus_client leaves out.

    It sends its whole page in one message.
    """
    start: Message = {}

    async def send_with_length(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
            return
        length = (b"content-length", str(len(message["body"])).encode())
        await send({**start, "headers": [*start["headers"], length]})
        await send(message)

    return send_with_length


class Statistics:
    """An engine's statistics, at :data:`STATISTICS`.

    The engine's route sees that path: a front end of TensorRT-LLM that is not the first
    one forwards the request to the first one, where the statistics have moved too.
    """

    def __init__(self, target: RouteTarget) -> None:
        self._target = target

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        child_scope = self._target.child_scope
        if child_scope is None:  # The route has to match its own path.
            await self._target(scope, receive, send)
        else:
            scope = {**scope, **child_scope, "method": self._target.method}
            await self._target.entry.handle(scope, receive, send)


def add_metrics(app: FastAPI, engine: Engine | None, folder: Path | None) -> None:
    """Add the metrics page, unless the app has one.

    The page of an engine that uses prometheus_client's default registry shows our
    metrics too.

    Args:
        folder: the folder of prometheus_client's multiprocess mode, if it is on.
    """
    has_statistics = engine is not None and engine.description.metrics_is_json
    if _has_page(app) and not has_statistics:
        logger.info("The app has its own %s", METRICS)
        return
    if statistics := find_target(app, METRICS, "GET"):
        _put_first(app, Route(STATISTICS, Statistics(statistics), methods=["GET"]))
        logger.info("The engine's JSON statistics have moved to %s", STATISTICS)
    page = MetricsPage(_registry(folder))
    _put_first(app, Route(METRICS, page, methods=["GET"]))


def _put_first(app: FastAPI, route: Route) -> None:
    app.router.routes.insert(0, route)


def _has_page(app: FastAPI) -> bool:
    """Whether a route other than a catch-all answers ``/metrics``."""
    scopes = [request_scope(path, "GET") for path in (METRICS, f"{METRICS}/")]
    routes = app.router.routes
    return any(_serves(route, scope) for route in routes for scope in scopes)


def _serves(route: BaseRoute, scope: Scope) -> bool:
    match, child_scope = route.matches(dict(scope))
    if isinstance(route, Mount):
        return match is Match.FULL and bool(route.path)
    return match is Match.FULL and not child_scope.get("path_params")


def _registry(folder: Path | None) -> CollectorRegistry:
    # Without SHARED, prometheus_client was imported before the variable was set.
    if folder is None or not SHARED:
        return REGISTRY
    _mark_dead_processes(folder)
    registry = CollectorRegistry()
    registry.register(MultiprocessFiles(folder))
    return registry


class MultiprocessFiles(Collector):
    """The metrics in the files of prometheus_client's multiprocess mode."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        # A process makes its files empty, and then gives them a size:
        # MultiProcessCollector.collect() would raise if it read one in between.
        files = [str(file) for file in self._folder.glob("*.db") if _has_data(file)]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return metrics


def _has_data(file: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # a process that has ended
        return file.stat().st_size > 0
    return False


def _mark_dead_processes(folder: Path) -> None:
    """Remove the in-flight gauges of processes that were killed."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not is_running(int(pid)):
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
