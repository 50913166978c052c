"""Gzip bodies are decompressed on the contract's routes, up to a limit."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.types import Message

from adapter_engine import AdapterEngine, app_of, write_adapter
from customised import app_with, client_with, send_back
from invocations_app import ADAPTER, SESSION, client_of, echo, parse
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.guard import content_encoding
from session_client import NEW

GZIP: Final = {"content-encoding": "gzip", "content-type": "application/json"}
BODY: Final = b'{"prompt": "' + b"hello " * 1000 + b'"}'
PACKED: Final = gzip.compress(BODY)


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    return AdapterEngine(tmp_path / "engine")


def in_chunks(body: bytes, size: int = 7) -> Iterator[bytes]:
    """Return a body without Content-Length."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


def detail(answer: Any) -> str:
    text: str = answer.json()["detail"]
    return text


# --- decompressed ------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", " gzip "])
def test_gzip_body_reaches_handler_decompressed(chunked: bool, encoding: str) -> None:
    content = in_chunks(PACKED) if chunked else PACKED
    headers = {**GZIP, "content-encoding": encoding}
    answer = client_with().post("/invocations", content=content, headers=headers)
    assert answer.content == BODY
    assert answer.headers["x-content-encoding"] == "none"
    assert answer.headers["x-content-length"] == str(len(BODY))
    assert answer.headers["x-content-type"] == "application/json"


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(BODY[:1000]) + gzip.compress(BODY[1000:]),
        gzip.compress(b"") + gzip.compress(BODY) + gzip.compress(b""),
        gzip.compress(BODY[:9]) + b"\0" * 512 + gzip.compress(BODY[9:]) + b"\0",
        gzip.compress(BODY, 0),
    ],
    ids=["two members", "empty members", "padded members", "stored"],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_any_gzip_stream_is_decompressed(packed: bytes, size: int) -> None:
    content = in_chunks(packed, size)
    answer = client_with().post("/invocations", content=content, headers=GZIP)
    assert (answer.status_code, answer.content == BODY) == (200, True)


@pytest.mark.parametrize(
    "body", [b"", gzip.compress(b"")], ids=["nothing", "an empty member"]
)
def test_empty_body_stays_empty(body: bytes) -> None:
    answer = client_with().post("/invocations", content=body, headers=GZIP)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-content-length"] == "0"


def test_adapter_is_written_into_decompressed_body() -> None:
    client = client_of(parse, sagemaker.inject_adapter_id("model"))
    headers = {**GZIP, ADAPTER: "cats"}
    answer = client.post("/invocations", content=PACKED, headers=headers)
    assert answer.json() == {**json.loads(BODY), "model": "cats"}


def test_formatters_see_decompressed_body() -> None:
    async def read(request: Request) -> Any:
        return {**await request.json(), "seen": True}

    client = client_with(input_formatter=read)
    answer = client.post("/invocations", content=PACKED, headers=GZIP)
    assert answer.json() == {**json.loads(BODY), "seen": True}


def test_gzip_body_can_begin_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")
    content = in_chunks(gzip.compress(json.dumps(NEW).encode()))
    answer = client_of(echo).post("/invocations", content=content, headers=GZIP)
    assert SESSION in answer.headers


def test_gzip_body_can_register_an_adapter(
    engine: AdapterEngine, client: TestClient, tmp_path: Path
) -> None:
    body = {"name": "cats", "src": write_adapter(tmp_path / "cats", "cats")}
    content = gzip.compress(json.dumps(body).encode())
    answer = client.post("/adapters", content=content, headers=GZIP)
    assert answer.text == "Adapter cats registered"
    pin = gzip.compress(b'{"preload": false}')
    answer = client.post("/adapters/cats/update", content=pin, headers=GZIP)
    assert answer.text == "Adapter cats updated"


# --- unchanged ---------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["identity", "", "Identity"])
def test_body_without_encoding_is_unchanged(encoding: str) -> None:
    headers = {"content-encoding": encoding}
    answer = client_with().post("/invocations", content=PACKED, headers=headers)
    assert answer.content == PACKED
    assert answer.headers["x-content-length"] == str(len(PACKED))


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_other_routes_get_compressed_body(encoding: str) -> None:
    app = app_with()
    app.post("/v1/completions")(send_back)
    headers = {"content-encoding": encoding}
    answer = TestClient(app).post("/v1/completions", content=PACKED, headers=headers)
    assert answer.content == PACKED
    assert answer.headers["x-content-encoding"] == encoding


def test_customers_handler_gets_decompressed_body() -> None:
    sagemaker.invoke(parse)
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    answer = client.post("/invocations", content=PACKED, headers=GZIP)
    assert answer.json() == json.loads(BODY)


@pytest.mark.parametrize("encoding", ["br", "gzip, br"])
@pytest.mark.parametrize("path", ["/invocations", "/predict"])
def test_customers_handler_gets_other_encodings_unchanged(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, path: str, encoding: str
) -> None:
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/predict")
    sagemaker.invoke(send_back)
    headers = {"content-encoding": encoding}
    with TestClient(app_of(engine, monkeypatch)) as client:
        answer = client.post(path, content=PACKED, headers=headers)
        assert answer.content == PACKED
        assert answer.headers["x-content-encoding"] == encoding
        # Other routes are not the customer's.
        answer = client.post("/adapters", content=PACKED, headers=headers)
        assert answer.status_code == 415


def test_path_handler_is_not_a_customers_handler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "/v1/completions")
    app = FastAPI()
    app.post("/v1/completions")(send_back)
    client = TestClient(sagemaker.bootstrap(app))
    answer = client.post("/invocations", content=PACKED, headers=GZIP)
    assert answer.content == BODY


# --- rejected ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding",
    ["br", "BR", "zstd", "deflate", "compress", "gzip, br", "gzip, gzip", "x" * 500],
)
def test_other_encoding_is_a_415_that_names_it(encoding: str) -> None:
    headers = {"content-encoding": encoding}
    answer = client_with().post("/invocations", content=PACKED, headers=headers)
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip"
    shown = encoding.lower()[:64]
    assert detail(answer) == (
        f"Content-Encoding '{shown}' is not supported: send the body uncompressed, "
        "or as gzip."
    )


def test_several_encoding_headers_are_a_415() -> None:
    headers = [("content-encoding", "gzip"), ("content-encoding", "br")]
    answer = client_with().post("/invocations", content=PACKED, headers=headers)
    assert (answer.status_code, "'gzip, br'" in detail(answer)) == (415, True)


INVALID: Final[Mapping[str, bytes]] = {
    "not gzip": BODY,
    "zlib": zlib.compress(BODY),
    "trailing garbage": PACKED + b"garbage",
    "wrong check sum": PACKED[:-8] + b"\0" * 8,
    "corrupted": PACKED[:10] + b"\7" + PACKED[11:],
}
TRUNCATED: Final[Mapping[str, bytes]] = {
    "one byte missing": PACKED[:-1],
    "only the header": PACKED[:10],
    "only the first byte": PACKED[:1],
    "in the second member": PACKED + PACKED[:-9],
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", [*INVALID, *TRUNCATED])
def test_invalid_gzip_is_a_400(name: str, chunked: bool) -> None:
    packed = {**INVALID, **TRUNCATED}[name]
    content = in_chunks(packed) if chunked else packed
    client = client_with()
    answer = client.post("/invocations", content=content, headers=GZIP)
    assert answer.status_code == 400
    assert detail(answer) == (
        "The gzip body is incomplete."
        if name in TRUNCATED
        else "The body is not gzip, as Content-Encoding states."
    )
    assert client.post("/invocations", content=PACKED, headers=GZIP).content == BODY


def test_rejection_has_apps_error_format(
    engine: AdapterEngine, client: TestClient
) -> None:
    headers = {"content-encoding": "br"}
    answer = client.post("/adapters", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert "'br' is not supported" in answer.text


# --- limits ------------------------------------------------------------------------


@pytest.mark.parametrize("more", [0, 1])
def test_limit_applies_to_decompressed_size(
    monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    monkeypatch.setenv("MHCS_MAX_BODY_BYTES", "100000")
    packed = gzip.compress(b"x" * (100_000 + more))
    answer = client_with().post("/invocations", content=packed, headers=GZIP)
    assert answer.status_code == (413 if more else 200)
    if more:
        assert "body has more than 100000 bytes" in detail(answer)
        assert "MHCS_MAX_BODY_BYTES" in detail(answer)


@pytest.mark.parametrize("chunked", [False, True])
def test_limit_applies_to_compressed_size(
    monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    monkeypatch.setenv("MHCS_MAX_BODY_BYTES", "10")
    content = in_chunks(PACKED) if chunked else PACKED
    answer = client_with().post("/invocations", content=content, headers=GZIP)
    assert answer.status_code == 413


@pytest.mark.parametrize("members", [1, 10])
def test_decompressed_size_is_limited_by_default(members: int) -> None:
    size = content_encoding.DEFAULT_LIMIT // members + 1
    bomb = gzip.compress(bytes(size)) * members
    assert len(bomb) < 200_000
    answer = client_with().post("/invocations", content=bomb, headers=GZIP)
    assert answer.status_code == 413
    assert f"more than {100 << 20} bytes" in detail(answer)


class Exchange:
    """A request that arrives message by message, and the response messages."""

    def __init__(self, *messages: Message, headers: Mapping[bytes, bytes]) -> None:
        self.messages = [*messages]
        self.sent: list[Message] = []
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": "/invocations",
            "root_path": "",
            "query_string": b"",
            "headers": [*headers.items()],
        }

    async def receive(self) -> Message:
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return next((m["status"] for m in self.sent if "status" in m), None)


PACKED_HEADERS: Final = {b"content-encoding": b"gzip"}


async def test_decompression_does_not_block_event_loop() -> None:
    packed = gzip.compress(bytes(50 << 20))
    request = Exchange({"type": "http.request", "body": packed}, headers=PACKED_HEADERS)
    app = app_with(lambda: None)
    answering = asyncio.create_task(app(request.scope, request.receive, request.send))
    turns = 0
    while not answering.done():
        await asyncio.sleep(0)
        turns += 1
    await answering
    assert request.status == 200
    assert turns > 40


async def test_requests_without_key_are_not_decompressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MHCS_API_KEY", "secret")
    request = Exchange(headers=PACKED_HEADERS)
    await app_with()(request.scope, request.receive, request.send)
    assert request.status == 401


async def test_disconnected_client_gets_no_response() -> None:
    called: list[bool] = []
    request = Exchange(
        {"type": "http.request", "body": PACKED[:10], "more_body": True},
        {"type": "http.disconnect"},
        headers=PACKED_HEADERS,
    )
    app = app_with(lambda: called.append(True))
    await app(request.scope, request.receive, request.send)
    assert (request.sent, called) == ([], [])
