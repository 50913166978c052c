"""Middleware that is a function ``(request, call_next)``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from anyio import from_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.endpoint import as_async, describe
from ..asgi.errors import RecordingSend, answer_error
from .interceptor import ResponseInterceptor, State, seen_whole
from .request import ReplayableRequest
from .response import InterceptedResponse
from .threads import run_in_extra_thread

_ROUTED: Final = (
    "app_root_path",
    "endpoint",
    "path_params",
    "root_path",
    "route",
    "router",
)


class FunctionMiddleware:
    """Calls a function, in whose ``call_next`` the app answers."""

    def __init__(self, app: ASGIApp, function: Callable[..., Any]) -> None:
        self.app = app
        self.function = function
        self._call = as_async(function, run_in_extra_thread)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        noting = RecordingSend(send)
        exchange = MiddlewareCall(self.app, seen_whole(scope), receive, noting)
        try:
            response = await self._call(exchange.request, exchange.call_next)
            await exchange.answer(self._check(response))
        except Exception as error:  # noqa: BLE001 - customers raise anything
            await answer_error(error, scope, receive, noting)
        finally:
            await exchange.end()

    def _check(self, response: Any) -> Response:
        if not isinstance(response, Response):
            raise TypeError(
                f"{describe(self.function)} returned {type(response).__name__}: "
                "return what call_next(request) returned, or another response."
            )
        return response


class MiddlewareCall:
    """A request on its way through the function, and what the app answers."""

    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: RecordingSend
    ) -> None:
        self.request = ReplayableRequest(scope, receive)
        self._calls: list[NextCall] = []
        self._is_over = False
        self._app = app
        self._scope = scope
        self._send = send
        self._scope_before: Scope = {}

    def call_next(self, request: Request) -> Any:
        """Let the app answer: in a coroutine awaitable, in a thread at once."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return from_thread.run(self._call_next, request)
        return self._call_next(request)

    async def answer(self, response: Response) -> None:
        """Send what the function returned."""
        for call in self._calls:
            if call.has_passed_on(response):
                await call.send_on()
                return
        await response(self._scope, self.request.receive, self._send)

    async def end(self) -> None:
        """End the app wherever it runs, before the request ends.

        Raises:
            Exception: what the app raised after it had answered.
        """
        self._is_over = True
        running = [call.task for call in self._calls if not call.task.done()]
        if running:
            for call in self._calls:
                call.abandon()
            try:
                await asyncio.wait(running)
            except asyncio.CancelledError:
                for task in running:
                    task.cancel()
                raise
        for call in self._calls:
            if error := call.unseen_error():
                raise error

    async def _call_next(self, request: Request) -> Response:
        if self._is_over:
            raise RuntimeError("call_next was called after the request had ended.")
        scope, receive = self.request.passed_on(request)
        if not self._calls:
            self._scope_before = dict(scope)
        elif scope is self._scope:
            scope = _unrouted(scope, self._scope_before)
        call = NextCall(self._app, scope, receive, self._send)
        self._calls.append(call)
        return await call.wait()


class NextCall:
    """One call of ``call_next``: the app answers in a task of its own."""

    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: RecordingSend
    ) -> None:
        loop = asyncio.get_running_loop()
        self._response: asyncio.Future[InterceptedResponse] = loop.create_future()
        self._passage = ResponseInterceptor(send, self._on_response)
        self.task = asyncio.ensure_future(app(scope, receive, self._passage.send))
        self.task.add_done_callback(self._on_end)

    async def wait(self) -> InterceptedResponse:
        """Return the response; the app ends if nobody waits for it any more."""
        try:
            return await self._response
        except asyncio.CancelledError:
            self.abandon()
            raise

    def has_passed_on(self, response: Response) -> bool:
        """Whether this is the call's response, and a stream left as it was."""
        own = self._answered()
        return own is not None and own is response and own.is_passed_on

    async def send_on(self) -> None:
        """Let the stream through, to its end."""
        response = self._response.result()
        await self._passage.send_on(response)
        await self.task
        if response.background is not None:
            await response.background()

    def abandon(self) -> None:
        """End the app if nobody wants what it still sends."""
        if self._passage.state is not State.COMPLETE:
            # First, as an app may take the cancellation for a reason to send more.
            self._passage.close()
            self.task.cancel()

    def unseen_error(self) -> BaseException | None:
        """Return what the app, which has ended, raised without anybody seeing it."""
        if self.task.cancelled() or self._answered() is None:
            return None
        return None if self._passage.error_is_seen else self.task.exception()

    def _answered(self) -> InterceptedResponse | None:
        response = self._response
        done = response.done() and not response.cancelled()
        return response.result() if done and not response.exception() else None

    async def _on_response(self, response: InterceptedResponse) -> None:
        if not self._response.done():
            self._response.set_result(response)

    def _on_end(self, task: asyncio.Future[None]) -> None:
        error = None if task.cancelled() else task.exception()
        self._passage.fail(error)
        if not self._response.done():
            self._response.set_exception(error or ClientDisconnect())


def _unrouted(scope: Scope, before: Scope) -> Scope:
    """Return a scope without what routers wrote into it after ``before``."""
    unrouted = {key: value for key, value in scope.items() if key not in _ROUTED}
    unrouted.update((key, before[key]) for key in _ROUTED if key in before)
    return unrouted
