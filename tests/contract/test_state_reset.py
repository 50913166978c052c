"""State is reset by names of the published 0.1.x, as in the tests of vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fixtures import Script
from model_hosting_container_standards import sagemaker
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
