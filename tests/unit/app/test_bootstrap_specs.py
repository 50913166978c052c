from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import Mount

import model_hosting_container_standards.sagemaker as sagemaker
from fixtures import Script, client_of
from model_hosting_container_standards.exceptions import (
    HandlerFileNotFoundError,
    HandlerNotCallableError,
    HandlerNotFoundError,
    HandlerResolutionError,
    InvalidHandlerSpecError,
    ModuleLoadError,
)


def test_path_spec_uses_apps_route(
    engine_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", "/health")
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "/v1/answer")
    client = client_of(engine_app)
    assert client.get("/ping").json() == "engine's health"
    assert client.post("/ping").json() == "engine's health"
    assert client.head("/ping").status_code == 200
    answer = client.post("/invocations", json={"a": 1}).json()
    assert answer == {"path": "/v1/answer", "body": {"a": 1}}


def test_path_spec_works_below_root_path(
    engine_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "/v1/answer")
    engine_app.root_path = "/v1"
    client = client_of(engine_app)
    for path in ("/invocations", "/v1/invocations"):
        assert client.post(path, json=1).json()["body"] == 1


def test_mounted_app_uses_its_own_routes(engine_app: FastAPI) -> None:
    sagemaker.bootstrap(engine_app)
    outer = FastAPI(routes=[Mount("/models/a", app=engine_app)])
    client = TestClient(outer)
    assert client.get("/models/a/ping").json() == "engine's ping"
    assert client.post("/models/a/invocations").json() == "engine's invocations"


class_source = """
class Handler:
    async def __call__(self, request):
        return [await request.json()]
    def method(self): return "method"
class NoCall: pass
class NeedsMore:
    def __init__(self, more): pass
    def __call__(self): pass
value = 1
"""


@pytest.mark.parametrize(
    ("spec", "answer"),
    [("model.py:Handler", [1]), ("model.py:Handler.method", "method")],
)
def test_class_is_instantiated(
    engine_app: FastAPI,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    spec: str,
    answer: Any,
) -> None:
    script(class_source)
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", spec)
    assert client_of(engine_app).post("/invocations", json=1).json() == answer


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("nonsense", InvalidHandlerSpecError),
        ("/not/a/route", HandlerNotFoundError),
        ("other.py:fn", HandlerFileNotFoundError),
        ("model.py:other", HandlerNotFoundError),
        ("model.py:value", HandlerNotCallableError),
        ("model.py:NoCall", HandlerNotCallableError),
        ("model.py:NeedsMore", HandlerNotCallableError),
        ("no.such.module:fn", ModuleLoadError),
    ],
)
@pytest.mark.parametrize(
    "name", ["CUSTOM_FASTAPI_PING_HANDLER", "CUSTOM_FASTAPI_INVOCATION_HANDLER"]
)
def test_unusable_spec_stops_startup(
    engine_app: FastAPI,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    spec: str,
    error: type[HandlerResolutionError],
) -> None:
    script(class_source)
    monkeypatch.setenv(name, spec)
    with pytest.raises(error):
        sagemaker.bootstrap(engine_app)


def test_default_script_may_be_missing(engine_app: FastAPI) -> None:
    sagemaker.bootstrap(engine_app)


def test_configured_script_must_exist(
    engine_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", "serve.py")
    with pytest.raises(HandlerFileNotFoundError, match="CUSTOM_SCRIPT_FILENAME='serve"):
        sagemaker.bootstrap(engine_app)


def test_configured_script_is_importable_as_model(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("def my(): return 'serve.py'", "serve.py")
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", "serve.py")
    monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", "model:my")
    assert client_of(engine_app).get("/ping").json() == "serve.py"


def test_error_in_script_stops_startup(engine_app: FastAPI, script: Script) -> None:
    script("raise KeyError('weights')")
    with pytest.raises(ModuleLoadError) as raised:
        sagemaker.bootstrap(engine_app)
    assert isinstance(raised.value.__cause__, KeyError)


def test_handler_that_is_not_callable_stops_startup(
    engine_app: FastAPI, script: Script
) -> None:
    script("custom_sagemaker_ping_handler = 'soon'")
    with pytest.raises(HandlerNotCallableError, match="is a str, not a callable"):
        sagemaker.bootstrap(engine_app)
