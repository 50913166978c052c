from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from fastapi.testclient import TestClient

import model_hosting_container_standards.sagemaker as sagemaker
from invocations_app import (
    NOT_ENABLED,
    SESSION,
    client_of,
    echo,
)

BODIES = {
    "json": (b'{ "model" : null,\n "b":1.0 }', "application/json"),
    "broken json": (b'{"a": ', "application/json"),
    "audio": (bytes(range(256)) * 64, "audio/wav"),
    "gzip": (b"\x1f\x8b\x08\x00", "application/json"),
    "nothing": (b"", "text/plain"),
    "no type": (b"raw", None),
    "five megabytes": (b"x" * 5_000_000, "application/octet-stream"),
    "a control word": (b'{"prompt": "say \\"requestType\\""}', "application/json"),
    "another protocol": (b'{"requestType": "EMBED"}', "application/json"),
    "a list as the type": (b'{"requestType": []}', "application/json"),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("by_customer", [True, False])
def test_any_body_of_any_type_reaches_handler(name: str, by_customer: bool) -> None:
    raw, content_type = BODIES[name]
    if by_customer:
        sagemaker.invoke(echo)
        client = TestClient(sagemaker.bootstrap(FastAPI()))
    else:
        client = client_of(echo, sagemaker.inject_adapter_id("model"))
    headers = {"content-type": content_type} if content_type else {}
    answer = client.post("/invocations", content=raw, headers=headers).json()
    assert answer == {
        "raw": raw.decode("latin-1"),
        "type": content_type,
        "length": str(len(raw)),
    }


def test_chunked_body_reaches_handler() -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"chunk of a body that is longer than a peek" * 3

    answer = client_of(echo).post("/invocations", content=chunks())
    assert answer.json()["raw"].encode() == b"".join(chunks())


@pytest.mark.parametrize(
    "body",
    [
        b'{"requestType": "NEW_SESSION"}',
        b'{"requestType":"CLOSE"}',
        b'{"requestType": "NEW_SESSION", "other": 1}',
    ],
)
@pytest.mark.parametrize("decorated", [True, False])
def test_control_request_is_rejected(body: bytes, decorated: bool) -> None:
    decorators = [sagemaker.stateful_session_manager()] if decorated else []
    answer = client_of(echo, *decorators).post("/invocations", content=body)
    assert (answer.status_code, answer.json()["detail"]) == (400, NOT_ENABLED)


def test_request_in_a_session_is_rejected() -> None:
    client = client_of(echo, sagemaker.stateful_session_manager("session_id"))
    answer = client.post("/invocations", json={}, headers={SESSION: "abc"})
    assert (answer.status_code, answer.json()["detail"]) == (400, NOT_ENABLED)


def test_chunked_control_request_is_rejected() -> None:
    chunks = iter([b'{"requestType"', b': "NEW_SESSION"}'])
    assert client_of(echo).post("/invocations", content=chunks).status_code == 400


def test_session_id_requires_field() -> None:
    with pytest.raises(ValueError, match="^The path of the session's id is empty"):
        sagemaker.stateful_session_manager("")


def test_errors_have_engines_format() -> None:
    app = FastAPI()
    app.post("/invocations")(echo)

    @app.exception_handler(HTTPException)
    async def format_http_error(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": {"message": error.detail}}, error.status_code)

    client = TestClient(sagemaker.bootstrap(app))
    answer = client.post("/invocations", content=b'{"requestType": "CLOSE"}')
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": {"message": NOT_ENABLED}},
    )


@pytest.mark.parametrize("length", [b"1000000", b"nonsense", None])
async def test_handler_without_body_does_not_wait_for_it(
    length: bytes | None,
) -> None:
    sagemaker.invoke(lambda: "at once")
    app = sagemaker.bootstrap(FastAPI())
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the handler read the body")

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if length is None else [(b"content-length", length)]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/invocations",
        "raw_path": b"/invocations",
        "query_string": b"",
        "headers": headers,
    }
    await app(scope, receive, send)
    assert sent[1]["body"] == b'"at once"'
