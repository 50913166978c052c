"""Apps that get their routes and are bootstrapped while they run."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.asgi.deferred_bootstrap import (
    defer_bootstrap,
    deferred_bootstrap_of,
)
from model_hosting_container_standards.asgi.lifespan import surround_lifespan
from model_hosting_container_standards.common.fastapi.middleware import (
    custom_middleware,
    input_formatter,
    output_formatter,
)
from model_hosting_container_standards.exceptions import ConfigurationError
from servers import polling

Log = list[str]


class EngineMiddleware:
    """The engine's own middleware."""

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.log.append("engine's")
        await self.app(scope, receive, send)


class LateApp:
    """An app that gets its routes on demand, while it runs."""

    def __init__(self) -> None:
        self.log: Log = []
        self.app = FastAPI(lifespan=self.lifespan)
        self.app.add_middleware(EngineMiddleware, log=self.log)
        defer_bootstrap(self.app)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        yield
        self.log.append("app stops")

    def open(self) -> None:
        """Add the routes, and bootstrap."""
        self.app.add_api_route("/health", lambda: "healthy")
        self.app.add_api_route("/invocations", self.answer, methods=["POST"])
        self.app.add_api_websocket_route("/socket", self.talk)
        sagemaker.bootstrap(self.app)

    async def answer(self, request: Request) -> Any:
        self.log.append("handler")
        return await request.json()

    async def talk(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    def add_step(self, name: str, wait: Callable[[], Awaitable[None]]) -> None:
        async def start() -> None:
            await wait()
            self.log.append(f"{name} starts")

        async def stop() -> None:
            self.log.append(f"{name} stops")

        surround_lifespan(self.app, start, stop)


@pytest.fixture
def late() -> LateApp:
    return LateApp()


@pytest.fixture
def client(late: LateApp) -> Iterator[TestClient]:
    with TestClient(late.app) as client:
        yield client


def run(client: TestClient, function: Callable[[], None]) -> None:
    """Call a function in the app's event loop."""

    async def call() -> None:
        function()

    assert client.portal is not None
    client.portal.call(call)


def wait_until_open(client: TestClient) -> None:
    for _ in polling(10, interval=0.01):
        if client.get("/health").status_code == 200:
            return
    raise AssertionError("The app never opened.")


def test_late_app_gets_contracts_routes(late: LateApp, client: TestClient) -> None:
    assert client.get("/ping").status_code == 404
    run(client, late.open)
    wait_until_open(client)
    assert client.get("/ping").status_code == 404  # The app has no health handler.
    answer = client.post("/invocations", json={"requestType": "NEW_SESSION"})
    assert "stateful sessions not enabled" in answer.text
    assert client.get("/metrics").status_code == 200
    assert "X-Request-Id" in answer.headers


def test_late_app_can_be_bootstrapped_in_another_thread(
    late: LateApp, client: TestClient
) -> None:
    late.open()  # The app runs in the client's portal thread.
    wait_until_open(client)
    assert client.post("/invocations", json=5).json() == 5


def test_middleware_order_of_late_app_is_unchanged(
    late: LateApp, client: TestClient
) -> None:
    log = late.log

    @custom_middleware("throttle")
    async def throttle(request: Request, call_next: Any) -> Any:
        if request.headers.get("x-too-much"):
            return JSONResponse("too much", 429)
        log.append("throttle")
        return await call_next(request)

    @input_formatter
    async def format_input(request: Request) -> Any:
        log.append("formatter")

    @output_formatter
    async def format_output(response: Any) -> None:
        response.headers["x-formatted"] = "yes"

    run(client, late.open)
    wait_until_open(client)
    log.clear()
    answer = client.post("/invocations", json={})
    assert answer.headers["x-formatted"] == "yes"
    assert log == ["throttle", "engine's", "formatter", "handler"]
    log.clear()
    headers = {"x-too-much": "1"}
    assert client.post("/invocations", json={}, headers=headers).status_code == 429
    assert log == []


def test_late_app_answers_only_after_startup_steps(
    late: LateApp, client: TestClient
) -> None:
    gate = threading.Event()

    async def wait() -> None:
        await run_in_threadpool(gate.wait)

    run(client, late.open)
    wait_until_open(client)
    run(client, lambda: late.add_step("slow", wait))
    for answer in (client.get("/health"), client.post("/invocations", json={})):
        assert answer.status_code == 503
        assert answer.json() == {"detail": "This server is starting."}
        assert answer.headers["retry-after"] == "1"
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/socket"):
        """The connection is rejected."""
    gate.set()
    wait_until_open(client)
    assert client.post("/invocations", json={}).json() == {}
    with client.websocket_connect("/socket"):
        """The connection is accepted."""


def test_failed_startup_step_ends_server(
    late: LateApp,
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    signals: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", signals.append)

    async def fail() -> None:
        raise ConfigurationError("SOME_PATH", "/nowhere", "There is no folder.")

    run(client, late.open)
    wait_until_open(client)
    run(client, lambda: late.add_step("bad", fail))
    for _ in polling(10, interval=0.01):
        if signals:
            break
    assert signals == [signal.SIGTERM]
    assert client.get("/health").status_code == 503
    assert "SOME_PATH='/nowhere' is not allowed" in caplog.text


def test_shutdown_during_startup_leaves_nothing_behind(
    late: LateApp,
) -> None:
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            late.log.append("cancelled")

    with TestClient(late.app) as client:
        run(client, late.open)
        wait_until_open(client)
        late.log.clear()
        run(client, lambda: late.add_step("endless", wait))
    assert late.log == ["cancelled", "app stops"]
    assert deferred_bootstrap_of(late.app) is None


def test_steps_stop_in_order_before_app(late: LateApp) -> None:
    with TestClient(late.app) as client:
        run(client, late.open)
        wait_until_open(client)
        late.log.clear()
        for name in ("first", "second"):
            run(client, lambda name=name: late.add_step(name, no_wait))  # type: ignore[misc]
        wait_until_open(client)
        late.log[:] = [entry for entry in late.log if entry != "engine's"]
    assert late.log == [
        *("first starts", "second starts"),
        *("second stops", "first stops", "app stops"),
    ]


async def test_step_is_not_started_during_shutdown(late: LateApp) -> None:
    lifespan = late.app.router.lifespan_context
    async with lifespan(late.app):
        late.add_step("late", no_wait)
    await asyncio.sleep(0.01)
    assert late.log == ["app stops"]
    # The app may be started again.
    async with lifespan(late.app):
        late.add_step("next", no_wait)
        await asyncio.sleep(0.01)
    assert late.log[1:] == ["next starts", "next stops", "app stops"]


async def no_wait() -> None:
    """Return immediately."""
