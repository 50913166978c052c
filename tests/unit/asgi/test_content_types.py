"""JSON objects sent with another content type are passed on as JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel, model_validator

import model_hosting_container_standards.engines.registry as engine_registry
from invocations_app import ADAPTER, ATTRIBUTES, echo, take_model
from mhcs.vllm.engine import VLLM
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.asgi.body import as_json
from model_hosting_container_standards.asgi.routing import request_scope

BODY: Final = b'{"prompt": "hello", "model": "m"}'
#: Content types that clients send; None stands for no header.
OTHER_TYPES: Final = (
    None,
    "text/plain",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "application/jsonlines",
    "json",
    "",
)
ROUTE: Final = (ATTRIBUTES.lower().encode(), b"route=/v1/completions")
JSON_TYPES: Final = (
    "application/json",
    "Application/JSON; charset=utf-8",
    "application/vnd.some+json",
)


class Completion(BaseModel):
    """Like engines' models, with a validator that runs before parsing."""

    prompt: str
    model: str

    @model_validator(mode="before")
    @classmethod
    def check(cls, data: Any) -> Any:
        if data.get("suffix"):
            raise ValueError("suffix is not supported")
        return data


class Engine(VLLM):
    def owns(self, app: FastAPI) -> bool:
        return app.title == "engine"

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        return {"/v1/audio/transcriptions", "/v1/completions"}


async def complete(request: Completion, raw_request: Request) -> dict[str, Any]:
    content_type = raw_request.headers.getlist("content-type")
    return {"model": request.model, "type": content_type}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """Return a client of an engine without the contract's routes."""
    engine: Engine = Engine()
    monkeypatch.setattr(engine_registry, "installed_engines", lambda: [engine])
    app = FastAPI(title="engine")
    app.post("/v1/completions")(complete)
    app.post("/v1/audio/transcriptions")(echo)
    return TestClient(sagemaker.bootstrap(app), raise_server_exceptions=False)


def headers_of(content_type: str | None, **others: str) -> dict[str, str]:
    known = {} if content_type is None else {"Content-Type": content_type}
    return {**known, **others}


@pytest.mark.parametrize(
    ("headers", "model"),
    [
        ({}, "m"),
        ({ADAPTER: "cats"}, "cats"),
        ({ATTRIBUTES: "route=/v1/completions"}, "m"),
        ({ATTRIBUTES: "route=/v1/completions", ADAPTER: "cats"}, "cats"),
    ],
    ids=["by its body", "to an adapter", "by its route", "by its route to an adapter"],
)
@pytest.mark.parametrize("content_type", OTHER_TYPES)
def test_engine_gets_json_content_type(
    client: TestClient, content_type: str | None, headers: dict[str, str], model: str
) -> None:
    sent = headers_of(content_type, **headers)
    answer = client.post("/invocations", content=BODY, headers=sent)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"model": model, "type": ["application/json"]}


@pytest.mark.parametrize("content_type", OTHER_TYPES)
def test_path_handler_gets_json_content_type(
    monkeypatch: pytest.MonkeyPatch, content_type: str | None
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "/v1/completions")
    app = FastAPI()
    app.post("/v1/completions")(complete)
    client = TestClient(sagemaker.bootstrap(app), raise_server_exceptions=False)
    answer = client.post("/invocations", content=BODY, headers=headers_of(content_type))
    assert answer.json() == {"model": "m", "type": ["application/json"]}


def test_servers_own_route_decides_on_content_types() -> None:
    app = FastAPI()
    app.post("/invocations")(echo)
    client = TestClient(sagemaker.bootstrap(app))
    sent = headers_of("text/plain")
    answer = client.post("/invocations", content=BODY, headers=sent)
    assert answer.json()["type"] == "text/plain"


@pytest.mark.parametrize("adapter", [{}, {ADAPTER: "cats"}], ids=str)
@pytest.mark.parametrize("content_type", JSON_TYPES)
def test_declared_json_is_unchanged(
    client: TestClient, content_type: str, adapter: dict[str, str]
) -> None:
    sent = headers_of(content_type, **adapter)
    answer = client.post("/invocations", content=BODY, headers=sent)
    assert answer.json()["type"] == [content_type]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=x", BODY),
        ("application/x-www-form-urlencoded", b"model=m"),
        ("text/plain", b"[1]"),
        ("text/plain", b""),
    ],
)
def test_selected_route_gets_other_bodies_unchanged(
    client: TestClient, content_type: str, body: bytes
) -> None:
    sent = headers_of(content_type, **{ATTRIBUTES: "route=/v1/audio/transcriptions"})
    answer = client.post("/invocations", content=body, headers=sent).json()
    assert (answer["type"], answer["raw"]) == (content_type, body.decode())


@pytest.mark.parametrize("content_type", [None, "text/plain"])
@pytest.mark.parametrize("body", [b"hello", b"[1]", b"\xff", b""])
def test_body_that_is_not_an_object_is_a_400(
    client: TestClient, content_type: str | None, body: bytes
) -> None:
    sent = headers_of(content_type)
    answer = client.post("/invocations", content=body, headers=sent)
    assert answer.status_code == 400


def test_first_of_two_content_types_is_used() -> None:
    others = [(b"content-type", b"text/plain"), (b"content-type", b"application/json")]
    scope = {"headers": [*others, (b"accept", b"*/*")]}
    assert as_json(scope)["headers"] == [
        (b"accept", b"*/*"),
        (b"content-type", b"application/json"),
    ]
    assert scope["headers"][:2] == others


# --- customers' handlers -----------------------------------------------------------


def client_of(handler: Callable[..., Any]) -> TestClient:
    sagemaker.invoke(handler)
    app = sagemaker.bootstrap(FastAPI())
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("content_type", OTHER_TYPES)
@pytest.mark.parametrize("adapter", [{}, {ADAPTER: "cats"}], ids=str)
def test_handler_with_model_gets_it(
    content_type: str | None, adapter: dict[str, str]
) -> None:
    client = client_of(sagemaker.inject_adapter_id("model")(complete))
    sent = headers_of(content_type, **adapter)
    answer = client.post("/invocations", content=BODY, headers=sent)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == ("cats" if adapter else "m")


def test_handler_with_model_reports_errors_of_other_bodies() -> None:
    client = client_of(take_model)
    sent = headers_of("text/plain")
    for body in (b"[1]", b"hello", b""):
        answer = client.post("/invocations", content=body, headers=sent)
        assert answer.status_code == 422


def test_handler_with_form_gets_it() -> None:
    pytest.importorskip("python_multipart")
    from fastapi import Form

    async def handler(prompt: str = Form()) -> dict[str, str]:
        return {"prompt": prompt}

    answer = client_of(handler).post("/invocations", data={"prompt": "{}"})
    assert answer.json() == {"prompt": "{}"}


@pytest.mark.parametrize("headers", [[], [ROUTE]], ids=["by body", "by route"])
async def test_disconnected_client_gets_no_response(
    client: TestClient, headers: list[tuple[bytes, bytes]]
) -> None:
    assert await send_disconnected(client.app, headers) == []


async def test_disconnect_before_body_calls_no_handler() -> None:
    [start, _] = await send_disconnected(client_of(take_model).app, [])
    assert start["status"] == 400


async def send_disconnected(
    app: Any, headers: list[tuple[bytes, bytes]]
) -> list[dict[str, Any]]:
    """Return the messages that are sent when the client disconnects early."""
    scope = {
        **request_scope("/invocations", "POST"),
        "headers": [(b"content-type", b"text/plain"), *headers],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent
