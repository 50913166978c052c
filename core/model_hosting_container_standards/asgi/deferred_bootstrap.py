"""Places kept in an app for :func:`bootstrap`, which comes when the app runs already.

Starlette builds the middleware and enters the lifespan when the server starts. An app
that has its routes only then is bootstrapped later still: what goes around it goes into
the places that were kept before.
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

logger = get_logger(__name__)

Step = Callable[[], Awaitable[None]]

_STARTING: Final = "This server is starting."
_STATE: Final = "model_hosting_container_standards_openings"


class PlaceholderMiddleware:
    """A layer of middleware that passes requests on, until something is put into it."""

    app: ASGIApp
    #: Whether requests are answered at all.
    is_open = True

    def connect(self, app: ASGIApp) -> PlaceholderMiddleware:
        self.app = app
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.is_open or scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            error = HTTPException(503, _STARTING, {"Retry-After": "1"})
            await refuse(error, scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1013})


class DeferredBootstrap:
    """The places: outside the app's own middleware, inside it, and in its lifespan."""

    def __init__(self) -> None:
        self.outer, self.inner = PlaceholderMiddleware(), PlaceholderMiddleware()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[None] | None = None
        #: Whether the app ends: what is added now is not started.
        self._is_ending = False
        #: Those that have not started yet, and the ends of those that have.
        self._steps: list[tuple[Step, Step]] = []
        self._stops: list[Step] = []
        #: What is done once the app's own lifespan has ended.
        self._finishes: list[Step] = []

    @property
    def is_running(self) -> bool:
        return self._loop is not None

    def add_step(self, start: Step, stop: Step, finish: Step | None = None) -> None:
        """Start as soon as what was added before has; from whatever thread.

        Requests have to wait for it, which a server gets before that.

        Args:
            finish: done once the app's own lifespan has ended.
        """
        assert self._loop is not None, "The app does not run."
        self.outer.is_open = False
        if finish is not None:
            self._finishes.append(finish)
        self._steps.append((start, stop))
        self._loop.call_soon_threadsafe(self._begin)

    @asynccontextmanager
    async def around(self, own: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
        """Run an app's own lifespan; what was added is stopped before that ends."""
        # Set first: its start may be what makes the app one to be bootstrapped.
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
            # As a server does of which a start-up step fails: it has begun to serve.
            logger.exception("The server cannot start")
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
    """Keep places in an app that does not run yet."""
    openings = DeferredBootstrap()
    setattr(app.state, _STATE, openings)
    outer, inner = (
        Middleware(opening.connect) for opening in (openings.outer, openings.inner)
    )
    surround_middleware(app, [outer], [inner])
    own: Any = app.router.lifespan_context
    app.router.lifespan_context = lambda app: openings.around(own(app))


def deferred_bootstrap_of(app: FastAPI) -> DeferredBootstrap | None:
    """Return the places of an app that runs; None of any other."""
    openings: DeferredBootstrap | None = getattr(app.state, _STATE, None)
    return openings if openings is not None and openings.is_running else None


def surround_middleware(
    app: FastAPI, outer: Sequence[Middleware], inner: Sequence[Middleware]
) -> None:
    """Put middleware around all that the app has by the time it starts, and inside."""
    build = app.build_middleware_stack

    def build_with_ours() -> ASGIApp:
        own = app.user_middleware
        app.user_middleware = [*outer, *own, *inner]
        try:
            return build()
        finally:
            app.user_middleware = own

    app.build_middleware_stack = build_with_ours  # type: ignore[method-assign]
