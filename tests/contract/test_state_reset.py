"""State is reset by names of the published 0.1.x, as in the tests of vLLM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from fixtures import Script
from model_hosting_container_standards import sagemaker, testing
from model_hosting_container_standards.common.custom_code_ref_resolver import FileLoader
from model_hosting_container_standards.common.fastapi.middleware import (
    custom_middleware,
    middleware_registry,
)
from model_hosting_container_standards.common.fastapi.middleware.source.decorator_loader import (  # noqa: E501
    decorator_loader,
)
from model_hosting_container_standards.common.handler import handler_registry
from model_hosting_container_standards.sagemaker.sagemaker_loader import (
    SageMakerFunctionLoader,
)


async def add_header(request: Any, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["x-marked"] = "yes"
    return response


def ping_new_server() -> Any:
    """Return the response of a new server to a ping."""
    app = FastAPI()
    app.get("/ping")(lambda: "the engine's")
    return TestClient(sagemaker.bootstrap(app)).get("/ping")


@pytest.mark.parametrize(
    "forget", [decorator_loader.clear, middleware_registry.clear_middlewares]
)
def test_clearing_registry_removes_middleware(forget: Any) -> None:
    custom_middleware("throttle")(add_header)
    assert ping_new_server().headers["x-marked"] == "yes"
    forget()
    assert "x-marked" not in ping_new_server().headers


def test_clearing_registry_removes_handlers() -> None:
    sagemaker.ping(lambda: "the customer's")
    assert ping_new_server().json() == "the customer's"
    handler_registry.clear()
    assert ping_new_server().json() == "the engine's"


async def load_first(request: Request) -> Response:
    return Response("first", 409)


async def load_second(request: Request) -> Response:
    return Response("second", 409)


@pytest.fixture(params=[handler_registry.clear, testing.reset])
def forget_handlers(request: pytest.FixtureRequest) -> Callable[[], None]:
    """The calls that promise to forget all registered handlers."""
    forget: Callable[[], None] = request.param
    return forget


def register_load(handler: Any) -> None:
    sagemaker.register_load_adapter_handler(request_shape={})(handler)


def register_sessions(name: str) -> None:
    """Register an engine's session handlers, which name their sessions alike."""

    async def create(request: Request) -> dict[str, str]:
        return {"id": name}

    async def close(request: Request) -> None: ...

    sagemaker.register_create_session_handler("id")(create)
    sagemaker.register_close_session_handler("id")(close)


def load_on_new_server() -> Any:
    app = FastAPI()
    # The first handler is a route of the app, to which its registration belongs.
    app.post("/load")(load_first)
    with TestClient(sagemaker.bootstrap(app)) as client:
        return client.post("/adapters", json={"name": "a"})


def begin_on_new_server() -> Any:
    app = FastAPI()
    app.post("/invocations")(lambda: None)
    with TestClient(sagemaker.bootstrap(app)) as client:
        return client.post("/invocations", json={"requestType": "NEW_SESSION"})


def test_adapter_handlers_are_forgotten(forget_handlers: Callable[[], None]) -> None:
    register_load(load_first)
    assert load_on_new_server().text == "first"
    register_load(load_first)
    forget_handlers()
    assert load_on_new_server().status_code == 404
    register_load(load_second)
    assert load_on_new_server().text == "second"


def test_last_adapter_handler_wins() -> None:
    register_load(load_second)
    register_load(load_first)
    assert load_on_new_server().text == "first"


def test_session_handlers_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, forget_handlers: Callable[[], None]
) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")
    register_sessions("first")
    forget_handlers()
    assert begin_on_new_server().text != "Session first created"
    register_sessions("first")
    forget_handlers()
    register_sessions("second")
    assert begin_on_new_server().text == "Session second created"


def test_last_session_handlers_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")
    register_sessions("first")
    register_sessions("second")
    assert begin_on_new_server().text == "Session second created"


def test_resetting_default_loader_reloads_script(script: Script) -> None:
    script("def ping(): return 'first'")
    assert ping_new_server().json() == "first"
    script("def ping(): return 'second'")
    assert ping_new_server().json() == "first"
    SageMakerFunctionLoader._default_function_loader = None
    assert ping_new_server().json() == "second"


def test_replacing_default_loader_keeps_loaded_modules(tmp_path: Path) -> None:
    file = tmp_path / "loaded.py"
    file.write_text("")
    loaded = FileLoader().load_module(file)
    SageMakerFunctionLoader._default_function_loader = object()
    assert FileLoader().load_module(file) is loaded
    SageMakerFunctionLoader._default_function_loader = None
