"""Middleware that is an ASGI class."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..asgi.errors import RecordingSend, answer_error

#: Scope key of the ``receive`` that was passed to the customer's class.
_OUTER_RECEIVE: Final = "model_hosting_container_standards.receive"


class ASGIMiddleware:
    """Calls an instance of a customer's class and turns exceptions into responses."""

    def __init__(self, middleware: ASGIApp) -> None:
        self.middleware = middleware

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.middleware(scope, receive, send)
            return
        scope[_OUTER_RECEIVE] = receive
        recording_send = RecordingSend(send)
        try:
            await self.middleware(scope, receive, recording_send)
        except Exception as error:  # noqa: BLE001 - customers raise anything
            await answer_error(error, scope, receive, recording_send)


class InsideBaseHTTP:
    """Keeps client disconnects visible to an app inside ``BaseHTTPMiddleware``.

    Starlette's class runs ``receive`` in a separate task. ``Request.is_disconnected``,
    which TensorRT-LLM polls, gives up before that task starts, so the engine would
    keep generating for a client that has gone. Once the body is complete, the app
    therefore uses the ``receive`` that was passed to the class.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The class may have created a new scope without the key.
        outer: Receive = scope.pop(_OUTER_RECEIVE, receive)
        body_complete = False

        async def receive_message() -> Message:
            nonlocal body_complete
            if body_complete:
                return await outer()
            message = await receive()
            body_complete = not message.get("more_body", False)
            return message

        await self.app(scope, receive_message, send)
