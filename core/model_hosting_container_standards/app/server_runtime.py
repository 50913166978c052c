"""Everything around an app at run time: tracking, health, shutdown, middleware."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from fastapi import FastAPI
from starlette.types import ASGIApp

from ..adapters.runtime import AdapterRuntime
from ..asgi.lifespan import surround_lifespan
from ..engines.api import Engine
from ..engines.runtime import EngineRuntime
from ..health.engine_health import EngineHealth
from ..observability.metrics import RESTARTS
from ..processes.heartbeat import WorkerHeartbeat
from ..settings import Settings
from ..shutdown.graceful_shutdown import GracefulShutdown
from ..tracking.own_requests import OwnRequests
from ..tracking.request_tracker import RequestTracker
from .outer_middleware import OuterMiddleware


class ServerRuntime:
    """Tracks an app's requests, checks its engine and shuts it down gracefully.

    Args:
        get_runtime: returns the engine's runtime once the app has started; None
            without an engine.
        labels: the labels of fixed paths, see :func:`known_routes`.
        any_encoding: labels of the routes whose handlers get bodies of any encoding.

    Raises:
        ConfigurationError: a variable has an invalid value.
    """

    def __init__(
        self,
        app: FastAPI,
        engine: Engine | None,
        get_runtime: Callable[[], EngineRuntime] | None,
        settings: Settings,
        labels: Mapping[str, str],
        adapters: AdapterRuntime,
        any_encoding: Collection[str],
    ) -> None:
        self._outer_middleware = OuterMiddleware(
            app, settings, engine, labels, adapters, any_encoding
        )
        heartbeat = (
            WorkerHeartbeat(settings.heartbeat_dir) if settings.heartbeat_dir else None
        )
        # Only the health of an engine needs the times of the responses' chunks.
        finds_silence = get_runtime is not None
        own = OwnRequests(heartbeat)
        self._tracker = RequestTracker(labels, own, finds_silence)
        stall_s = settings.ping_stall
        self._health = (
            EngineHealth(get_runtime, self._tracker, stall_s) if get_runtime else None
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
        """Wrap the complete middleware stack and the lifespan of the app."""
        surround_lifespan(app, self._shutdown.start, self._stop, self._shutdown.finish)
        if app.middleware_stack is not None:  # The app has served requests already.
            app.middleware_stack = self._around(app.middleware_stack)
            return
        build = app.build_middleware_stack
        app.build_middleware_stack = lambda: self._around(build())  # type: ignore[method-assign]

    def _around(self, app: ASGIApp) -> ASGIApp:
        self._tracker.app = self._outer_middleware.around(app)
        self._tracker.decompressing_app = self._outer_middleware.around_decompression(
            app
        )
        return self._tracker

    async def _stop(self) -> None:
        await self._shutdown.stop()
        if self._health is not None:
            self._health.close()

    async def problem(self) -> str | None:
        """Return why the server cannot answer requests; None if it can."""
        if self._tracker.closed is not None:
            return self._tracker.closed
        problem = await self._shutdown.check_engine()
        return problem.reason if problem else None
