"""What there is around an app from its start to its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fastapi import FastAPI
from starlette.types import ASGIApp

from ..adapters.runtime import AdapterRuntime
from ..asgi.lifespan import surround_lifespan
from ..engines.api import Engine
from ..health.engine_health import EngineHealth
from ..observability.metrics import RESTARTS
from ..observability.route_labels import known_routes
from ..processes.heartbeat import WorkerHeartbeat
from ..settings import Settings
from ..shutdown.graceful_shutdown import GracefulShutdown
from ..tracking.own_requests import OwnRequests
from ..tracking.request_tracker import RequestTracker
from .outer_middleware import OuterMiddleware


class ServerRuntime:
    """Counts what the app is answering, asks how its engine is, and ends it well.

    Args:
        aliases: further paths of the contract's routes, see :func:`alias_routes`.
        unpacked: labels of the routes whose bodies are unpacked if they are compressed.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
    """

    def __init__(
        self,
        app: FastAPI,
        engine: Engine | None,
        settings: Settings,
        aliases: Mapping[str, str],
        adapters: AdapterRuntime,
        unpacked: Collection[str],
    ) -> None:
        inference_paths = engine.inference_paths(app) if engine else ()
        routes = known_routes(inference_paths, aliases)
        self._layers = OuterMiddleware(app, settings, engine, routes, adapters)
        heartbeat = (
            WorkerHeartbeat(settings.heartbeat_dir) if settings.heartbeat_dir else None
        )
        self._tracker = RequestTracker(routes, OwnRequests(heartbeat), unpacked)
        stall_s = settings.ping_stall
        self._health = (
            EngineHealth(engine, app, self._tracker, stall_s) if engine else None
        )
        self._shutdown = GracefulShutdown(
            app,
            self._tracker,
            settings.drain_seconds,
            heartbeat,
            self._health,
            serves_engine=engine is not None,
        )
        RESTARTS.set(settings.restarts)

    def surround(self, app: FastAPI) -> None:
        """Be outside all that the app has by the time it starts."""
        surround_lifespan(app, self._shutdown.start, self._stop, self._shutdown.finish)
        if app.middleware_stack is not None:  # It has answered requests already.
            app.middleware_stack = self._around(app.middleware_stack)
            return
        build = app.build_middleware_stack
        app.build_middleware_stack = lambda: self._around(build())  # type: ignore[method-assign]

    def _around(self, app: ASGIApp) -> ASGIApp:
        self._tracker.app = self._layers.around(app)
        self._tracker.unpacking = self._layers.around_unpacking(app)
        return self._tracker

    async def _stop(self) -> None:
        await self._shutdown.stop()
        if self._health is not None:
            self._health.close()

    async def problem(self) -> str | None:
        """Return what keeps the server from answering, or None if nothing does."""
        if self._tracker.closed is not None:
            return self._tracker.closed
        problem = await self._shutdown.look_at_engine()
        return problem.reason if problem else None
