"""Pure ASGI classes as middleware."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.responses import Response, StreamingResponse
from fastapi.testclient import TestClient
from starlette.datastructures import MutableHeaders
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from customised import DECORATORS, Exchange, PassOn, app_with, client_with
from fixtures import Script

MIDDLEWARE: Final = ("throttle", "pre_post_process")


class AddHeader:
    """Add a header; ``option`` is set by a partial."""

    def __init__(self, app: ASGIApp, *, option: str = "it") -> None:
        self.app = app
        self.option = option
        self.count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.count += 1

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-by"] = f"{self.option} {self.count}"
            await send(message)

        await self.app(scope, receive, send_with_header)


class StarletteAddHeader(BaseHTTPMiddleware):
    def __init__(self, app: ASGIApp, option: str = "it") -> None:
        super().__init__(app)
        self.option = option
        self.count = 0

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        self.count += 1
        assert await request.body() == b"body"
        response = await call_next(request)
        response.headers["x-by"] = f"{self.option} {self.count}"
        return response


@pytest.mark.parametrize("cls", [AddHeader, StarletteAddHeader])
@pytest.mark.parametrize("place", MIDDLEWARE)
def test_class_is_instantiated_once_with_app(place: str, cls: Any) -> None:
    client = client_with(**{place: cls})
    for count in (1, 2, 3):
        answer = client.post("/invocations", content=b"body")
        assert (answer.content, answer.headers["x-by"]) == (b"body", f"it {count}")


@pytest.mark.parametrize("cls", [AddHeader, StarletteAddHeader])
@pytest.mark.parametrize("place", MIDDLEWARE)
def test_partial_passes_options(place: str, cls: Any) -> None:
    client = client_with(**{place: functools.partial(cls, option="custom")})
    answer = client.post("/invocations", content=b"body")
    assert answer.headers["x-by"] == "custom 1"


def test_same_class_can_be_in_both_places() -> None:
    seen: list[str] = []

    class Recorder(PassOn):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["type"])
            await super().__call__(scope, receive, send)

    client = client_with(throttle=Recorder, pre_post_process=Recorder)
    assert client.get("/ping").status_code == 200
    assert seen == ["http", "http"]


@pytest.mark.parametrize("place", MIDDLEWARE)
def test_library_classes_work(place: str) -> None:
    gzip = functools.partial(GZipMiddleware, minimum_size=10)
    client = client_with(**{place: gzip})
    answer = client.post("/invocations", content=b"a" * 100)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == b"a" * 100


def test_library_class_can_be_named_by_variable(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(
        "import functools\n"
        "from starlette.middleware.cors import CORSMiddleware\n"
        "cors = functools.partial(CORSMiddleware, allow_origins=['*'])\n"
    )
    monkeypatch.setenv("CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE", "model.py:cors")
    answer = client_with().get("/ping", headers={"origin": "https://example.com"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert CORSMiddleware.__name__ == "CORSMiddleware"


@pytest.mark.parametrize("place", MIDDLEWARE)
def test_middleware_can_respond_without_calling_app(place: str) -> None:
    class Reject(PassOn):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await Response("closed", 503)(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)

    with TestClient(app_with(**{place: Reject})) as client:
        answer = client.get("/ping")
    assert (answer.status_code, answer.text) == (503, "closed")


@pytest.mark.parametrize("place", MIDDLEWARE)
def test_class_sees_websockets_and_lifespan(place: str) -> None:
    seen: list[str] = []

    class Recorder(PassOn):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["type"])
            await super().__call__(scope, receive, send)

    app = app_with(**{place: Recorder})

    @app.websocket("/words")
    async def words(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    with TestClient(app) as client, client.websocket_connect("/words"):
        pass
    assert seen == ["lifespan", "websocket"]


@pytest.mark.parametrize("place", MIDDLEWARE)
async def test_error_after_response_start_reaches_server(place: str) -> None:
    class FailOnChunk(PassOn):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def send_or_fail(message: Message) -> None:
                if message.get("body") == b"two":
                    raise RuntimeError("broken")
                await send(message)

            await self.app(scope, receive, send_or_fail)

    async def handler() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"

        return StreamingResponse(chunks())

    exchange = Exchange(app_with(handler, **{place: FailOnChunk}))
    with pytest.raises(RuntimeError, match="broken"):
        await exchange.run()
    assert (exchange.chunks, exchange.is_complete) == ([b"one"], False)


def test_class_wraps_mounted_app() -> None:
    DECORATORS["throttle"](AddHeader)
    outer = FastAPI()
    outer.mount("/models/a", app_with())
    client = TestClient(outer)
    answer = client.post("/models/a/invocations", content=b"body")
    assert (answer.content, answer.headers["x-by"]) == (b"body", "it 1")
    assert "x-by" not in client.get("/unknown").headers
