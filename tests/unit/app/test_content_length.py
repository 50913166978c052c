"""Every answer that is not a stream has a Content-Length."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from adapter_engine import AdapterEngine, app_of, write_adapter
from customised import DECORATORS, KINDS, app_with, client_with
from invocations_app import ADAPTER, ATTRIBUTES, SESSION
from mhcs.throttle import Throttle
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.contract.routes import BIDIRECTIONAL_STREAM

KEY: Final = {"Authorization": "Bearer s3cret"}
LINES: Final = {"content-type": "application/jsonlines"}

#: Method, path, status, and further arguments of each kind of answer of ours.
ANSWERS: Final[list[tuple[str, str, int, dict[str, Any]]]] = [
    ("GET", "/ping", 200, {}),
    ("HEAD", "/ping", 200, {}),
    ("POST", "/ping", 200, {}),
    ("DELETE", "/ping", 405, {}),
    ("GET", "/execution-parameters", 200, {}),
    ("GET", "/metrics", 200, {}),
    ("GET", "/metrics", 200, {"headers": {"accept-encoding": "gzip"}}),
    ("GET", "/nothing", 404, {}),
    ("POST", "/invocations", 200, {"json": {}}),
    ("POST", "/invocations", 200, {"content": b"{}\n{}\n", "headers": LINES}),
    ("POST", "/invocations", 200, {"content": b"", "headers": LINES}),
    ("POST", "/invocations", 200, {"json": {"requestType": "NEW_SESSION"}}),
    ("POST", "/invocations", 200, {"json": {}, "headers": {SESSION: "NEW_SESSION"}}),
    ("POST", "/invocations", 400, {"json": {}, "headers": {SESSION: "unknown"}}),
    ("POST", "/invocations", 424, {"json": {"requestType": "CLOSE"}}),
    ("POST", "/invocations", 404, {"json": {}, "headers": {ADAPTER: "unknown"}}),
    ("POST", "/invocations", 400, {"json": {}, "headers": {ATTRIBUTES: "route=/x"}}),
    ("POST", "/invocations", 413, {"content": b" " * 1001}),
    ("POST", "/invocations", 415, {"headers": {"content-encoding": "br"}}),
    ("POST", "/invocations", 401, {"headers": {"Authorization": ""}}),
    ("GET", "/adapters", 200, {}),
    ("GET", "/adapters/unknown", 404, {}),
    ("POST", "/adapters", 400, {"json": {"name": "x"}}),
    ("DELETE", "/adapters/unknown", 404, {}),
]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TestClient]:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "1")
    monkeypatch.setenv("MHCS_API_KEY", "s3cret")
    monkeypatch.setenv("MHCS_MAX_BODY_BYTES", "1000")
    app = FastAPI()

    @app.get("/health")
    async def health() -> None: ...

    engine = AdapterEngine(tmp_path / "engine")
    with TestClient(app_of(engine, monkeypatch, app), headers=KEY) as client:
        yield client


@pytest.mark.parametrize(("method", "path", "status", "arguments"), ANSWERS)
def test_own_answer(
    client: TestClient, method: str, path: str, status: int, arguments: dict[str, Any]
) -> None:
    answer = client.request(method, path, **arguments)
    assert answer.status_code == status, answer.text
    assert_complete(answer)


def assert_complete(answer: Any) -> None:
    content = answer.content
    if answer.headers.get("content-encoding") == "gzip":
        content = gzip.compress(content, mtime=0)  # TestClient has decompressed it.
    assert "transfer-encoding" not in answer.headers
    length = int(answer.headers["content-length"])
    assert length == len(content) or answer.request.method == "HEAD"


def test_calls_of_an_adapter(client: TestClient, tmp_path: Path) -> None:
    body = {"name": "fr", "src": write_adapter(tmp_path / "fr", "bonjour")}
    for answer in (
        client.post("/adapters", json=body),
        client.get("/adapters/fr"),
        client.post("/adapters/fr/update", json={"pin": True}),
        client.delete("/adapters/fr"),
    ):
        assert answer.status_code == 200, answer.text
        assert_complete(answer)


def test_answer_of_the_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_THROTTLE_MAX_PER_SECOND", "0.001")
    client = client_with(throttle=Throttle)
    statuses = []
    for _ in range(2):
        answer = client.post("/invocations")
        statuses.append(answer.status_code)
        assert_complete(answer)
    assert statuses == [200, 429]


@pytest.mark.parametrize("kind", KINDS)
def test_whole_answer_behind_middleware(kind: str) -> None:
    # An iterator that was assigned is a stream.
    streams = kind in (
        "function with an iterator",
        "output formatter with an iterator",
        "classes and formatters",
    )
    answer = client_with(**KINDS[kind]).post("/invocations", content=b"whole")
    assert answer.content == b"whole"
    assert ("content-length" in answer.headers) is not streams


def test_error_of_a_formatter() -> None:
    async def fail(message: Any) -> None:
        raise KeyError("broken")

    answer = client_with(output_formatter=fail).post("/invocations")
    assert answer.status_code == 500
    assert_complete(answer)


def test_error_of_a_handler() -> None:
    async def fail() -> None:
        raise KeyError("broken")

    answer = client_with(fail).post("/invocations")
    assert answer.status_code == 500
    assert_complete(answer)


def test_refusal_of_a_websocket() -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        TestClient(app_with()).websocket_connect(BIDIRECTIONAL_STREAM),
    ):
        pass
    content = refused.value.content
    assert int(refused.value.headers["content-length"]) == len(content)


async def answer_text() -> str:
    return "whole"


async def answer_dict(request: Request) -> dict[str, int]:
    return {"whole": 1}


async def answer_nothing() -> None: ...


@pytest.mark.parametrize("handler", [answer_text, answer_dict, answer_nothing])
def test_handler_that_does_not_stream(handler: Any) -> None:
    sagemaker.invoke(handler)
    assert_complete(TestClient(app_with()).post("/invocations"))


def test_handler_that_streams_has_none() -> None:
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["one", "two"]))

    sagemaker.invoke(stream)
    answer = TestClient(app_with()).post("/invocations")
    assert answer.text == "onetwo"
    assert "content-length" not in answer.headers


def test_stream_that_a_formatter_made_whole() -> None:
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["one", "two"]))

    async def collect(response: Any) -> None:
        if response.is_stream:
            response.body = b"".join([chunk async for chunk in response.body_iterator])

    DECORATORS["output_formatter"](collect)
    answer = TestClient(app_with(stream)).post("/invocations")
    assert answer.text == "onetwo"
    assert_complete(answer)
