from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from fastapi.testclient import TestClient
from pydantic import BaseModel

import model_hosting_container_standards.sagemaker as sagemaker

ADAPTER = "X-Amzn-SageMaker-Adapter-Identifier"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
SESSION = "X-Amzn-SageMaker-Session-Id"
NOT_ENABLED = "Invalid payload. stateful sessions not enabled"


class Completion(BaseModel):
    model: str | None = None
    prompt: str = ""


async def echo(raw_request: Request) -> dict[str, Any]:
    """Tell what of a request reaches a handler."""
    raw = await raw_request.body()
    return {
        "raw": raw.decode("latin-1"),
        "type": raw_request.headers.get("content-type"),
        "length": raw_request.headers.get("content-length"),
    }


async def parse(raw_request: Request) -> Any:
    return await raw_request.json()


async def take_model(completion: Completion, raw_request: Request) -> dict[str, Any]:
    return {"field": completion.model, "json": await raw_request.json()}


def client_of(
    handler: Callable[..., Any], *decorators: Callable[..., Any]
) -> TestClient:
    """Return a client of an engine's app whose /invocations is decorated."""
    app, router = FastAPI(), APIRouter()
    for decorator in decorators:
        handler = decorator(handler)
    router.post("/invocations")(sagemaker.register_invocation_handler(handler))
    app.include_router(router)
    return TestClient(sagemaker.bootstrap(app))


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
    "a list for a type": (b'{"requestType": []}', "application/json"),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("as_customer", [True, False])
def test_any_body_of_any_type_reaches_the_handler(name: str, as_customer: bool) -> None:
    raw, content_type = BODIES[name]
    if as_customer:
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


def test_a_body_in_pieces_reaches_the_handler() -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"piece of a body that is longer than a peek" * 3

    answer = client_of(echo).post("/invocations", content=pieces())
    assert answer.json()["raw"].encode() == b"".join(pieces())


@pytest.mark.parametrize(
    "body",
    [
        b'{"requestType": "NEW_SESSION"}',
        b'{"requestType":"CLOSE"}',
        b'{"requestType": "NEW_SESSION", "other": 1}',
    ],
)
@pytest.mark.parametrize("decorated", [True, False])
def test_a_control_request_is_refused(body: bytes, decorated: bool) -> None:
    decorators = [sagemaker.stateful_session_manager()] if decorated else []
    answer = client_of(echo, *decorators).post("/invocations", content=body)
    assert (answer.status_code, answer.json()["detail"]) == (400, NOT_ENABLED)


def test_a_request_of_a_session_is_refused() -> None:
    client = client_of(echo, sagemaker.stateful_session_manager("session_id"))
    answer = client.post("/invocations", json={}, headers={SESSION: "abc"})
    assert (answer.status_code, answer.json()["detail"]) == (400, NOT_ENABLED)


def test_a_control_request_in_pieces_is_refused() -> None:
    pieces = iter([b'{"requestType"', b': "NEW_SESSION"}'])
    assert client_of(echo).post("/invocations", content=pieces).status_code == 400


def test_a_session_id_needs_a_field() -> None:
    with pytest.raises(ValueError, match="names no body field"):
        sagemaker.stateful_session_manager("")


def test_our_errors_have_the_form_of_the_engines() -> None:
    app = FastAPI()
    app.post("/invocations")(echo)

    @app.exception_handler(HTTPException)
    async def in_the_engines_form(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": {"message": error.detail}}, error.status_code)

    client = TestClient(sagemaker.bootstrap(app))
    answer = client.post("/invocations", content=b'{"requestType": "CLOSE"}')
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": {"message": NOT_ENABLED}},
    )


@pytest.mark.parametrize("length", [b"1000000", b"nonsense", None])
async def test_a_handler_that_needs_no_body_does_not_wait_for_it(
    length: bytes | None,
) -> None:
    sagemaker.invoke(lambda: "at once")
    app = sagemaker.bootstrap(FastAPI())
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("somebody asked for the body")

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
