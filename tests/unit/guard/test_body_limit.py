"""Bodies over the limit are rejected before they are read completely."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from fastapi import Request, WebSocket
from fastapi.responses import Response
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from customised import app_with
from metrics_page import scrape
from model_hosting_container_standards.guard.request_guard import RequestGuard
from servers import HOST, Server

LIMIT: Final = 10
REQUEST: Final = {"type": "http.request", "more_body": True}


@pytest.fixture(autouse=True)
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_MAX_BODY_BYTES", str(LIMIT))


def in_chunks(body: bytes) -> Iterator[bytes]:
    """Return a body without Content-Length."""
    for start in range(0, len(body), 3):
        yield body[start : start + 3]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, LIMIT, LIMIT + 1, 100 * LIMIT])
def test_body_of_exactly_the_limit_is_accepted(size: int, chunked: bool) -> None:
    client = TestClient(app_with())
    body = b"x" * size
    answer = client.post("/invocations", content=in_chunks(body) if chunked else body)
    if size <= LIMIT:
        assert (answer.status_code, answer.content) == (200, body)
    else:
        assert answer.status_code == 413
        detail = answer.json()["detail"]
        assert "more than 10 bytes" in detail
        assert "MHCS_MAX_BODY_BYTES" in detail


class Exchange:
    """A request that arrives message by message, and the response messages."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": "/invocations",
            "root_path": "",
            "query_string": b"",
            "headers": [*headers],
        }
        self.received = 0
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        """Return another chunk; fail if far too many are read."""
        self.received += 1
        assert self.received < 100
        return {**REQUEST, "body": b"xxx"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def ask(self, app: Any) -> int:
        await asyncio.wait_for(app(self.scope, self.receive, self.send), 10)
        [start] = [m for m in self.sent if m["type"] == "http.response.start"]
        status: int = start["status"]
        return status


@pytest.mark.parametrize("length", [b"11", b"0" * 30 + b"11", b"9" * 5000])
async def test_nothing_is_read_if_content_length_is_too_large(
    length: bytes,
) -> None:
    exchange = Exchange((b"content-length", length))
    assert await exchange.ask(app_with()) == 413
    assert exchange.received == 0


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-length", b"nonsense")],
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
    ],
)
async def test_no_more_than_the_limit_is_read_of_chunked_body(
    headers: list[tuple[bytes, bytes]],
) -> None:
    exchange = Exchange(*headers)
    assert await exchange.ask(app_with()) == 413
    assert exchange.received == 4


async def test_client_gets_413_even_if_app_handles_the_error() -> None:
    seen: list[Any] = []

    async def catches(request: Request) -> Response:
        try:
            await request.body()
        except ClientDisconnect:
            seen.append(await request.is_disconnected())
        return Response(b"late")

    exchange = Exchange()
    assert await exchange.ask(app_with(catches)) == 413
    assert seen == [True]
    assert not [m for m in exchange.sent if b"late" in m.get("body", b"")]


async def test_other_errors_of_app_are_raised() -> None:
    async def fails(request: Request) -> None:
        with contextlib.suppress(ClientDisconnect):
            await request.body()
        raise RuntimeError("broken")

    exchange = Exchange()
    with pytest.raises(RuntimeError, match="broken"):
        await exchange.ask(app_with(fails))
    assert exchange.sent[0]["status"] == 413


async def test_early_disconnect_sends_no_response() -> None:
    async def disconnect() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        await Request(scope, receive).body()

    exchange = Exchange()
    with pytest.raises(ClientDisconnect):
        await RequestGuard(reads, (), LIMIT)(exchange.scope, disconnect, exchange.send)
    assert exchange.sent == []


async def test_started_response_is_not_replaced() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (message := await receive())["type"] == "http.request":
            await send({"type": "http.response.body", **message})
        await send({"type": "http.response.body", "body": b""})

    exchange = Exchange()
    assert await exchange.ask(RequestGuard(echo, (), LIMIT)) == 200
    assert [m.get("body") for m in exchange.sent[1:]] == [b"xxx"] * 3 + [b""]


def test_websockets_have_no_limit() -> None:
    app = app_with()

    @app.websocket("/words")
    async def words(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    with TestClient(app) as client, client.websocket_connect("/words") as websocket:
        websocket.send_text("x" * (LIMIT + 1))
        assert websocket.receive_text() == "x" * (LIMIT + 1)


def test_rejection_is_counted_and_has_request_id() -> None:
    client = TestClient(app_with())
    labels = {"route": "/invocations", "status": "413"}
    before = scrape(client).value("sagemaker_requests_total", **labels)
    headers = {"X-Request-Id": "client"}
    answer = client.post("/invocations", content=b"x" * 11, headers=headers)
    assert (answer.status_code, answer.headers["X-Request-Id"]) == (413, "client")
    assert scrape(client).value("sagemaker_requests_total", **labels) == before + 1


# --- a real server --------------------------------------------------------------------

APP: Final = """
    from fastapi import FastAPI, Request
    from model_hosting_container_standards import sagemaker

    app = FastAPI()

    @app.get("/health")
    async def health():
        return "up"

    @sagemaker.register_invocation_handler
    async def invocations(request: Request):
        return len(await request.body())

    sagemaker.bootstrap(app)
    """


@pytest.fixture(params=["h11", "httptools"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if request.param == "httptools":
        pytest.importorskip("httptools")
    (tmp_path / "served.py").write_text(textwrap.dedent(APP))
    uvicorn = [sys.executable, "-m", "uvicorn", "served:app", "--log-level=warning"]
    limit = {"MHCS_MAX_BODY_BYTES": "1000000"}
    with Server([*uvicorn, f"--http={request.param}"], limit, cwd=tmp_path) as server:
        yield server


@pytest.mark.parametrize("chunked", [False, True])
def test_server_accepts_allowed_and_rejects_larger_bodies(
    server: Server, chunked: bool
) -> None:
    for size, status in ((1_000_000, 200), (3_000_000, 413), (10, 200)):
        body = b"x" * size
        content = iter([body[: size // 2], body[size // 2 :]]) if chunked else body
        with contextlib.suppress(httpx.WriteError):
            answer = server.client.post("/invocations", content=content)
            assert answer.status_code == status


def test_response_arrives_before_body_is_sent(server: Server) -> None:
    """An endless body without Content-Length."""
    with socket.create_connection((HOST, server.port), timeout=30) as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: a\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(11):
            connection.sendall(b"%x\r\n%b\r\n" % (100_000, b"x" * 100_000))
        assert b" 413 " in connection.recv(1000).splitlines()[0]
