"""Registered load and unload handlers on an engine that loads adapters itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from fastapi.testclient import TestClient

from adapter_engine import AdapterEngine, app_of, write_adapter
from invocations_app import ADAPTER
from model_hosting_container_standards import sagemaker


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    return AdapterEngine(tmp_path / "engine")


class CustomerHandlers:
    """A customer's handlers, which keep adapters in a dict."""

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}
        sagemaker.register_load_adapter_handler({"name": "body.name"})(self.load)
        sagemaker.register_unload_adapter_handler({})(self.unload)

    async def load(self, values: Any, raw_request: Request) -> Any:
        src = (await raw_request.json()).get("src")
        if src == "/bad":
            return JSONResponse({"error": "bad"}, status_code=418)
        if src == "/raises":
            raise HTTPException(422, "it raises")
        self.adapters[values["name"]] = src
        return {"ignored": True}

    async def unload(self, raw_request: Request) -> None:
        if self.adapters.pop(raw_request.path_params["adapter_name"], None) is None:
            raise HTTPException(410, "gone")


@pytest.fixture
def handlers() -> CustomerHandlers:
    return CustomerHandlers()


@pytest.fixture
def client(
    engine: AdapterEngine, handlers: CustomerHandlers, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    with TestClient(app_of(engine, monkeypatch)) as client:
        yield client


def test_customers_handler_loads_and_adapter_is_recorded(
    engine: AdapterEngine, handlers: CustomerHandlers, client: TestClient
) -> None:
    answer = client.post("/adapters", json={"name": "a", "src": "s3://there"})
    assert (answer.status_code, answer.text) == (200, "Adapter a registered")
    assert handlers.adapters == {"a": "s3://there"}
    assert client.get("/adapters/a").json() == {
        "name": "a",
        "src": "s3://there",
        "preload": True,
        "pin": False,
        "status": "loaded",
    }
    answer = client.delete("/adapters/a")
    assert (answer.status_code, answer.text) == (200, "Adapter a unregistered")
    assert client.get("/adapters/a").status_code == 404
    assert handlers.adapters == {}
    assert engine.calls == []


@pytest.mark.parametrize(
    ("src", "status", "answer"),
    [("/bad", 418, {"error": "bad"}), ("/raises", 422, {"detail": "it raises"})],
)
def test_adapter_rejected_by_handler_is_not_recorded(
    client: TestClient, src: str, status: int, answer: Any
) -> None:
    refused = client.post("/adapters", json={"name": "a", "src": src})
    assert (refused.status_code, refused.json()) == (status, answer)
    assert client.get("/adapters").json()["adapters"] == []


def test_adapter_stays_if_unload_handler_fails(
    handlers: CustomerHandlers, client: TestClient
) -> None:
    client.post("/adapters", json={"name": "a", "src": "/a"})
    handlers.adapters.clear()
    assert client.delete("/adapters/a").status_code == 410
    assert client.get("/adapters/a").status_code == 200


def test_handler_is_called_once_per_adapter(
    handlers: CustomerHandlers, client: TestClient
) -> None:
    body = {"name": "a", "src": "/a"}
    client.post("/adapters", json=body)
    handlers.adapters.clear()
    assert client.post("/adapters", json=body).text == "Adapter a registered"
    assert client.post("/adapters", json={**body, "src": "/b"}).status_code == 409
    assert handlers.adapters == {}
    replaced = client.post("/adapters", json={**body, "src": "/b", "load_inplace": 1})
    assert replaced.status_code == 400
    body = {"name": "a", "src": "/b", "load_inplace": "1"}
    assert client.post("/adapters", json=body).status_code == 200
    assert handlers.adapters == {"a": "/b"}
    assert client.get("/adapters/a").json()["src"] == "/b"


def test_engine_neither_loads_nor_pins_adapters_of_handlers(
    engine: AdapterEngine, client: TestClient, tmp_path: Path
) -> None:
    body = {"name": "a", "src": write_adapter(tmp_path / "a")}
    client.post("/adapters", json=body)
    answer = client.post("/adapters/a/update", json={"pin": True})
    assert answer.status_code == 400
    client.post("/adapters", json={**body, "pin": True})
    assert engine.calls == []
    assert client.delete("/adapters/a").status_code == 200


def test_invocations_accepts_adapters_of_handlers(
    engine: AdapterEngine, client: TestClient
) -> None:
    client.post("/adapters", json={"name": "a", "src": "/a"})
    headers = {"X-Amzn-SageMaker-Adapter-Identifier": "unknown"}
    assert client.post("/invocations", json={}, headers=headers).status_code == 404
    assert engine.calls == []


def test_adapters_of_handlers_are_forgotten_at_restart(
    handlers: CustomerHandlers, engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TestClient(app_of(engine, monkeypatch)) as client:
        client.post("/adapters", json={"name": "a", "src": "/a"})
        assert handlers.adapters == {"a": "/a"}
    with TestClient(app_of(engine, monkeypatch)) as restarted:
        assert restarted.get("/adapters").json()["adapters"] == []


def test_unload_handler_alone_is_not_called_for_engines_adapters(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    called = []

    @sagemaker.register_unload_adapter_handler({})
    async def unload(raw_request: Request) -> None:
        called.append(raw_request.path_params["adapter_name"])

    with TestClient(app_of(engine, monkeypatch)) as client:
        client.post("/adapters", json={"name": "a", "src": write_adapter(tmp_path)})
        assert engine.calls == ["load a"]
        assert client.delete("/adapters/a").text == "Adapter a unregistered"
        assert engine.calls == ["load a", "unload a"]
        assert called == []


def test_backend_takes_precedence_over_engines_own_handlers(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = FastAPI()

    @sagemaker.register_load_adapter_handler({"lora_name": "body.name"})
    @app.post("/v1/load_lora_adapter")
    async def load(raw_request: Request) -> Response:
        raise AssertionError("The backend does it.")

    @sagemaker.register_unload_adapter_handler({})
    @app.post("/v1/unload_lora_adapter")
    async def unload(raw_request: Request) -> Response:
        raise AssertionError("The backend does it.")

    with TestClient(app_of(engine, monkeypatch, app)) as client:
        body = {"name": "a", "src": write_adapter(tmp_path / "a", "one")}
        assert client.post("/adapters", json=body).status_code == 200
        assert engine.texts == ["one"]
        assert client.delete("/adapters/a").status_code == 200
        assert engine.texts == []


def test_src_for_handler_need_not_be_a_folder(
    handlers: CustomerHandlers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = AdapterEngine(tmp_path / "small", kept=1)
    with TestClient(app_of(engine, monkeypatch)) as client:
        for name in "ab":
            body = {"name": name, "src": f"s3://bucket/{name}"}
            assert client.post("/adapters", json=body).status_code == 200
        assert engine.adapters is not None
        assert engine.adapters.view()["a"].by_handler
        leased = client.post("/invocations", json={}, headers={ADAPTER: "a"})
        assert "are missing" not in leased.text
