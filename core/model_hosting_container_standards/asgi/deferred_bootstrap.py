"""Bootstrap an app that is already running, through placeholders added earlier.

Starlette builds the middleware stack and enters the lifespan when the server starts. An
app that gets its routes only then is bootstrapped even later: its middleware and
lifespan steps go into placeholders that were added before.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ..logging_config import get_logger
from .errors import refuse
from .websockets import refuse_websocket

logger = get_logger(__name__)

Step = Callable[[], Awaitable[None]]

_STARTING: Final = "This server is starting."
_STATE: Final = "model_hosting_container_standards_deferred_bootstrap"


class PlaceholderMiddleware:
    """Middleware that passes requests on until ``app`` is replaced.

    While ``is_open`` is False it answers 503 instead.
    """

    app: ASGIApp
    is_open = True

    def connect(self, app: ASGIApp) -> PlaceholderMiddleware:
        """Set the inner app; used as a middleware factory."""
        self.app = app
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.is_open or scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await refuse(_unavailable(), scope, receive, send)
        else:
            await refuse_websocket(_unavailable(), scope, receive, send)


def _unavailable() -> HTTPException:
    return HTTPException(503, _STARTING, {"Retry-After": "1"})


class DeferredBootstrap:
    """Placeholders in an app: outer and inner middleware, and lifespan steps."""

    def __init__(self) -> None:
        self.outer, self.inner = PlaceholderMiddleware(), PlaceholderMiddleware()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[None] | None = None
        #: Whether the app is shutting down: steps added now are not started.
        self._is_ending = False
        #: (start, stop) of the steps that have not started yet.
        self._steps: list[tuple[Step, Step]] = []
        #: The stops of started steps.
        self._stops: list[Step] = []
        #: Run once the app's own lifespan has ended.
        self._finishes: list[Step] = []

    @property
    def is_running(self) -> bool:
        return self._loop is not None

    def add_step(self, start: Step, stop: Step, finish: Step | None = None) -> None:
        """Run ``start`` after all steps that were added before; from any thread.

        Requests get a 503 until then.

        Args:
            stop: runs before the app's own lifespan ends.
            finish: runs after it has ended.
        """
        assert self._loop is not None, "The app is not running."
        self.outer.is_open = False
        if finish is not None:
            self._finishes.append(finish)
        self._steps.append((start, stop))
        self._loop.call_soon_threadsafe(self._begin)

    @asynccontextmanager
    async def around(self, own: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
        """Run the app's own lifespan, and stop the added steps before it ends."""
        # Set first: the app's own start-up may call `bootstrap`.
        self._loop = asyncio.get_running_loop()
        self._is_ending = False
        try:
            async with own as state:
                try:
                    yield state
                finally:
                    await self._stop()
        finally:
            self._loop = None
            while self._finishes:
                await self._finishes.pop()()

    def _begin(self) -> None:
        if self._is_ending:
            self._steps.clear()
        elif self._starting is None or self._starting.done():
            self._starting = asyncio.ensure_future(self._start())

    async def _start(self) -> None:
        try:
            while self._steps:
                start, stop = self._steps.pop(0)
                await start()
                self._stops.append(stop)
            self.outer.is_open = True
        except Exception:
            # A failed start-up ends the server, although it has begun to serve.
            logger.exception("A start-up step failed: shutting down")
            signal.raise_signal(signal.SIGTERM)

    async def _stop(self) -> None:
        self._is_ending = True
        self._steps.clear()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        while self._stops:
            await self._stops.pop()()


def defer_bootstrap(app: FastAPI) -> None:
    """Add the placeholders to an app that is not running yet."""
    deferred = DeferredBootstrap()
    setattr(app.state, _STATE, deferred)
    surround_middleware(
        app,
        [Middleware(deferred.outer.connect)],
        [Middleware(deferred.inner.connect)],
    )
    own: Any = app.router.lifespan_context
    app.router.lifespan_context = lambda app: deferred.around(own(app))


def deferred_bootstrap_of(app: FastAPI) -> DeferredBootstrap | None:
    """Return the placeholders of a running app; None if it has none."""
    deferred: DeferredBootstrap | None = getattr(app.state, _STATE, None)
    return deferred if deferred is not None and deferred.is_running else None


def surround_middleware(
    app: FastAPI, outer: Sequence[Middleware], inner: Sequence[Middleware]
) -> None:
    """Add middleware outside and inside all that the app has when it starts."""
    build = app.build_middleware_stack

    def build_with_ours() -> ASGIApp:
        own = app.user_middleware
        app.user_middleware = [*outer, *own, *inner]
        try:
            return build()
        finally:
            app.user_middleware = own

    app.build_middleware_stack = build_with_ours  # type: ignore[method-assign]
