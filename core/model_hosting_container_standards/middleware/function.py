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
from .interceptor import ResponseInterceptor, State, without_opaque_sends
from .request import ReplayableRequest
from .response import InterceptedResponse
from .threads import run_in_extra_thread

_ROUTER_KEYS: Final = (
    "app_root_path",
    "endpoint",
    "path_params",
    "root_path",
    "route",
    "router",
)


class FunctionMiddleware:
    """Calls a customer's function, whose ``call_next`` calls the app."""

    def __init__(self, app: ASGIApp, function: Callable[..., Any]) -> None:
        self.app = app
        self.function = function
        self._call = as_async(function, run_in_extra_thread)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        recording_send = RecordingSend(send)
        call = MiddlewareCall(
            self.app, without_opaque_sends(scope), receive, recording_send
        )
        try:
            response = await self._call(call.request, call.call_next)
            await call.answer(self._check(response))
        except Exception as error:  # noqa: BLE001 - customers raise anything
            await answer_error(error, scope, receive, recording_send)
        finally:
            await call.end()

    def _check(self, response: Any) -> Response:
        if not isinstance(response, Response):
            raise TypeError(
                f"{describe(self.function)} returned {type(response).__name__}: "
                "return what call_next(request) returned, or another response."
            )
        return response


class MiddlewareCall:
    """One call of a customer's function, with the calls it makes of the app."""

    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: RecordingSend
    ) -> None:
        self.request = ReplayableRequest(scope, receive)
        self._calls: list[NextCall] = []
        self._is_finished = False
        self._app = app
        self._scope = scope
        self._send = send
        self._scope_before: Scope = {}

    def call_next(self, request: Request) -> Any:
        """Call the app: return an awaitable on the event loop, block in a thread."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return from_thread.run(self._call_next, request)
        return self._call_next(request)

    async def answer(self, response: Response) -> None:
        """Send the response that the function returned."""
        for call in self._calls:
            if call.is_unchanged(response):
                await call.forward()
                return
        await response(self._scope, self.request.receive, self._send)

    async def end(self) -> None:
        """Cancel calls of the app that still run, and wait for them.

        Raises:
            Exception: the app's error, if it was raised after the response started.
        """
        self._is_finished = True
        running = [call.task for call in self._calls if not call.task.done()]
        if running:
            for call in self._calls:
                call.cancel()
            try:
                await asyncio.wait(running)
            except asyncio.CancelledError:
                for task in running:
                    task.cancel()
                raise
        for call in self._calls:
            if error := call.unraised_error():
                raise error

    async def _call_next(self, request: Request) -> Response:
        if self._is_finished:
            raise RuntimeError("call_next was called after the request had ended.")
        scope, receive = self.request.to_forward(request)
        if not self._calls:
            self._scope_before = dict(scope)
        elif scope is self._scope:
            scope = _reset_routing(scope, self._scope_before)
        call = NextCall(self._app, scope, receive, self._send)
        self._calls.append(call)
        return await call.wait()


class NextCall:
    """One call of ``call_next``, which runs the app in a separate task."""

    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: RecordingSend
    ) -> None:
        loop = asyncio.get_running_loop()
        self._response: asyncio.Future[InterceptedResponse] = loop.create_future()
        self._interceptor = ResponseInterceptor(send, self._on_response)
        self.task = asyncio.ensure_future(app(scope, receive, self._interceptor.send))
        self.task.add_done_callback(self._on_end)

    async def wait(self) -> InterceptedResponse:
        """Return the response; cancel the app if the caller is cancelled."""
        try:
            return await self._response
        except asyncio.CancelledError:
            self.cancel()
            raise

    def is_unchanged(self, response: Response) -> bool:
        """Whether ``response`` is this call's own, a stream that was not changed."""
        own = self._finished_response()
        return own is not None and own is response and own.is_passed_on

    async def forward(self) -> None:
        """Forward the unchanged stream until it ends."""
        response = self._response.result()
        await self._interceptor.forward(response)
        await self.task
        if response.background is not None:
            await response.background()

    def cancel(self) -> None:
        """Cancel the app if its response is not complete."""
        if self._interceptor.state is not State.COMPLETE:
            # Close first: an app may send more messages when it is cancelled.
            self._interceptor.close()
            self.task.cancel()

    def unraised_error(self) -> BaseException | None:
        """Return the error of a finished app that has not been raised anywhere yet."""
        if self.task.cancelled() or self._finished_response() is None:
            return None
        return None if self._interceptor.error_was_raised else self.task.exception()

    def _finished_response(self) -> InterceptedResponse | None:
        response = self._response
        done = response.done() and not response.cancelled()
        return response.result() if done and not response.exception() else None

    async def _on_response(self, response: InterceptedResponse) -> None:
        if not self._response.done():
            self._response.set_result(response)

    def _on_end(self, task: asyncio.Future[None]) -> None:
        error = None if task.cancelled() else task.exception()
        self._interceptor.fail(error)
        if not self._response.done():
            self._response.set_exception(error or ClientDisconnect())


def _reset_routing(scope: Scope, before: Scope) -> Scope:
    """Return the scope with the keys that routers set restored from ``before``."""
    reset = {key: value for key, value in scope.items() if key not in _ROUTER_KEYS}
    reset.update((key, before[key]) for key in _ROUTER_KEYS if key in before)
    return reset
