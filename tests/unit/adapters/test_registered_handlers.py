from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import (
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from fastapi.testclient import TestClient
from pydantic import BaseModel

import model_hosting_container_standards.sagemaker as sagemaker

ALIAS = "X-Amzn-SageMaker-Adapter-Alias"
LOAD_SHAPE = {"lora_name": "body.name", "lora_path": "body.src"}
UNLOAD_SHAPE = {"lora_name": "path_params.adapter_name"}


class LoadRequest(BaseModel):
    lora_name: str
    lora_path: str


class UnloadRequest(BaseModel):
    lora_name: str


class Engine:
    """An engine with load and unload routes of its own, like vLLM's."""

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}

    def app(self) -> FastAPI:
        app, router = FastAPI(), APIRouter()

        @sagemaker.register_load_adapter_handler(request_shape=LOAD_SHAPE)
        @router.post("/v1/load")
        async def load(request: LoadRequest, raw_request: Request) -> Response:
            if request.lora_name in self.adapters:
                return JSONResponse({"error": "already loaded"}, status_code=400)
            self.adapters[request.lora_name] = request.lora_path
            return PlainTextResponse("Success")

        @sagemaker.register_unload_adapter_handler(request_shape=UNLOAD_SHAPE)
        @router.post("/v1/unload")
        def unload(request: UnloadRequest, raw_request: Request) -> None:
            if request.lora_name not in self.adapters:
                raise HTTPException(404, "not loaded")
            del self.adapters[request.lora_name]

        app.include_router(router)
        return sagemaker.bootstrap(app)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(engine.app()) as client:
        yield client


@pytest.mark.parametrize("name", ["a", "org/name/1", "caf\u00e9 1"])
def test_adapter_is_loaded_and_unloaded_by_name(
    engine: Engine, client: TestClient, name: str
) -> None:
    answer = client.post("/adapters", json={"name": name, "src": "/there"})
    assert (answer.status_code, answer.text) == (200, f"Adapter {name} registered")
    assert engine.adapters == {name: "/there"}
    answer = client.delete(f"/adapters/{name}")
    assert (answer.status_code, answer.text) == (200, f"Adapter {name} unregistered")
    assert engine.adapters == {}


def test_query_parameters_are_used_without_body(
    engine: Engine, client: TestClient
) -> None:
    answer = client.post("/adapters", params={"name": "a", "src": "/there"})
    assert answer.text == "Adapter a registered"
    assert engine.adapters == {"a": "/there"}


def test_alias_is_used_in_message(client: TestClient) -> None:
    answer = client.post(
        "/adapters", json={"name": "a", "src": "/there"}, headers={ALIAS: "nice"}
    )
    assert answer.text == "Adapter nice registered"


def test_engines_errors_are_passed_through(engine: Engine, client: TestClient) -> None:
    engine.adapters["a"] = "/loaded/by/the/engine/itself"
    again = client.post("/adapters", json={"name": "a", "src": "/there"})
    assert (again.status_code, again.json()) == (400, {"error": "already loaded"})
    assert client.get("/adapters/a").status_code == 404
    assert client.delete("/adapters/unknown").status_code == 404


def test_loaded_adapter_is_not_loaded_again(engine: Engine, client: TestClient) -> None:
    body = {"name": "a", "src": "/there"}
    for _ in range(2):
        answer = client.post("/adapters", json=body)
        assert (answer.status_code, answer.text) == (200, "Adapter a registered")
    other = client.post("/adapters", json={**body, "src": "/elsewhere"})
    assert other.status_code == 409
    assert "load_inplace" in other.json()["detail"]
    assert client.get("/adapters/a").json()["src"] == "/there"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"src": "/there"}', "lora_name: Input should be a valid string"),
        (b'{"name": 7, "src": "/there"}', "lora_name"),
        (b"[1]", "must be a JSON object"),
        (b"{", "must be a JSON object"),
        (b"", "lora_path"),
    ],
)
def test_invalid_request_is_a_400_with_reason(
    engine: Engine, client: TestClient, body: bytes, sentence: str
) -> None:
    answer = client.post("/adapters", content=body)
    assert answer.status_code == 400
    assert sentence in answer.json()["detail"]
    assert engine.adapters == {}


def test_no_adapter_routes_without_handlers(engine: Engine) -> None:
    engine.app()
    other = TestClient(sagemaker.bootstrap(FastAPI()))
    assert other.post("/adapters").status_code == 404


def load_with(handler: Any, **shapes: Any) -> Any:
    """Return the response of an app whose load handler is ``handler``."""
    sagemaker.register_load_adapter_handler(**shapes)(handler)
    with TestClient(sagemaker.bootstrap(FastAPI())) as client:
        return client.post(
            "/adapters?q=1", json={"name": "a"}, headers={"X-Test": "header"}
        )


def test_handler_may_take_only_the_request() -> None:
    seen = []

    async def load(raw_request: Request) -> None:
        seen.append(await raw_request.json())

    assert load_with(load, request_shape={}).text == "Adapter a registered"
    assert seen == [{"name": "a"}]


def test_request_shapes_nest_and_read_all_parts_of_request() -> None:
    seen = []

    async def load(values: Any, raw_request: Request) -> None:
        seen.append(values)

    shape = {
        "name": "body.name",
        "more": {"q": "query_params.q", "h": 'headers."X-TEST"'},
        "default": "body.missing || `7`",
        "missing": "body.missing",
    }
    load_with(load, request_shape=shape)
    assert seen == [
        {
            "name": "a",
            "more": {"q": "1", "h": "header"},
            "default": 7,
            "missing": None,
        }
    ]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"id": 7}, {"adapter": 7}),
        (JSONResponse({"id": 7}), {"adapter": 7}),
        (PlainTextResponse("no json"), {"adapter": None}),
        (None, {"adapter": None}),
    ],
)
def test_response_shape_is_applied_to_handlers_result(
    result: Any, expected: Any
) -> None:
    async def load(raw_request: Request) -> Any:
        return result

    answer = load_with(load, request_shape={}, response_shape={"adapter": "body.id"})
    assert answer.json() == expected


@pytest.mark.parametrize("expression", ["body..name", 7, ""])
def test_invalid_jmespath_is_a_value_error(expression: Any) -> None:
    with pytest.raises(ValueError, match="'x': .* is not a JMESPath"):
        sagemaker.register_load_adapter_handler({"x": expression})


def test_handler_may_be_an_instance_with_async_call() -> None:
    seen = []

    class Load:
        async def __call__(self, raw_request: Request) -> None:
            seen.append(await raw_request.json())

    assert load_with(Load(), request_shape={}).text == "Adapter a registered"
    assert seen == [{"name": "a"}]


def test_response_shape_of_a_stream_is_null() -> None:
    async def load(raw_request: Request) -> Response:
        return StreamingResponse(iter(["a"]))

    answer = load_with(load, request_shape={}, response_shape={"adapter": "body.id"})
    assert answer.json() == {"adapter": None}


def test_handler_without_model_has_values_as_items_and_attributes() -> None:
    """As handlers were written for 0.1.x."""

    async def load(request: Any, raw_request: Request) -> None:
        assert request["name"] == request.name == "a"
        assert request.items == "1"
        request.path = "/b"
        assert vars(request) == {"name": "a", "items": "1", "path": "/b"}
        with pytest.raises(AttributeError, match="'rank'"):
            _ = request.rank

    shape = {"name": "body.name", "items": "query_params.q"}
    answer = load_with(load, request_shape=shape, response_shape={})
    assert (answer.status_code, answer.text) == (200, "Adapter a registered")
