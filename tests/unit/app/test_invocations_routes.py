from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel

import model_hosting_container_standards.engines.registry as engine_registry
import model_hosting_container_standards.sagemaker as sagemaker
from fixtures import Script
from invocations_app import (
    ADAPTER,
    ATTRIBUTES,
    SESSION,
    Completion,
    client_of,
    echo,
    of_vllm,
)
from mhcs.vllm.engine import VLLM
from session_client import begin


class Engine(VLLM):
    """An engine that owns the apps of these tests."""

    def owns(self, app: FastAPI) -> bool:
        return app.title == "engine"


@pytest.fixture
def engine_app(monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """Return an engine's app without the contract's routes."""
    engine: Engine = Engine()
    monkeypatch.setattr(engine_registry, "installed_engines", lambda: [engine])
    app, router = FastAPI(title="engine"), APIRouter()
    paths = ("/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/rerank")
    for path in paths:
        router.post(path)(parse_with_path)
    router.post("/v1/load_lora_adapter")(load)
    router.post("/sleep")(load)
    router.get("/health")(lambda: "healthy")
    app.include_router(router)
    return app


class Load(BaseModel):
    lora_name: str


@of_vllm
async def load(request: Load, raw_request: Request) -> None: ...


@of_vllm
async def parse_with_path(completion: Completion, request: Request) -> dict[str, Any]:
    return {"path": request.url.path, "body": await request.json()}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"messages": []}, "/v1/chat/completions"),
        ({"prompt": "p"}, "/v1/completions"),
        ({"input": "i"}, "/v1/embeddings"),
        ({"input": "i", "messages": []}, "/v1/chat/completions"),
    ],
)
def test_body_selects_route_without_invocations_route(
    engine_app: FastAPI, body: Any, path: str
) -> None:
    client = TestClient(sagemaker.bootstrap(engine_app))
    answer = client.post("/invocations", json=body)
    assert answer.json() == {"path": path, "body": body}
    assert client.get("/ping").json() == "healthy"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{}", "one of 'messages', 'prompt', 'input'"),
        (b"[1]", "one of 'messages', 'prompt', 'input'"),
        (b"{", "must be a JSON object"),
    ],
)
def test_body_that_fits_no_route_is_a_400(
    engine_app: FastAPI, body: bytes, sentence: str
) -> None:
    client = TestClient(sagemaker.bootstrap(engine_app))
    answer = client.post("/invocations", content=body)
    assert answer.status_code == 400
    assert sentence in answer.json()["detail"]


def test_engine_decides_where_adapter_id_is_written(engine_app: FastAPI) -> None:
    client = TestClient(sagemaker.bootstrap(engine_app))
    answer = client.post("/invocations", json={"prompt": ""}, headers={ADAPTER: "mine"})
    assert answer.json()["body"] == {"prompt": "", "model": "mine"}


@pytest.mark.parametrize(
    "attributes",
    [
        "route=/v1/embeddings",
        "trace=7, route=/v1/embeddings",
        "a=b;route = /v1/embeddings ;c",
        "route=/v1/embeddings,route=/v1/embeddings",
        "route=/v1/embeddings x",
    ],
)
def test_route_attribute_selects_route(engine_app: FastAPI, attributes: str) -> None:
    client = TestClient(sagemaker.bootstrap(engine_app))
    answer = client.post(
        "/invocations", json={"messages": []}, headers={ATTRIBUTES: attributes}
    )
    assert answer.json() == {"path": "/v1/embeddings", "body": {"messages": []}}


def test_session_id_is_written_for_decorated_inference_routes(
    engine_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own path, and where /invocations forwards the request to it."""
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")
    decorated = sagemaker.stateful_session_manager("session")(parse_with_path)
    engine_app.post("/classify")(decorated)
    client = TestClient(sagemaker.bootstrap(engine_app))
    headers = {SESSION: begin(client), ADAPTER: "mine"}
    written = {"model": "mine", "session": headers[SESSION]}
    answer = client.post("/classify", json={}, headers=headers)
    assert answer.json() == {"path": "/classify", "body": written}
    by_route = {**headers, ATTRIBUTES: "route=/classify"}
    answer = client.post("/invocations", json={}, headers=by_route)
    assert answer.json() == {"path": "/classify", "body": written}
    answer = client.post("/invocations", json={"prompt": ""}, headers=headers)
    assert answer.json()["body"] == {"prompt": "", "model": "mine"}


def test_route_outside_v1_can_be_selected(engine_app: FastAPI) -> None:
    client = TestClient(sagemaker.bootstrap(engine_app))
    answer = client.post(
        "/invocations", json={"query": "q"}, headers={ATTRIBUTES: "route=/rerank"}
    )
    assert answer.json() == {"path": "/rerank", "body": {"query": "q"}}


@pytest.mark.parametrize("attributes", ["trace=7", "my-route=/v1/x", "anything at all"])
def test_other_attributes_are_ignored(engine_app: FastAPI, attributes: str) -> None:
    client = TestClient(sagemaker.bootstrap(engine_app))
    answer = client.post(
        "/invocations", json={"messages": []}, headers={ATTRIBUTES: attributes}
    )
    assert answer.json()["path"] == "/v1/chat/completions"


@pytest.mark.parametrize(
    "route",
    [
        "/v1/load_lora_adapter",
        "/v1/responses",
        "/sleep",
        "/health",
        "/invocations",
        "v1/completions",
        "/v1/../health",
        "http://host/v1/completions",
        "/etc x=1",
        "",
        "/v1/completions, route=/v1/embeddings",
    ],
)
def test_disallowed_route_is_a_400_that_lists_allowed_routes(
    engine_app: FastAPI, route: str
) -> None:
    client = TestClient(sagemaker.bootstrap(engine_app))
    answer = client.post(
        "/invocations", json={"messages": []}, headers={ATTRIBUTES: f"route={route}"}
    )
    assert answer.status_code == 400
    assert "/rerank, /v1/chat/completions, /v1/completions" in answer.json()["detail"]


def test_server_without_inference_routes_is_reported() -> None:
    answer = client_of(echo).post("/invocations", headers={ATTRIBUTES: "route=/v1/x"})
    assert answer.status_code == 400
    assert "as the server has no other inference route" in answer.json()["detail"]


def test_customers_handler_gets_attribute_unchanged(
    engine_app: FastAPI, script: Script
) -> None:
    script(f"def invoke(request): return request.headers['{ATTRIBUTES}']")
    client = TestClient(sagemaker.bootstrap(engine_app))
    answer = client.post("/invocations", headers={ATTRIBUTES: "route=/v1/embeddings"})
    assert answer.json() == "route=/v1/embeddings"


@pytest.mark.parametrize("by_body", [True, False])
async def test_early_disconnect_sends_no_response(
    engine_app: FastAPI, by_body: bool
) -> None:
    app = engine_app if by_body else sagemaker.bootstrap(engine_app)
    sagemaker.bootstrap(app)
    sent: list[Any] = []
    headers = [] if by_body else [(ADAPTER.lower().encode(), b"mine")]

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope_of(headers), receive, send)
    assert sent == []


async def test_handler_sees_disconnect() -> None:
    seen = []

    async def wait_for_disconnect(request: Request) -> None:
        await request.json()
        seen.append((await request.receive())["type"])

    sagemaker.invoke(wait_for_disconnect)
    app = sagemaker.bootstrap(FastAPI())
    messages = iter(
        [{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}]
    )

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None: ...

    await app(scope_of([]), receive, send)
    assert seen == ["http.disconnect"]


def scope_of(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/invocations",
        "raw_path": b"/invocations",
        "query_string": b"",
        "headers": headers,
    }
