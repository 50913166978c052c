"""How the handlers of an engine with sessions of its own are called."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from invocations_app import parse
from model_hosting_container_standards import sagemaker
from session_client import CLOSE, NEW, ask, begin, close, not_found, refusal
from session_engine import Close, Engine, Open


@pytest.fixture(autouse=True)
def sessions_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")


def test_handlers_get_model_and_request() -> None:
    engine = Engine({"id": "abc"})
    client = engine.client()
    assert begin(client) == "abc"
    assert close(client, "abc").status_code == 200
    assert engine.asked == [(Open(), NEW), (Close(session_id="abc"), CLOSE)]


def test_handler_may_take_only_the_model() -> None:
    engine = Engine()

    async def create(request: Open) -> Any:
        engine.asked.append(request)
        return {"id": "abc"}

    async def end(request: Close) -> None:
        engine.asked.append(request)

    client = engine.client("id", create, end)
    close(client, begin(client))
    assert engine.asked == [Open(), Close(session_id="abc")]


def test_handler_may_take_only_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "SAGEMAKER_TRANSFORMS_{}_SESSION_DEFAULTS"
    monkeypatch.setenv(name.format("CREATE"), '{"body.a.b": [1]}')
    monkeypatch.setenv(name.format("CLOSE"), '{"body.session_id": 2, "body.c": 3}')
    engine = Engine()

    async def create(raw_request: Request) -> Any:
        engine.asked.append(await raw_request.json())
        return {"id": 5}

    async def end(raw_request: Request) -> None:
        engine.asked.append(json.loads(await raw_request.body()))

    client = engine.client("id", create, end)
    close(client, begin(client))
    # A default must not close another session.
    assert engine.asked == [
        {**NEW, "a": {"b": [1]}},
        {**CLOSE, "session_id": 5, "c": 3},
    ]


def test_sync_handlers_are_called() -> None:
    engine = Engine()

    def create(request: Open) -> Any:
        engine.asked.append(request)
        return {"id": "abc"}

    def end(request: Close, raw_request: Request) -> None:
        engine.asked.append(request)

    client = engine.client("id", create, end)
    close(client, begin(client))
    assert engine.asked == [Open(), Close(session_id="abc")]


def test_model_class_may_be_passed_to_decorator() -> None:
    asked: list[Any] = []
    app = FastAPI()

    @sagemaker.register_create_session_handler("id", engine_request_model_cls=Open)
    async def create(request, raw_request):  # type: ignore[no-untyped-def]
        asked.append(request)
        return {"id": "abc"}

    @sagemaker.register_close_session_handler("session_id", Close)
    async def end(request):  # type: ignore[no-untyped-def]
        asked.append(request)

    app.post("/invocations")(parse)
    client = TestClient(sagemaker.bootstrap(app))
    close(client, begin(client))
    assert asked == [Open(), Close(session_id="abc")]


def test_model_is_a_dict_without_class() -> None:
    engine = Engine()

    async def end(request: Any, raw_request: Request) -> None:
        engine.asked.append(request)

    client = engine.client("id", lambda request, raw_request: {"id": True}, end)
    close(client, begin(client))
    assert engine.asked == [{"session_id": True}]


def test_defaults_fill_models(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "SAGEMAKER_TRANSFORMS_{}_SESSION_DEFAULTS"
    monkeypatch.setenv(name.format("CREATE"), '{"body.capacity": 9, "body.x.y": 1}')
    monkeypatch.setenv(name.format("CLOSE"), '{"body.force": true}')
    engine = Engine({"id": "abc"})
    client = engine.client()
    close(client, begin(client))
    create, end = (model for model, _ in engine.asked)
    assert create == Open(capacity=9)
    assert end == Close(session_id="abc", force=True)


def test_defaults_rejected_by_model_are_a_400(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "SAGEMAKER_TRANSFORMS_CREATE_SESSION_DEFAULTS", '{"body.capacity": "many"}'
    )
    engine = Engine({"id": "abc"})
    status, detail = refusal(engine.client().post("/invocations", json=NEW))
    assert status == 400
    assert "capacity" in detail
    assert "many" not in detail
    assert engine.asked == []


def test_handlers_are_not_called_for_other_requests() -> None:
    engine = Engine({"id": "abc"})
    client = engine.client()
    assert client.post("/invocations", json={"a": 1}).json() == {"a": 1}
    assert refusal(ask(client, "abc")) == not_found("abc")
    assert refusal(close(client, "abc")) == not_found("abc")
    assert engine.asked == []


def test_annotated_request_is_passed_despite_model_class() -> None:
    taken: list[type] = []
    app = FastAPI()

    @sagemaker.register_create_session_handler("id", Open)
    async def create(raw_request: Request) -> Any:
        taken.append(type(raw_request))
        return {"id": "abc"}

    @sagemaker.register_close_session_handler("session_id", Close)
    async def end(raw_request: Request) -> None: ...

    app.post("/invocations")(parse)
    begin(TestClient(sagemaker.bootstrap(app)))
    assert issubclass(taken[0], Request)


def test_handler_may_take_no_arguments() -> None:
    async def create() -> Any:
        return {"id": "abc"}

    assert begin(Engine().client("id", create)) == "abc"
