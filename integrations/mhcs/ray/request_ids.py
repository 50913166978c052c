"""Ids of requests, which Ray's proxy adds to responses."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_hosting_container_standards.request_id import X_REQUEST_ID


def leave_id_to_proxy(app: FastAPI) -> None:
    """Remove the id from responses if Ray's proxy adds the same one.

    Call it before the app starts.
    """
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: _WithoutProxysId(build())  # type: ignore[method-assign]


class _WithoutProxysId:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        ids = [header for header in scope["headers"] if header[0] == X_REQUEST_ID]

        async def send_without(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [x for x in message["headers"] if tuple(x) not in ids]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, send_without)
