"""Refuse requests until the engine is ready."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

STARTING = {"error": {"message": "The server is still loading.", "code": "starting"}}


class ReadinessGate:
    is_ready = False


class ReadinessMiddleware:
    """The outermost middleware of the server: answers 503 until the engine is ready."""

    def __init__(self, app: ASGIApp, gate: ReadinessGate) -> None:
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.gate.is_ready or scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            answer = JSONResponse(STARTING, 503, {"Retry-After": "1"})
            await answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1013})


def run_in_daemon_thread(function: Callable[[], Any]) -> asyncio.Future[Any]:
    """Run a function in a thread that does not delay the exit of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def report(setter: Callable[[Any], None], value: Any) -> None:
        if not future.cancelled():
            setter(value)

    def run() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - raised by the awaiter
            loop.call_soon_threadsafe(report, future.set_exception, error)
        else:
            loop.call_soon_threadsafe(report, future.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return future
