"""Input and output formatters: functions of the request, and of the response."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.endpoint import as_async
from ..asgi.errors import RecordingSend, answer_error
from .content import is_content
from .interceptor import ResponseInterceptor, State, seen_whole
from .request import ReplayableRequest
from .response import InterceptedResponse
from .threads import run_in_extra_thread

Format = Callable[..., Awaitable[Any]]


class Formatters:
    """Lets functions change requests before the app answers, and what it answers."""

    def __init__(
        self,
        app: ASGIApp,
        format_input: Callable[..., Any] | None,
        format_output: Callable[..., Any] | None,
    ) -> None:
        self.app = app
        self._input = _async(format_input)
        self._output = _async(format_output)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._input is not None:
            request = ReplayableRequest(scope, receive)
            try:
                scope, receive = request.passed_on(await self._input(request))
            except Exception as error:  # noqa: BLE001 - customers raise anything
                await answer_error(error, scope, receive, RecordingSend(send))
                return
        if self._output is None:
            await self.app(scope, receive, send)
        else:
            scope = seen_whole(scope)
            await FormatterCall(self._output, scope, receive, send).run(self.app)


class FormatterCall:
    """One response on its way through an output formatter.

    That of a whole response is called where the app sends it. That of a stream may read
    it, so it gets a task of its own, beside the app.
    """

    def __init__(
        self, format_output: Format, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._format_output = format_output
        self._scope = scope
        self._receive = receive
        self._send = RecordingSend(send)
        self._passage = ResponseInterceptor(self._send, self._on_response)
        self._app: asyncio.Task[Any] | None = None
        self._beside: asyncio.Future[None] | None = None
        self._is_ended = False
        self._error: Exception | None = None
        self._passed_on: InterceptedResponse | None = None

    async def run(self, inner: ASGIApp) -> None:
        """Let the app answer, and the formatter see it."""
        error = None
        self._app = asyncio.current_task()
        try:
            await inner(self._scope, self._receive, self._passage.send)
        except asyncio.CancelledError:
            if not self._is_ended:
                self._end_formatter()
                raise
        except Exception as raised:  # noqa: BLE001 - raised further below
            error = raised
        finally:
            # What is cancelled from now on is no app any more.
            app, self._app = self._app, None
        self._passage.fail(error)
        try:
            if self._is_ended and _uncancel(app):
                raise asyncio.CancelledError
            await self._finish()
        except asyncio.CancelledError:
            self._end_formatter()
            raise
        if error is not None and not self._passage.error_is_seen:
            raise error

    async def _finish(self) -> None:
        if self._beside is not None:
            with contextlib.suppress(ClientDisconnect):
                await self._beside
        if self._error is not None:
            raise self._error
        if self._passed_on is not None and self._passed_on.background is not None:
            await self._passed_on.background()

    def _end_formatter(self) -> None:
        if self._beside is not None:
            self._beside.cancel()

    def _end_app(self) -> None:
        """End the app if nobody wants what it still sends."""
        if self._app is not None and self._passage.state is State.HELD:
            self._is_ended = True
            # First, as an app may take the cancellation for a reason to send more.
            self._passage.close()
            self._app.cancel()

    async def _on_response(self, response: InterceptedResponse) -> None:
        if response.is_stream:
            self._beside = asyncio.ensure_future(self._answer(response))
            return
        try:
            await self._answer(response)
        except Exception as error:  # noqa: BLE001 - raised once the app has ended
            self._error = error

    async def _answer(self, response: InterceptedResponse) -> None:
        try:
            result = _as_response(await self._format_output(response), response)
            if result is response and response.is_passed_on:
                await self._passage.send_on(response)
                self._passed_on = response
            else:
                await result(self._scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - customers raise anything
            await answer_error(error, self._scope, self._receive, self._send)
        finally:
            self._end_app()


def _uncancel(task: asyncio.Task[Any] | None) -> bool:
    """Take back our cancellation; tell whether there is another, which 3.10 cannot."""
    if task is None or sys.version_info < (3, 11):
        return False
    return task.uncancel() > 0


def _async(function: Callable[..., Any] | None) -> Format | None:
    return None if function is None else as_async(function, run_in_extra_thread)


def _as_response(result: Any, response: InterceptedResponse) -> Response:
    """Return what a formatter meant by what it returned."""
    if is_content(result):
        response.body = result
        return response
    if result is None:
        return response
    if not isinstance(result, Response):
        raise TypeError(
            f"The output formatter returned {type(result).__name__}: return a response "
            "or a body (bytes, text, a dict or a list), or nothing."
        )
    return result
