"""The order of middleware in an app, and when it is installed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import model_hosting_container_standards.sagemaker as sagemaker
from customised import DECORATORS, KINDS, app_with, ping, send_back
from model_hosting_container_standards.exceptions import MiddlewareRegistrationError

PLACES = tuple(DECORATORS)
ORDER = [
    "throttle in",
    "engine's second in",
    "engine's first in",
    "pre_post_process in",
    "input",
    "handler",
    "output",
    "pre_post_process out",
    "engine's first out",
    "engine's second out",
    "throttle out",
]


def function_middleware(name: str, seen: list[str]) -> Any:
    async def middleware(request: Any, call_next: Any) -> Any:
        seen.append(f"{name} in")
        response = await call_next(request)
        seen.append(f"{name} out")
        return response

    return middleware


def class_middleware(name: str, seen: list[str]) -> Any:
    class Recorder:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def recording_send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    seen.append(f"{name} out")
                await send(message)

            if scope["type"] == "http":
                seen.append(f"{name} in")
            await self.app(scope, receive, recording_send)

    return Recorder


def formatter(name: str, seen: list[str]) -> Any:
    return lambda message: seen.append(name)


@pytest.mark.parametrize("make", [function_middleware, class_middleware])
def test_order_of_requests_and_responses(make: Any) -> None:
    seen: list[str] = []

    async def handler(request: Request) -> None:
        seen.append("handler")

    app = FastAPI()
    app.post("/invocations")(handler)
    app.middleware("http")(function_middleware("engine's first", seen))
    DECORATORS["output_formatter"](formatter("output", seen))
    DECORATORS["pre_post_process"](make("pre_post_process", seen))
    DECORATORS["throttle"](make("throttle", seen))
    DECORATORS["input_formatter"](formatter("input", seen))
    sagemaker.bootstrap(app)
    # Some engines call bootstrap before their app is complete.
    app.middleware("http")(function_middleware("engine's second", seen))
    TestClient(app).post("/invocations")
    assert seen == ORDER


@pytest.mark.parametrize("place", PLACES)
def test_second_bootstrap_changes_nothing(place: str) -> None:
    seen: list[str] = []
    function = formatter("seen", seen)
    if place in ("throttle", "pre_post_process"):
        function = function_middleware("seen", seen)
    app = app_with(**{place: function})
    assert TestClient(sagemaker.bootstrap(app)).get("/ping").status_code == 200
    assert len(set(seen)) == len(seen)
    assert seen


@pytest.mark.parametrize("kind", KINDS)
def test_bootstrap_does_not_build_middleware_stack(kind: str) -> None:
    app = app_with(**KINDS[kind])
    assert app.middleware_stack is None
    assert app.user_middleware == []
    app.add_middleware(KINDS["class"]["throttle"])
    assert TestClient(app).get("/ping").json() == "engine's ping"


@pytest.mark.parametrize("place", PLACES)
def test_middleware_cannot_be_added_after_first_request(place: str) -> None:
    app = FastAPI()
    app.get("/ping")(ping)
    assert TestClient(app).get("/ping").status_code == 200
    routes = list(app.router.routes)
    DECORATORS[place](
        formatter("seen", []) if "formatter" in place else function_middleware("", [])
    )
    with pytest.raises(MiddlewareRegistrationError, match="before the server starts"):
        sagemaker.bootstrap(app)
    assert app.router.routes == routes


def test_bootstrap_without_middleware_works_after_first_request() -> None:
    app = FastAPI()
    app.get("/ping")(ping)
    assert TestClient(app).post("/ping").status_code == 405
    assert TestClient(sagemaker.bootstrap(app)).post("/ping").status_code == 200


def test_each_app_has_its_own_middleware() -> None:
    seen: list[str] = []
    DECORATORS["throttle"](function_middleware("throttle", seen))
    DECORATORS["output_formatter"](formatter("output", seen))
    clients = [TestClient(app_with()) for _ in range(2)]
    for client in clients:
        assert client.post("/invocations", content=b"a").content == b"a"
    assert seen == ["throttle in", "output", "throttle out"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_websockets_and_lifespan_pass_through(kind: str) -> None:
    seen: list[str] = []
    app = app_with(**KINDS[kind])

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        seen.append("begin")
        yield
        seen.append("end")

    app.router.lifespan_context = lifespan

    @app.websocket("/words")
    async def words(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    with (
        TestClient(app) as client,
        client.websocket_connect("/words") as websocket,
    ):
        websocket.send_text("a word")
        assert websocket.receive_text() == "a word"
        assert seen == ["begin"]
    assert seen == ["begin", "end"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ping", 200),
        ("POST", "/ping", 200),
        ("HEAD", "/ping", 200),
        ("POST", "/invocations", 200),
        ("GET", "/invocations", 405),
        ("GET", "/adapters", 404),
        ("DELETE", "/adapters/a/b", 404),
        ("GET", "/openapi.json", 200),
        ("POST", "/unknown", 404),
    ],
)
def test_middleware_sees_every_request(
    place: str, method: str, path: str, status: int
) -> None:
    seen: list[str] = []
    function = formatter("seen", seen)
    if place in ("throttle", "pre_post_process"):
        function = function_middleware("seen", seen)
    client = TestClient(app_with(send_back, **{place: function}))
    assert client.request(method, path).status_code == status
    assert seen
