"""Middleware for Ray's HTTP proxies."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from model_hosting_container_standards.request_id import (
    INFERENCE_ID,
    X_REQUEST_ID,
    choose_id,
)


def proxy_middleware() -> list[Middleware]:
    """Return the middleware by which SageMaker's inference id is Ray's request id.

    Ray calls it in each proxy if the environment of ``ray start`` has::

        RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=mhcs.ray.proxy_middleware
    """
    return [Middleware(ChosenRequestId)]


class ChosenRequestId:
    """Chooses the id of a request before Ray does, which has it in all its logs."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers: dict[bytes, bytes] = dict(scope["headers"])
            request_id = choose_id(headers.get(INFERENCE_ID), headers.get(X_REQUEST_ID))
            others = [
                header for header in scope["headers"] if header[0] != X_REQUEST_ID
            ]
            scope = {**scope, "headers": [*others, (X_REQUEST_ID, request_id)]}
        await self.app(scope, receive, send)
