"""Middleware that is an ASGI class."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..asgi.errors import RecordingSend, answer_error

#: Where a scope has what receives outside the class that is to be called next.
_OUTER_RECEIVE: Final = "model_hosting_container_standards.receive"


class ASGIMiddleware:
    """Calls an instance of a customer's class, and answers what it raises."""

    def __init__(self, middleware: ASGIApp) -> None:
        self.middleware = middleware

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.middleware(scope, receive, send)
            return
        scope[_OUTER_RECEIVE] = receive
        noting = RecordingSend(send)
        try:
            await self.middleware(scope, receive, noting)
        except Exception as error:  # noqa: BLE001 - customers raise anything
            await answer_error(error, scope, receive, noting)


class InsideBaseHTTP:
    """An app in Starlette's ``BaseHTTPMiddleware``, which sees its client leave.

    That class receives in a task of its own. Whoever polls, as ``is_disconnected`` and
    with it TensorRT-LLM does, has given up before the task begins, and would compute
    for nobody. So, once it has the body, the app receives from outside of the class.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The class may have made another scope, without it.
        outer: Receive = scope.pop(_OUTER_RECEIVE, receive)
        is_whole = False

        async def receive_on() -> Message:
            nonlocal is_whole
            if is_whole:
                return await outer()
            message = await receive()
            is_whole = not message.get("more_body", False)
            return message

        await self.app(scope, receive_on, send)
