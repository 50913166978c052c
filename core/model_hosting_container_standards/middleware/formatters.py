"""Input and output formatters: customers' functions of a request or a response."""

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
from .interceptor import ResponseInterceptor, State, without_opaque_sends
from .request import ReplayableRequest
from .response import InterceptedResponse
from .threads import run_in_extra_thread

Format = Callable[..., Awaitable[Any]]


class Formatters:
    """Calls the input formatter before the app and the output formatter after it."""

    def __init__(
        self,
        app: ASGIApp,
        format_input: Callable[..., Any] | None,
        format_output: Callable[..., Any] | None,
    ) -> None:
        self.app = app
        self._input = _as_async_format(format_input)
        self._output = _as_async_format(format_output)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._input is not None:
            request = ReplayableRequest(scope, receive)
            recording_send = RecordingSend(send)
            try:
                result = await self._input(request)
                if isinstance(result, Response):
                    await result(scope, receive, recording_send)
                    return
                scope, receive = request.to_forward(result)
            except Exception as error:  # noqa: BLE001 - customers raise anything
                await answer_error(error, scope, receive, recording_send)
                return
        if self._output is None:
            await self.app(scope, receive, send)
        else:
            scope = without_opaque_sends(scope)
            await FormatterCall(self._output, scope, receive, send).run(self.app)


class FormatterCall:
    """One request whose response goes through the output formatter.

    For a complete response, the formatter is called within the app's ``send``. For a
    stream, which the formatter may read, it runs in a separate task.
    """

    def __init__(
        self, format_output: Format, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._format_output = format_output
        self._scope = scope
        self._receive = receive
        self._send = RecordingSend(send)
        self._interceptor = ResponseInterceptor(self._send, self._on_response)
        self._app: asyncio.Task[Any] | None = None
        self._stream_task: asyncio.Future[None] | None = None
        self._app_cancelled = False
        self._error: Exception | None = None
        self._forwarded: InterceptedResponse | None = None

    async def run(self, inner: ASGIApp) -> None:
        """Call the app and pass its response to the formatter."""
        error = None
        self._app = asyncio.current_task()
        try:
            await inner(self._scope, self._receive, self._interceptor.send)
        except asyncio.CancelledError:
            if not self._app_cancelled:
                self._cancel_formatter()
                raise
        except Exception as raised:  # noqa: BLE001 - raised again below
            error = raised
        finally:
            # The app has returned: the task must not be cancelled from here on.
            app, self._app = self._app, None
        self._interceptor.fail(error)
        try:
            if self._app_cancelled and _uncancel(app):
                raise asyncio.CancelledError
            await self._finish()
        except asyncio.CancelledError:
            self._cancel_formatter()
            raise
        if error is not None and not self._interceptor.error_was_raised:
            raise error

    async def _finish(self) -> None:
        if self._stream_task is not None:
            with contextlib.suppress(ClientDisconnect):
                await self._stream_task
        if self._error is not None:
            raise self._error
        if self._forwarded is not None and self._forwarded.background is not None:
            await self._forwarded.background()

    def _cancel_formatter(self) -> None:
        if self._stream_task is not None:
            self._stream_task.cancel()

    def _cancel_app(self) -> None:
        """Cancel the app if the rest of its response is not needed."""
        if self._app is not None and self._interceptor.state is State.HELD:
            self._app_cancelled = True
            # Close first: an app may send more messages when it is cancelled.
            self._interceptor.close()
            self._app.cancel()

    async def _on_response(self, response: InterceptedResponse) -> None:
        if response.is_stream:
            self._stream_task = asyncio.ensure_future(self._format_and_send(response))
            return
        try:
            await self._format_and_send(response)
        except Exception as error:  # noqa: BLE001 - raised once the app has ended
            self._error = error

    async def _format_and_send(self, response: InterceptedResponse) -> None:
        try:
            result = _as_response(await self._format_output(response), response)
            if result is response and response.is_passed_on:
                await self._interceptor.forward(response)
                self._forwarded = response
            else:
                await result(self._scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - customers raise anything
            await answer_error(error, self._scope, self._receive, self._send)
        finally:
            self._cancel_app()


def _uncancel(task: asyncio.Task[Any] | None) -> bool:
    """Undo our cancellation; return whether another is pending (never on 3.10)."""
    if task is None or sys.version_info < (3, 11):
        return False
    return task.uncancel() > 0


def _as_async_format(function: Callable[..., Any] | None) -> Format | None:
    return None if function is None else as_async(function, run_in_extra_thread)


def _as_response(result: Any, response: InterceptedResponse) -> Response:
    """Return the response for a formatter's return value."""
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
