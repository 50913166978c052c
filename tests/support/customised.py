"""Apps with middleware and formatters, and requests sent message by message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.testclient import TestClient
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.common.fastapi.middleware import (
    custom_middleware,
    input_formatter,
    output_formatter,
)

#: An exchange that takes longer is considered hung.
PATIENCE_S: Final = 5.0

#: The decorator and the variable of each place of middleware or a formatter.
DECORATORS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "throttle": custom_middleware("throttle"),
    "pre_post_process": custom_middleware("pre_post_process"),
    "input_formatter": input_formatter,
    "output_formatter": output_formatter,
}
VARIABLES: Final[Mapping[str, str]] = {
    "throttle": "CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE",
    "pre_post_process": "CUSTOM_FASTAPI_MIDDLEWARE_PRE_POST_PROCESS",
    "input_formatter": "CUSTOM_PRE_PROCESS",
    "output_formatter": "CUSTOM_POST_PROCESS",
}


async def send_back(request: Request) -> Response:
    """Return the request's body, and its headers as ``x-...``."""
    names = ("content-length", "content-type", "content-encoding", "by")
    headers = {f"x-{name}": request.headers.get(name, "none") for name in names}
    return Response(await request.body(), headers=headers)


def app_with(handler: Callable[..., Any] = send_back, **places: Any) -> FastAPI:
    """Return a bootstrapped app, with objects registered in these places."""
    for place, registered in places.items():
        DECORATORS[place](registered)
    app = FastAPI()
    app.post("/invocations")(handler)
    app.get("/ping")(ping)
    return sagemaker.bootstrap(app)


async def ping() -> str:
    return "engine's ping"


def client_with(handler: Callable[..., Any] = send_back, **places: Any) -> TestClient:
    """Return a client that gets a 500 instead of the app's exception."""
    app = app_with(handler, **places)
    return TestClient(app, raise_server_exceptions=False)


# --- middleware that changes nothing -----------------------------------------------


async def pass_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


def pass_on_in_a_thread(request: Any, call_next: Any) -> Any:
    return call_next(request)


async def pass_on_rewrapped(request: Any, call_next: Any) -> Any:
    response = await call_next(request)
    response.body_iterator = again(response.body_iterator)
    return response


class PassOn:
    """Pure ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class PassOnByStarlette(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


async def leave(message: Any) -> None:
    """Leave a request or response as it is."""


def leave_in_a_thread(message: Any) -> None:
    """Leave a request or response as it is."""


async def rewrap(response: Any) -> None:
    response.body_iterator = again(response.body_iterator)


async def again(chunks: AsyncIterable[Any]) -> AsyncIterator[Any]:
    async for chunk in chunks:
        yield chunk


KINDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "nothing": {},
    "function around all": {"throttle": pass_on},
    "function inside": {"pre_post_process": pass_on},
    "function in a thread": {"pre_post_process": pass_on_in_a_thread},
    "function with an iterator": {"pre_post_process": pass_on_rewrapped},
    "class": {"throttle": PassOn},
    "Starlette's class": {"pre_post_process": PassOnByStarlette},
    "input formatter": {"input_formatter": leave},
    "output formatter": {"output_formatter": leave},
    "output formatter with an iterator": {"output_formatter": rewrap},
    "functions everywhere": {
        "throttle": pass_on,
        "pre_post_process": pass_on_in_a_thread,
        "input_formatter": leave_in_a_thread,
        "output_formatter": leave_in_a_thread,
    },
    "classes and formatters": {
        "throttle": PassOn,
        "pre_post_process": PassOnByStarlette,
        "input_formatter": leave,
        "output_formatter": rewrap,
    },
}

#: Starlette's class ends a stream as if it were complete, and raises afterwards.
ENDS_BROKEN_STREAMS: Final = ("Starlette's class", "classes and formatters")


# --- requests, message by message --------------------------------------------------


class Exchange:
    """One request as a server passes it to an app, and the app's response.

    A server of specification 2.4 reports a disconnect by an error of ``send``, an
    older one by ``receive`` only.
    """

    def __init__(
        self,
        app: ASGIApp,
        body: Iterable[bytes] = (b"",),
        *,
        path: str = "/invocations",
        method: str = "POST",
        specification: str = "2.3",
        on_chunk: Callable[[bytes], None] = lambda chunk: None,
    ) -> None:
        self._app = app
        *parts, last = body
        self._parts = [*((part, True) for part in parts), (last, False)]
        self._on_chunk = on_chunk
        self._raises = specification >= "2.4"
        self._gone = asyncio.Event()
        self.started = asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self.is_complete = False
        self.scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": specification},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
        }

    async def run(self) -> Exchange:
        """Run the app, for PATIENCE_S at most."""
        call = self._app(self.scope, self._receive, self._send)
        await asyncio.wait_for(call, PATIENCE_S)
        return self

    def disconnect(self) -> None:
        self._gone.set()

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)

    async def _receive(self) -> Message:
        if self._parts:
            part, more = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": more}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._raises and self._gone.is_set():
            raise ConnectionResetError("The client has disconnected.")
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            self.started.set()
            return
        assert not self.is_complete
        self.is_complete = not message.get("more_body", False)
        if chunk := message.get("body", b""):
            self.chunks.append(chunk)
            self._on_chunk(chunk)
