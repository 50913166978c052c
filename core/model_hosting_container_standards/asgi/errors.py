"""Error responses from outside the app: from refusals, and failing middleware."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import fastapi
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..logging_config import get_logger
from .body import encode_json

logger = get_logger(__name__)


class InnerApp:
    """The app inside a middleware; ``app`` is set when the server starts."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class RecordingSend:
    """A ``send`` that records whether the response has started."""

    __slots__ = ("has_started", "send")

    def __init__(self, send: Send) -> None:
        self.send = send
        self.has_started = False

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.has_started = True
        return self.send(message)


async def refuse(
    error: fastapi.HTTPException, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer with an error, in the form of the app's own errors."""
    await answer_error(error, scope, receive, RecordingSend(send))


async def answer_error(
    error: Exception, scope: Scope, receive: Receive, send: RecordingSend
) -> None:
    """Answer with an error of a middleware: its HTTPException, or else a plain 500.

    The app's own exception handlers create the response.

    Raises:
        Exception: ``error`` again, if the response has started, or if the app inside
            raised it: the server handles such errors.
    """
    if _came_through(error):
        raise error
    if isinstance(error, ClientDisconnect):
        return
    if send.has_started:
        raise error
    if not isinstance(error, HTTPException):
        where = f"{scope['method']} {scope['path']}"
        logger.error("A middleware failed on %s", where, exc_info=error)
        # FastAPI's class, which the engines' handlers are registered for.
        error = fastapi.HTTPException(500, HTTPStatus(500).phrase)

    async def fail(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    handlers = {
        key: handler
        for key, handler in scope["app"].exception_handlers.items()
        if key not in (500, Exception)
    }
    with_headers = _with_headers(send, error.headers or {})
    try:
        await ExceptionMiddleware(fail, handlers)(scope, receive, with_headers)
    except Exception as failed:
        if send.has_started:
            raise
        # vLLM's handler requires a text as detail, FastAPI allows any JSON.
        logger.error("The app's handler of HTTPExceptions failed", exc_info=failed)
        response = JSONResponse({"detail": error.detail}, error.status_code)
        await response(scope, receive, with_headers)


def message_in(document: Any) -> str:
    """Return the text of an error, in the form of FastAPI or of an engine."""
    for text in _texts_in(document):
        if isinstance(text, str) and text:
            return text
    return encode_json(document).decode() if document else ""


def _texts_in(document: Any) -> Iterator[Any]:
    yield document
    if isinstance(document, dict):
        for key in ("error", "message", "detail"):
            found = document.get(key)
            yield found.get("message") if isinstance(found, dict) else found


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """Return a ``send`` that adds the error's headers, which some handlers drop."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            merged = MutableHeaders(raw=[*message["headers"]])
            for name, value in headers.items():
                merged.setdefault(name, value)
            message = {**message, "headers": merged.raw}
        await send(message)

    return send_with_headers


def _came_through(error: Exception) -> bool:
    """Whether the inner app raised the error, not the middleware."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is InnerApp.__call__.__code__ for frame, _ in frames)
