"""Engines that check no model names: the adapter is selected before they are called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from adapter_engine import AdapterEngine, Published, app_of, write_adapter
from invocations_app import ADAPTER, ATTRIBUTES
from model_hosting_container_standards.adapters.adapter import Adapter
from model_hosting_container_standards.engines import EngineDescription


class SelectingEngine(AdapterEngine):
    """Answers by its base model whatever the body names, and has ids of its own."""

    def adapter_of(self, model: str) -> str | None:
        return None if model == "base" else model.removeprefix("base:")

    async def load(self, adapter: Adapter) -> str | None:
        await super().load(adapter)
        return f"id-of-{adapter.engine_name}"

    def selected(self) -> dict[str, Any]:
        adapter = self.adapters.selected() if self.adapters is not None else None
        if adapter is None:
            return {"adapter": None}
        return {"adapter": adapter.name, "id": adapter.engine_id}


@pytest.fixture
def engine(tmp_path: Path) -> SelectingEngine:
    return SelectingEngine(tmp_path / "engine", own_adapters=["native"])


@pytest.fixture
def app(engine: SelectingEngine, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    description = EngineDescription(
        name="test",
        invocation_paths={"messages": ["/v1/chat"], "text": ["/v1/generate"]},
        replaces_invocations=True,
        checks_models=False,
        loads_adapters=True,
    )
    monkeypatch.setattr(Published, "description", description)
    app = FastAPI()

    @app.post("/v1/chat")
    @app.post("/v1/generate")
    async def answer(request: Request) -> dict[str, Any]:
        return {
            "path": request.url.path,
            **engine.selected(),
            "body": (await request.body()).decode(),
        }

    return app_of(engine, monkeypatch, app)


@pytest.fixture
def client(app: FastAPI, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(app) as client:
        body = {"name": "fr", "src": write_adapter(tmp_path / "fr", "bonjour")}
        client.post("/adapters", json=body).raise_for_status()
        yield client


PATHS = pytest.mark.parametrize("path", ["/v1/chat", "/v1/generate", "/invocations"])


@PATHS
@pytest.mark.parametrize("model", ["fr", "base:fr"])
def test_model_of_the_body_selects_the_adapter(
    client: TestClient, path: str, model: str
) -> None:
    answer = client.post(path, json={"messages": [], "model": model}).json()
    assert (answer["adapter"], answer["id"]) == ("fr", "id-of-fr")


@PATHS
def test_header_selects_the_adapter_and_replaces_the_name(
    client: TestClient, path: str
) -> None:
    raw = '{"text": "é", "model": "unknown"}'
    answer = client.post(path, content=raw, headers={ADAPTER: "fr"}).json()
    assert answer["adapter"] == "fr"
    assert json.loads(answer["body"]) == {"text": "é", "model": "fr"}


@PATHS
@pytest.mark.parametrize(
    "body",
    [
        '{"text": "x"}',
        '{"text": "x", "model": "base"}',
        '{"text": "x", "model": 5}',
        '{"text": NaN, "model": "base"}',
        '{"text": "x", "model": "native"}',
    ],
)
def test_other_bodies_reach_the_engine_unchanged(
    client: TestClient, path: str, body: str
) -> None:
    response = client.post(path, content=body)
    assert response.status_code == 200
    assert (response.json()["adapter"], response.json()["body"]) == (None, body)


@PATHS
@pytest.mark.parametrize("name", ["", None])
def test_empty_name_is_the_base_models(
    client: TestClient, path: str, name: str | None
) -> None:
    answer = client.post(path, json={"text": "x", "model": name}).json()
    assert answer["adapter"] is None
    assert json.loads(answer["body"]) == {"text": "x", "model": "base"}


@pytest.mark.parametrize("body", ["[]", "no JSON", '{"model": '])
def test_engine_itself_refuses_what_is_not_an_object(
    client: TestClient, body: str
) -> None:
    assert client.post("/v1/chat", content=body).json()["body"] == body


def test_form_reaches_the_engine_unchanged(client: TestClient) -> None:
    response = client.post("/v1/chat", files={"model": (None, "unknown")})
    assert 'name="model"' in response.json()["body"]


@PATHS
@pytest.mark.parametrize(
    "body", ['{"text": "", "model": "x"}', '{"text": NaN, "model": "x"}']
)
def test_unknown_model_is_a_404_with_the_names(
    client: TestClient, path: str, body: str
) -> None:
    response = client.post(path, content=body)
    assert response.status_code == 404
    for name in ("'x'", "base", "native", "fr"):
        assert name in response.json()["detail"]


def test_unknown_name_in_the_header_is_a_404(client: TestClient) -> None:
    response = client.post("/v1/chat", json={}, headers={ADAPTER: "x"})
    assert response.status_code == 404


def test_base_model_answers_for_unknown_names_if_asked_to(
    app: FastAPI, engine: SelectingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    del app
    monkeypatch.setenv("MHCS_UNKNOWN_MODEL", "base")
    again = FastAPI()

    @again.post("/v1/chat")
    async def answer() -> dict[str, Any]:
        return engine.selected()

    with TestClient(app_of(engine, monkeypatch, again)) as client:
        body = {"messages": [], "model": "my-endpoint"}
        assert client.post("/invocations", json=body).json() == {"adapter": None}
        assert client.post("/v1/chat", json=body).status_code == 404


def test_adapter_that_cannot_be_loaded_is_its_own_error(
    client: TestClient, tmp_path: Path
) -> None:
    body = {
        "name": "late",
        "src": write_adapter(tmp_path / "late", "broken"),
        "preload": False,
    }
    client.post("/adapters", json=body).raise_for_status()
    first, second = (client.post("/v1/chat", json={"model": "late"}) for _ in range(2))
    assert first.status_code == 400
    assert "broken" in first.json()["detail"]
    assert second.status_code == 404
    assert "Register it again" in second.json()["detail"]


def test_names_are_checked_where_adapters_are_unavailable(
    app: FastAPI, engine: SelectingEngine
) -> None:
    engine.reason = "LoRA is off."
    with TestClient(app) as client:
        models = ("base", "fr")
        responses = [client.post("/v1/chat", json={"model": m}) for m in models]
    assert [response.status_code for response in responses] == [200, 404]


def test_chosen_route_selects_too(client: TestClient) -> None:
    response = client.post(
        "/invocations",
        json={"model": "fr"},
        headers={ATTRIBUTES: "route=/v1/generate"},
    )
    assert (response.json()["path"], response.json()["adapter"]) == (
        "/v1/generate",
        "fr",
    )


def test_pins_are_limited_by_their_own_number(
    client: TestClient, engine: SelectingEngine, tmp_path: Path
) -> None:
    engine.max_pinned = 1
    statuses = []
    for name in ("a", "b"):
        src = write_adapter(tmp_path / name, name)
        body = {"name": name, "src": src, "pin": True}
        statuses.append(client.post("/adapters", json=body))
    assert [response.status_code for response in statuses] == [200, 507]
    assert "can pin 1 adapter(s)" in statuses[1].text
    assert "--slots" in statuses[1].text


def test_each_line_of_json_lines_selects_its_own_adapter(
    client: TestClient, tmp_path: Path
) -> None:
    body = {"name": "de", "src": write_adapter(tmp_path / "de", "hallo")}
    client.post("/adapters", json=body).raise_for_status()
    models = ["fr", "de", None, "native", "fr"]
    lines = [json.dumps({"text": "x", "model": model}) for model in models]
    headers = {"content-type": "application/jsonlines"}
    answer = client.post("/invocations", content="\n".join(lines), headers=headers)
    found = [json.loads(line)["adapter"] for line in answer.text.splitlines()]
    assert found == ["fr", "de", None, None, "fr"]
