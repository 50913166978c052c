"""``/metrics``: what Prometheus reads."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from prometheus_client import REGISTRY, CollectorRegistry, make_asgi_app
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Receive, Scope, Send

from ..asgi.routing import find_target, request_scope
from ..engines.api import Engine
from ..logging_config import get_logger
from ..observability.request_metrics import SHARED
from ..processes.tree import is_running

logger = get_logger(__name__)

METRICS: Final = "/metrics"
#: Where an engine's statistics are that are no text for Prometheus.
STATISTICS: Final = "/metrics/json"


class MetricsPage:
    """The page as an ASGI app."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._app = make_asgi_app(registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def add_metrics(app: FastAPI, engine: Engine | None, folder: Path | None) -> None:
    """Give the app the page, unless it has one of its own.

    Engines use the registry that ours are in, so that their page has ours too.
    ``folder`` has what several processes count.
    """
    has_statistics = engine is not None and engine.description.metrics_is_json
    if _has_own(app) and not has_statistics:
        logger.info("%s is the app's own", METRICS)
        return
    if statistics := find_target(app, METRICS, "GET"):
        _put_first(app, Route(STATISTICS, statistics, methods=["GET"]))
        logger.info("The engine's statistics are at %s", STATISTICS)
    page = MetricsPage(_registry(folder))
    _put_first(app, Route(METRICS, page, methods=["GET"]))


def _put_first(app: FastAPI, route: Route) -> None:
    app.router.routes.insert(0, route)


def _has_own(app: FastAPI) -> bool:
    """Whether anything answers, but what takes all paths there are."""
    scopes = [request_scope(path, "GET") for path in (METRICS, f"{METRICS}/")]
    return any(_is_for(entry, scope) for entry in app.router.routes for scope in scopes)


def _is_for(entry: BaseRoute, scope: Scope) -> bool:
    match, found = entry.matches(dict(scope))
    if isinstance(entry, Mount):
        return match is Match.FULL and bool(entry.path)
    return match is Match.FULL and not found.get("path_params")


def _registry(folder: Path | None) -> CollectorRegistry:
    # What was imported before the variable was set counts in memory.
    if folder is None or not SHARED:
        return REGISTRY
    _forget_the_dead(folder)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry


def _forget_the_dead(folder: Path) -> None:
    """Count no request as running whose process was killed."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not is_running(int(pid)):
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
