"""Bidirectional streaming: the WebSocket ``/invocations-bidirectional-stream``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from fastapi import FastAPI, HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from ..asgi.endpoint import describe
from ..asgi.header_values import header_values
from ..asgi.websockets import (
    INVALID_PAYLOAD,
    find_websocket,
    put_websocket_first,
    refuse_websocket,
    websocket_paths,
)
from ..contract.headers import ADAPTER_IDENTIFIER, MODEL_INVOCATION_PATH, header_text
from ..contract.routes import BIDIRECTIONAL_STREAM, REALTIME
from ..handlers.registry import Handler
from ..handlers.stream_handler import find_stream_handler
from ..logging_config import get_logger

logger = get_logger(__name__)

_HEADER: Final = "X-Amzn-SageMaker-Model-Invocation-Path"
#: Packages by which uvicorn serves WebSockets.
_LIBRARIES: Final = ("websockets", "wsproto")


class BidirectionalStream:
    """Passes a WebSocket on to the app's route that the header names.

    Without the header this is ``/v1/realtime``. The path in the header has no slash at
    its beginning.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chosen = _chosen_path(scope)
        target = find_websocket(self._app, chosen or REALTIME)
        if target is not None:
            await target(scope, receive, send)
        else:
            error = HTTPException(404, self._explain(chosen))
            await refuse_websocket(error, scope, receive, send)

    def _explain(self, chosen: str | None) -> str:
        if chosen is None:
            return (
                "This server has no bidirectional stream: it needs a handler with the "
                f"decorator @sagemaker.stream, or an engine with {REALTIME}."
            )
        paths = sorted({*websocket_paths(self._app)} - {BIDIRECTIONAL_STREAM})
        if not paths:
            return f"{_HEADER}: the server has no WebSocket route."
        return f"{_HEADER} must be one of {', '.join(paths)}."


class RealtimeEvents:
    """An engine's ``/v1/realtime``, which reads its events from text messages.

    SageMaker sends a client's data as binary messages, unless the client declares them
    as text. The engine answers by its base model: an adapter's header is refused.
    """

    def __init__(self, engine: ASGIApp) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if any(
            name == ADAPTER_IDENTIFIER and value for name, value in scope["headers"]
        ):
            error = HTTPException(400, f"{REALTIME} does not support adapters.")
            await refuse_websocket(error, scope, receive, send)
            return
        messages = TextMessages(receive, send)
        await self._engine(scope, messages.receive, messages.send)


class TextMessages:
    """The messages of a WebSocket, of which binary ones are received as text.

    One that is not UTF-8 closes the connection.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_closed = False

    async def receive(self) -> Message:
        message = await self._receive()
        raw = message.get("bytes")
        if raw is None:
            return message
        try:
            return {"type": "websocket.receive", "text": raw.decode()}
        except UnicodeDecodeError:
            self._is_closed = True
            await self._send(
                {
                    "type": "websocket.close",
                    "code": INVALID_PAYLOAD,
                    "reason": f"{REALTIME} takes events as JSON.",
                }
            )
            return {"type": "websocket.disconnect", "code": INVALID_PAYLOAD}

    async def send(self, message: Message) -> None:
        """Send a message; drop it if the connection is closed.

        The engine may be about to send when it has not yet learned of the end.
        """
        if not self._is_closed:
            await self._send(message)


def _chosen_path(scope: Scope) -> str | None:
    """Return the path in the header, with a slash; None without one."""
    value = header_values(scope).get(MODEL_INVOCATION_PATH, b"")
    path = header_text(value).strip().lstrip("/")
    return f"/{path}" if path and f"/{path}" != BIDIRECTIONAL_STREAM else None


def add_bidirectional_stream(app: FastAPI, *, has_engine: bool) -> None:
    """Add the WebSocket route before all others.

    The customer's handler answers it, else the app's own route of this path, else the
    app's ``/v1/realtime``.

    Raises:
        HandlerNotCallableError: the customer's handler cannot be used.
    """
    handler = find_stream_handler()
    realtime = find_websocket(app, REALTIME)
    if realtime is not None and has_engine:
        put_websocket_first(app, REALTIME, RealtimeEvents(realtime))
    if handler is not None:
        put_websocket_first(app, BIDIRECTIONAL_STREAM, _as_function(handler))
        _log(f"{describe(handler)}: @stream decorator")
        _check_library()
    elif find_websocket(app, BIDIRECTIONAL_STREAM) is not None:
        _log("the server's own route")
    else:
        put_websocket_first(app, BIDIRECTIONAL_STREAM, BidirectionalStream(app))
        if realtime is not None:
            _log(f"the server's {REALTIME}")


def _as_function(handler: Handler) -> Handler:
    """Return a function, as Starlette takes any other callable for an ASGI app."""

    async def stream(websocket: WebSocket) -> None:
        await handler(websocket)

    return stream


def _log(source: str) -> None:
    logger.info("%s is answered by %s", BIDIRECTIONAL_STREAM, source)


def _check_library() -> None:
    if not any(map(find_spec, _LIBRARIES)):
        logger.error(
            "%s: uvicorn cannot serve WebSockets without the package %s: install it.",
            BIDIRECTIONAL_STREAM,
            _LIBRARIES[0],
        )
