"""Middleware that is a function ``(request, call_next)``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from anyio import from_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..endpoint import as_async, describe, is_async
from .errors import answer_error
from .passage import Passage
from .request import PassingRequest
from .response import PassingResponse

CallNext = Callable[[Request], Coroutine[Any, Any, Response]]


class FunctionMiddleware:
    """Calls a function, in whose ``call_next`` the app answers."""

    def __init__(self, app: ASGIApp, function: Callable[..., Any]) -> None:
        self.app = app
        self.function = function
        self._call = as_async(function)
        self._is_async = is_async(function)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = PassingRequest(scope, receive)
        calls: list[Call] = []

        async def call_next(passed: Request) -> Response:
            calls.append(Call(self.app, *request.passed_on(passed), send))
            return await calls[-1].response

        started = False
        try:
            response = self._check(
                await self._call(request, self._as_called(call_next))
            )
            started = True
            await _send(response, calls, scope, request.receive, send)
        except Exception as error:  # noqa: BLE001 - customers raise anything
            await answer_error(error, scope, receive, send, started=started)
        finally:
            for call in calls:
                await call.end()

    def _as_called(self, call_next: CallNext) -> Callable[[Request], Any]:
        """Return what the function may call: in a thread it cannot await."""
        if self._is_async:
            return call_next
        return lambda request: from_thread.run(call_next, request)

    def _check(self, response: Any) -> Response:
        if not isinstance(response, Response):
            raise TypeError(
                f"{describe(self.function)} returned {type(response).__name__}: "
                "return what call_next(request) returned, or another response."
            )
        return response


class Call:
    """One call of ``call_next``: the app answers in a task of its own."""

    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        loop = asyncio.get_running_loop()
        self.response: asyncio.Future[PassingResponse] = loop.create_future()
        self._passage = Passage(send, self._on_response)
        self._task = asyncio.ensure_future(app(scope, receive, self._passage.send))
        self._task.add_done_callback(self._on_end)

    def passed_on(self, response: Response) -> PassingResponse | None:
        """Return the response if it is this call's, and a stream left as it was."""
        if not self._has_answered() or response is not (own := self.response.result()):
            return None
        return own if own.is_passed_on else None

    async def send_on(self, response: PassingResponse) -> None:
        """Let the stream through, to its end."""
        await self._passage.send_on(response)
        await self._task
        if response.background is not None:
            await response.background()

    async def end(self) -> None:
        """End the app's task: at once if nobody wants what it still sends.

        Raises:
            Exception: what the app raised after it had answered.
        """
        if not self._task.done():
            if not self._passage.is_complete:
                self._task.cancel()
            await self._wait()
        if self._has_answered() and not self._task.cancelled():
            # None of what it raised since then has been seen by anybody.
            error = self._task.exception()
            if error is not None:
                raise error

    async def _wait(self) -> None:
        try:
            await asyncio.wait((self._task,))
        except asyncio.CancelledError:
            self._task.cancel()
            raise

    def _has_answered(self) -> bool:
        done, response = self.response.done(), self.response
        return done and not response.cancelled() and response.exception() is None

    async def _on_response(self, response: PassingResponse) -> None:
        if not self.response.done():
            self.response.set_result(response)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if not self.response.done():
            self.response.set_exception(error or ClientDisconnect())
        self._passage.fail(error or ClientDisconnect())


async def _send(
    response: Response, calls: list[Call], scope: Scope, receive: Receive, send: Send
) -> None:
    for call in calls:
        if (passed_on := call.passed_on(response)) is not None:
            await call.send_on(passed_on)
            return
    await response(scope, receive, send)
