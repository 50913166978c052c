"""Input and output formatters: functions of the request, and of the response."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..endpoint import as_async
from .content import JSON_TYPE, is_content
from .errors import answer_error
from .passage import Passage
from .request import PassingRequest
from .response import PassingResponse

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
        self._input = None if format_input is None else as_async(format_input)
        self._output = None if format_output is None else as_async(format_output)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._input is not None:
            request = PassingRequest(scope, receive)
            try:
                scope, receive = request.passed_on(await self._input(request))
            except Exception as error:  # noqa: BLE001 - customers raise anything
                await answer_error(error, scope, receive, send, started=False)
                return
        if self._output is None:
            await self.app(scope, receive, send)
        else:
            await Formatting(self._output, scope, receive, send).run(self.app)


class Formatting:
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
        self._send = send
        self._passage = Passage(send, self._on_response)
        self._beside: asyncio.Task[None] | None = None

    async def run(self, app: ASGIApp) -> None:
        """Let the app answer, and the formatter see it."""
        try:
            await self._run(app)
        except BaseException:
            if self._beside is not None:
                self._beside.cancel()
            raise
        if self._beside is not None:
            with contextlib.suppress(ClientDisconnect):
                await self._beside

    async def _run(self, app: ASGIApp) -> None:
        passage = self._passage
        try:
            await app(self._scope, self._receive, passage.send)
        except Exception as error:
            passage.fail(error)
            # That the rest was not wanted is no error of the app's.
            if not passage.is_closed:
                raise
        passage.fail(ClientDisconnect())

    async def _on_response(self, response: PassingResponse) -> None:
        if response.is_stream:
            self._beside = asyncio.ensure_future(self._answer(response))
        else:
            await self._answer(response)

    async def _answer(self, response: PassingResponse) -> None:
        passage = self._passage
        try:
            result = _as_response(await self._format_output(response), response)
        except Exception as error:  # noqa: BLE001 - customers raise anything
            passage.close()
            await answer_error(
                error, self._scope, self._receive, self._send, started=False
            )
            return
        if result is response and response.is_passed_on:
            await passage.send_on(response)
            return
        try:
            await result(self._scope, self._receive, self._send)
        finally:
            passage.close()


def _as_response(result: Any, response: PassingResponse) -> Response:
    """Return what a formatter meant by what it returned."""
    if is_content(result):
        response.body = result
        if isinstance(result, dict | list):
            response.headers["content-type"] = JSON_TYPE.decode()
        return response
    if result is None:
        return response
    if not isinstance(result, Response):
        raise TypeError(
            f"The output formatter returned {type(result).__name__}: return a response "
            "or a body (bytes, text, a dict or a list), or nothing."
        )
    return result
