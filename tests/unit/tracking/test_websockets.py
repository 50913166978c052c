"""WebSockets are counted, have ids, and are closed if the app does not do it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

import anyio
import pytest
from fastapi import FastAPI, HTTPException, WebSocket, WebSocketException
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.types import ASGIApp, Message
from starlette.websockets import WebSocketDisconnect

from metrics_page import scrape
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.tracking.request_tracker import REQUEST_TRACKER

STREAM: Final = "/invocations-bidirectional-stream"
CONNECT: Final = {"type": "websocket.connect"}
CLOSE: Final = "websocket.close"
Handler = Callable[[WebSocket], Any]


def client_with(handler: Handler) -> TestClient:
    sagemaker.stream(handler)
    return TestClient(sagemaker.bootstrap(FastAPI()))


def counted(client: TestClient, status: int, route: str = STREAM) -> float:
    labels = {"route": route, "method": "WEBSOCKET", "status": str(status)}
    return scrape(client).value("sagemaker_requests_total", **labels)


async def echo(websocket: WebSocket) -> None:
    await websocket.accept(headers=[(b"x-request-id", b"app's own"), (b"x-a", b"b")])
    async for text in websocket.iter_text():
        await websocket.send_text(text)


# --- counting ------------------------------------------------------------------------


def test_connection_is_counted_while_open_and_at_its_end() -> None:
    client = client_with(echo)
    before = counted(client, 101)
    with client.websocket_connect(STREAM) as websocket:
        websocket.send_text("x")
        websocket.receive_text()
        # The request for the page is the other one.
        assert scrape(client).value("sagemaker_requests_in_flight") == 2
        assert counted(client, 101) == before
    assert counted(client, 101) == before + 1
    assert scrape(client).value("sagemaker_requests_in_flight") == 1
    page = scrape(client)
    assert page.value("sagemaker_request_duration_seconds_count", route=STREAM) > 0


def test_silent_connection_does_not_make_the_engine_hung() -> None:
    silences: list[float] = []

    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        silences.append(websocket.scope[REQUEST_TRACKER].silence())

    with client_with(stream).websocket_connect(STREAM) as websocket:
        websocket.send_text("x")
    assert silences == [0.0]


async def refuse_by_exception(websocket: WebSocket) -> None:
    raise HTTPException(429, "One at a time.", {"Retry-After": "2"})


async def refuse_by_closing(websocket: WebSocket) -> None:
    await websocket.close()


@pytest.mark.parametrize(
    ("handler", "status"), [(refuse_by_exception, 429), (refuse_by_closing, 403)]
)
def test_refused_handshake_is_counted_by_its_status(
    handler: Handler, status: int
) -> None:
    client = client_with(handler)
    before = counted(client, status)
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(STREAM):
        pass
    assert counted(client, status) == before + 1


def test_unknown_paths_are_counted_as_other() -> None:
    client = client_with(echo)
    before = counted(client, 403, "other")
    for path in ("/a", "/b"):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(path):
            pass
    assert counted(client, 403, "other") == before + 2


def test_handler_that_never_answers_is_counted_as_failed() -> None:
    async def nothing(websocket: WebSocket) -> None: ...

    client = client_with(nothing)
    before = counted(client, 500)
    assert run(client.app, [CONNECT]) == []
    assert counted(client, 500) == before + 1


def test_client_that_leaves_before_handshake_is_a_499() -> None:
    client = client_with(echo)
    before = counted(client, 499)
    gone = {"type": "websocket.disconnect", "code": 1006}

    async def stream(websocket: WebSocket) -> None:
        await websocket.receive()
        await websocket.receive()

    sagemaker.stream(stream)
    app = sagemaker.bootstrap(FastAPI())
    assert run(app, [CONNECT, gone]) == []
    assert counted(client, 499) == before + 1


def run(
    app: Any, messages: list[Message], sent: list[Message] | None = None
) -> list[Message]:
    """Serve a connection as a server without extensions does; return the answer."""
    sent = [] if sent is None else sent
    incoming = iter(messages)

    async def receive() -> Message:
        return next(incoming)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": STREAM,
        "headers": [],
        "query_string": b"",
        "subprotocols": [],
    }
    served: ASGIApp = app
    asyncio.run(served(scope, receive, send))  # type: ignore[arg-type]
    return sent


# --- ids -----------------------------------------------------------------------------


def test_connection_has_an_id() -> None:
    seen: list[str] = []

    async def stream(websocket: WebSocket) -> None:
        seen.append(websocket.headers["x-request-id"])
        await echo(websocket)

    client = client_with(stream)
    with client.websocket_connect(STREAM) as websocket:
        headers = dict(websocket.extra_headers or ())
    assert headers[b"x-request-id"].decode() == seen[0]
    assert headers[b"x-a"] == b"b"
    assert re.fullmatch("[0-9a-f]{32}", seen[0])


def test_clients_id_is_used_and_unique_for_handler() -> None:
    seen: list[str] = []

    async def stream(websocket: WebSocket) -> None:
        seen.append(websocket.headers["x-request-id"])
        await echo(websocket)

    client = client_with(stream)
    headers = {"X-Amzn-SageMaker-Inference-Id": "mine"}
    with (
        client.websocket_connect(STREAM, headers=headers) as one,
        client.websocket_connect(STREAM, headers=headers) as two,
    ):
        for websocket in (one, two):
            assert dict(websocket.extra_headers or ())[b"x-request-id"] == b"mine"
    assert seen[0] == "mine"
    assert re.fullmatch("mine-[0-9a-f]{8}", seen[1])


def test_refusal_has_the_id() -> None:
    client = client_with(refuse_by_exception)
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(STREAM, headers={"X-Request-Id": "mine"}),
    ):
        pass
    assert refused.value.headers["X-Request-Id"] == "mine"
    assert refused.value.headers["Retry-After"] == "2"


# --- the end -------------------------------------------------------------------------


def test_handler_that_returns_closes_normally() -> None:
    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()

    *_, closed = run(client_with(stream).app, [CONNECT])
    assert closed == {"type": CLOSE, "code": 1000, "reason": ""}


def test_handler_may_close_by_a_code_of_its_own() -> None:
    async def by_call(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4001, "mine")

    async def by_exception(websocket: WebSocket) -> None:
        await websocket.accept()
        raise WebSocketException(4001, "mine")

    for handler in (by_call, by_exception):
        *_, closed = run(client_with(handler).app, [CONNECT])
        assert closed == {"type": CLOSE, "code": 4001, "reason": "mine"}


async def fail(websocket: WebSocket) -> None:
    await websocket.accept()
    raise KeyError(await websocket.receive_text())


async def fail_at_once(websocket: WebSocket) -> None:
    raise KeyError("secret")


@pytest.mark.parametrize(
    ("handler", "answers"),
    [(fail, ["websocket.accept", CLOSE]), (fail_at_once, [CLOSE])],
)
def test_failed_handler_closes_with_internal_error(
    handler: Handler, answers: list[str]
) -> None:
    client = client_with(handler)
    before = counted(client, 500)
    text = {"type": "websocket.receive", "text": "secret"}
    sent: list[Message] = []
    with pytest.raises(KeyError, match="secret"):  # The server logs it.
        run(client.app, [CONNECT, text], sent)
    assert [message["type"] for message in sent] == answers
    assert sent[-1]["code"] == 1011
    assert counted(client, 500) == before + 1


def test_server_without_extension_gets_a_close_code() -> None:
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    assert run(client.app, [CONNECT]) == [{"type": CLOSE, "code": 1008}]


async def one_task(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()


async def several_tasks(websocket: WebSocket) -> None:
    await websocket.accept()
    async with anyio.create_task_group() as group:
        group.start_soon(websocket.receive_text)
        group.start_soon(asyncio.sleep, 60)


@pytest.mark.parametrize("handler", [one_task, several_tasks])
def test_client_that_leaves_is_no_error(handler: Handler) -> None:
    client = client_with(handler)
    before = counted(client, 101)
    with client.websocket_connect(STREAM) as websocket:
        websocket.close()
    assert counted(client, 101) == before + 1
