"""The routes of SageMaker's runtime API."""

from __future__ import annotations

import uuid
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .endpoint import Endpoint
from .errors import ApiError, UnknownOperationError, answer_error

#: The status that nginx logs for a client that has left; nobody receives it.
_CLIENT_LEFT: Final = 499


def make_app(endpoint: Endpoint) -> ASGIApp:
    """Return the app of an endpoint, which answers to every endpoint name."""
    path = "/endpoints/{endpoint}"
    routes = [
        Route("/ping", endpoint.ping),
        Route(f"{path}/invocations", endpoint.invoke, methods=["POST"]),
        Route(
            f"{path}/invocations-response-stream",
            endpoint.invoke_with_response_stream,
            methods=["POST"],
        ),
        Route(f"{path}/async-invocations", endpoint.invoke_async, methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            ApiError: answer_error,
            ClientDisconnect: _answer_nobody,
            404: _answer_unknown,
            405: _answer_unknown,
        },
    )
    return _with_request_ids(app)


def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_CLIENT_LEFT)


def _answer_unknown(request: Request, _error: Exception) -> Response:
    unknown = UnknownOperationError(
        f"{request.method} {request.url.path} is not one of mhcs local, which has "
        "InvokeEndpoint, InvokeEndpointWithResponseStream and InvokeEndpointAsync."
    )
    return answer_error(request, unknown)


def _with_request_ids(app: ASGIApp) -> ASGIApp:
    """Give each response an id, as AWS does."""

    async def with_request_id(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-amzn-requestid"] = str(uuid.uuid4())
            await send(message)

        await app(scope, receive, send_with_id)

    return with_request_id
